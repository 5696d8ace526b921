"""What is written: splits with all that their annotations have, and how their images come along."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.classes import plain_name
from yolor_cfg.data.extras import NOTHING, ObjectExtras
from yolor_cfg.data.labels import ImageLabels, LabelRow, check_rows
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.types import Dataset, Fix, Sample, SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.images.stacks import READABLE_SUFFIXES

UNLISTABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\\]|^#")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MARKED = re.compile(r" (-1|0|1)$")
"""What a list of Pascal VOC reads as a mark behind a name."""
NINE = ".9g"
"""The digits that tell every float32 from all others."""


class WrittenPart(NamedTuple):
    """A split, what the annotations of its images have besides, image by image and box by box, the names
    above its classes, and the keys of its file that are not read."""

    data: Dataset
    extras: Sequence[Sequence[ObjectExtras]]
    above: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


WrittenParts = Mapping[SplitName, WrittenPart]


def read_part(data: Dataset, listing: ImageListing, fix: Fix | None) -> WrittenPart:
    """A split with what its annotations have besides; faulty labels were treated by `fix`."""
    extras = listing.extras
    if extras is None:
        return WrittenPart(data, [[NOTHING] * len(sample.classes) for sample in data.samples])
    index_of = {path: index for index, path in reversed(list(enumerate(listing.images)))}
    found = []
    for sample in data.samples:
        index = index_of[sample.image]
        labels = listing.read(index, sample.size)
        found.append(
            match_extras(labels, extras.read(index), sample, classes=len(listing.names) or 1 << 16, fix=fix)
        )
    return WrittenPart(data, found, extras.above, extras.unused())


def renumber_part(part: WrittenPart, matched: Dataset) -> WrittenPart:
    """The part with its classes numbered as in the matched data set."""
    above = dict(zip(map(plain_name, part.data.names), part.above, strict=False))
    names = tuple(above.get(plain_name(name), "") for name in matched.names) if above else ()
    return part._replace(data=matched, above=names)


def match_extras(
    labels: ImageLabels, found: Mapping[str, ObjectExtras], sample: Sample, *, classes: int, fix: Fix | None
) -> Sequence[ObjectExtras]:
    """The extras of each box of a sample, which has the rows of `labels` that are valid."""
    rows = np.array(labels.rows, np.float64).reshape(-1, len(LabelRow._fields))
    kept = check_rows(rows, classes=classes, fix=fix).kept
    names = [name for name, stays in zip(labels.row_names, kept.tolist(), strict=True) if stays]
    assert len(names) == len(sample.classes), sample.image
    return [found.get(name, NOTHING) for name in names]


def refuse_no_boxes(parts: Iterable[Dataset], what: str = "convert") -> None:
    """Raise DataError for images that have classes alone; `what` is to be done with the boxes."""
    for data in parts:
        if not data.has_boxes:
            hint = "folders and lists of classes are read as they are; yolor data split divides folders"
            message = f"no boxes to {what}: the images have classes alone"
            raise DataError(message, path=data.origin, hint=hint)


class ImageNames:
    """File names without what lists read as something else; those of one folder have stems of their own,
    since a label file has no suffix of an image."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._count = 0

    def choose(self, folder: str, source: str) -> str:
        """The name in the folder for the image of this path; one whose stem is taken gets a number."""
        name = chosen = plain_file_name(os.path.basename(source))
        number = self._count
        while (stem := f"{folder}/{os.path.splitext(chosen)[0]}".casefold()) in self._used:
            chosen = f"{number:06d}_{name}"
            number += 1
        self._used.add(stem)
        self._count += 1
        return chosen


def plain_file_name(name: str) -> str:
    """The name without line breaks, `\\`, the sign of a comment, and what looks like a mark or a suffix."""
    stem, ending = os.path.splitext(UNLISTABLE.sub("_", name))
    stem = MARKED.sub(r"_\1", stem.strip()) or "_"
    root, inner = os.path.splitext(stem)
    return (f"{root}_{inner[1:]}" if inner.lower() in READABLE_SUFFIXES else stem) + ending


def bring_image(source: str, target: Path, *, links: bool) -> None:
    """Copy the image, or link to it where the system has links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if links:
        try:
            target.symlink_to(os.path.abspath(source))
            return
        except OSError:
            pass
    shutil.copyfile(source, target)


def name_line(name: str) -> str:
    """The class name as one line; raises DataError if nothing is left of it."""
    line = " ".join(CONTROL.sub(" ", name).split())
    if not line:
        raise DataError("a class without a name has no place in a list", hint="convert to COCO: --to coco")
    return line


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """A text file; names of files that are not UTF-8 keep their bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def format_fraction(value: np.float32) -> str:
    """The shortest number that is read as this one, whether as float32 or by way of float64."""
    text = np.format_float_positional(value, unique=True, trim="-")
    return text if np.float32(float(text)) == value else format(float(value), NINE)


def label_lines(sample: Sample, rows: Sequence[int], *, identities: bool) -> list[str]:
    """The lines of a label file for these rows: class, with `identities` the identity, centre and size."""
    return [
        " ".join(
            [
                str(sample.classes[row]),
                *([str(sample.identities[row])] if identities else []),
                *map(format_fraction, sample.boxes_xywh[row]),
            ]
        )
        for row in rows
    ]
