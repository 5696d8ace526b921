"""What every format comes down to: a list of pictures, their classes, and a way to read the labels of one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.data.label_files import first_label_path, label_paths
from yolor_cfg.data.labels import DIFFICULT, ImageLabels, parse_labels
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.files import reason_of
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size
from yolor_cfg.names import first_existing, read_text


class ImageListing(NamedTuple):
    """Pictures in order; `read(i, size)` gives the labels of picture i, `tries(i)` where it looks for them.

    `names` is empty where nothing names the classes; `ids` None means that the files' names are the ids.
    """

    format: str
    names: tuple[str, ...]
    images: Sequence[str]
    read: Callable[[int, Size], ImageLabels]
    find_label_paths: Callable[[int], Sequence[str]]
    ids: Sequence[int | str] | None = None
    notes: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] = ()
    repeated: tuple[str, ...] = ()


class ListedImages(NamedTuple):
    """Pictures in order, and those that were listed once more, each as often."""

    images: Sequence[str]
    repeated: tuple[str, ...] = ()


def text_label_listing(
    format: str, names: Sequence[str], listed: ListedImages, *, difficult: Mapping[str, str] | None = None
) -> ImageListing:
    """Pictures whose labels are text files beside them or in labels/; `difficult` names for a picture another
    whose labels are its difficult objects."""
    images, others = listed.images, difficult or {}

    def read(index: int, size: Size) -> ImageLabels:
        labels = _read_text_labels(images[index])
        other = others.get(images[index])
        return labels if other is None else _add_difficult(labels, _read_text_labels(other))

    def tries(index: int) -> Sequence[str]:
        return label_paths(images[index])

    return ImageListing(format, tuple(names), images, read, tries, repeated=listed.repeated)


def _read_text_labels(image: str) -> ImageLabels:
    for path in _candidate_paths(image):
        try:
            with open(path, "rb", buffering=0) as file:
                return parse_labels(file.read(), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as fault:
            return ImageLabels(path, faults=[(0, reason_of(fault))])
    return ImageLabels("")


def _add_difficult(labels: ImageLabels, difficult: ImageLabels) -> ImageLabels:
    """The labels with those of another file, as difficult objects that are named by that file and line."""
    places = [f"{difficult.path}:{row.line}" for row in difficult.rows]
    rows = [row._replace(line=0, crowd=DIFFICULT) for row in difficult.rows]
    faults = [(0, f"{difficult.path}:{line}: {reason}") for line, reason in difficult.faults]
    return labels._replace(
        path=labels.path or difficult.path,
        rows=[*labels.rows, *rows],
        faults=[*labels.faults, *faults],
        row_names=[*[""] * len(labels.rows), *places],
    )


def _candidate_paths(image: str) -> Iterator[str]:
    """As `label_paths`; the later ones are only worked out when they are needed."""
    first = first_label_path(image)
    if first:
        yield first
    yield from label_paths(image)


def find_images(place: str, bases: Sequence[str | Path]) -> list[str]:
    """All pictures of a folder, folders below it included, in order; or those that a list names."""
    if os.path.isdir(place):
        return _folder_images(place)
    if place.lower().endswith(READABLE_SUFFIXES):
        return [place]
    return _read_image_list(place, [os.path.dirname(place), *bases])


def unique_images(images: Sequence[str], split: SplitName) -> ListedImages:
    """To train on, a picture may be listed several times, to count more; in a test it counts once, but in
    Darknet's mAP as often as it is listed."""
    if split == "train":
        return ListedImages(images)
    counts = Counter(images)
    again = (image for image, count in counts.items() for _ in range(count - 1))
    return ListedImages(list(counts), tuple(again))


def _folder_images(folder: str) -> list[str]:
    """Hidden files and folders are left out."""
    images = []
    for above, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [
            name for name in names if name.lower().endswith(READABLE_SUFFIXES) and not name.startswith(".")
        ]
        images += [os.path.join(above, name) for name in shown]
    return sorted(images)


def _read_image_list(path: str, bases: Sequence[str | Path]) -> list[str]:
    """A line that leads nowhere is kept as it would be in the first folder, to be reported as unreadable."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    places = list(dict.fromkeys(os.path.abspath(base) for base in bases))
    return [
        _resolve_line(line.replace("\\", "/"), places) for line in lines if line and not line.startswith("#")
    ]


def _resolve_line(line: str, bases: Sequence[str]) -> str:
    return first_existing(line, bases) or os.path.normpath(os.path.join(bases[0], line))


def image_ids(images: Sequence[str]) -> list[int | str]:
    """The file's name without its ending, as a number if it is one; the paths where two would be equal."""
    stems = [os.path.splitext(os.path.basename(image))[0] for image in images]
    ids: list[int | str] = [int(stem) if stem.isascii() and stem.isdecimal() else stem for stem in stems]
    return ids if len(set(ids)) == len(set(images)) else list(images)
