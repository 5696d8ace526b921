"""Writes a data set in another format: COCO's JSON, or a folder in Darknet's and YOLO's layout."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Dataset, Sample, SplitName
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.files import replace_file
from yolor_cfg.runs import whole_folder

UNLISTABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\\]|^#")
LISTS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}


def to_coco(data: Dataset) -> dict[str, Any]:
    """The COCO JSON document: boxes in pixels; areas, crowds and identities (track_id) are kept.

    Image ids are kept if all are numbers, else they count from 1; paths are absolute.
    """
    category_ids = data.category_ids or tuple(range(1, len(data.names) + 1))
    numbered = all(isinstance(sample.image_id, int) for sample in data.samples)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(data.samples, 1):
        image_id = sample.image_id if numbered else number
        height, width = sample.size
        file = os.path.abspath(sample.image)
        images.append({"id": image_id, "file_name": file, "height": height, "width": width})
        for index in range(len(sample.classes)):
            fields = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append(fields | _annotation(sample, index, category_ids=category_ids))
    categories = [{"id": id, "name": name} for id, name in zip(category_ids, data.names, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(sample: Sample, index: int, *, category_ids: tuple[int, ...]) -> dict[str, Any]:
    height, width = sample.size
    x, y, w, h = (sample.boxes_xywh[index].astype(np.float64) * (width, height, width, height)).tolist()
    made = {
        "category_id": category_ids[sample.classes[index]],
        "bbox": [round(value, 3) for value in (x - w / 2, y - h / 2, w, h)],
        "area": round(float(sample.areas[index]), 3),
        "iscrowd": int(sample.crowd[index]),
    }
    identity = int(sample.identities[index])
    difficult = {"difficult": 1} if sample.difficult[index] else {}
    return made | difficult | ({"track_id": identity} if identity >= 0 else {})


def write_coco(data: Dataset, path: str | Path, *, force: bool = False) -> None:
    """Write the COCO JSON file."""
    text = json.dumps(to_coco(data))
    replace_file(path, lambda file: file.write(text.encode()), fault=DataError, force=force)


def write_darknet(splits: Mapping[SplitName, Dataset], folder: str | Path) -> Path:
    """Write images/, labels/, a list per split and the names to a new folder; returns its .data file.

    Images are symlinked, or copied if that fails; one that stands in two lists is written once. Crowds are
    left out, as text labels cannot mark them; the difficult objects to validate on stand in files of their
    own. A label file has six columns if any of its objects has an identity.
    """
    (names,) = {data.names for data in splits.values()}
    with whole_folder(folder, fault=DataError) as root:
        writer = _FolderWriter(root)
        for split, data in splits.items():
            _write_list(root / f"{split}.txt", [writer.write_sample(split, one) for one in data.samples])
        _write_text(root / "classes.names", "".join(f"{_name_line(name)}\n" for name in names))
        lists = "".join(f"{LISTS[split]} = {split}.txt\n" for split in splits)
        if writer.difficult:
            _write_list(root / "difficult.txt", [_difficult_line(one) for one in writer.lines["val"]])
            lists += "difficult = difficult.txt\n"
        _write_text(root / "converted.data", f"classes = {len(names)}\n{lists}names = classes.names\n")
    return Path(folder) / "converted.data"


def refuse_no_boxes(parts: Iterable[Dataset], what: str = "convert") -> None:
    """Raise DataError for images that have classes alone; `what` is to be done with the boxes."""
    for data in parts:
        if not data.has_boxes:
            hint = "folders and lists of classes are read as they are; yolor data split divides folders"
            message = f"no boxes to {what}: the images have classes alone"
            raise DataError(message, path=data.origin, hint=hint)


def conversion_notes(splits: Mapping[SplitName, Dataset], *, as_coco: bool) -> list[str]:
    """What the other format has no place for."""
    if as_coco:
        return []
    notes = []
    for split, data in splits.items():
        crowds = sum(int((one.crowd & ~one.difficult).sum()) for one in data.samples)
        hard = sum(int(one.difficult.sum()) for one in data.samples) if split != "val" else 0
        for count, what in ((crowds, "crowd"), (hard, "difficult object")):
            if count:
                verb, them = ("is", "it") if count == 1 else ("are", "them")
                what = count_of(count, what)
                notes.append(f"{split}: {what} {verb} left out: text labels cannot mark {them}")
    names = next(iter(splits.values())).names
    changed = [name for name in names if _name_line(name) != name]
    return notes + [f"the class name {name!r} is written as {_name_line(name)!r}" for name in changed]


class _FolderWriter:
    """Writes images and labels; `lines` are the lines of the lists so far, by split."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: dict[str, list[str]] = {}
        self.difficult = 0
        self._used: set[str] = set()
        self._written: dict[tuple[str, str], str] = {}

    def write_sample(self, split: SplitName, sample: Sample) -> str:
        """Write an image and its labels; returns its line of the list. A file name that is taken, whatever
        its suffix, gets a number, since a label file has no suffix of an image."""
        text = _label_text(sample, ~sample.crowd)
        source = os.path.abspath(sample.image)
        line = self._written.get((source, text)) or self._write_new(split, source, text)
        self._written[source, text] = line
        self.lines.setdefault(split, []).append(line)
        if split == "val" and sample.difficult.any():
            self.difficult += 1
            label = (self.root / _difficult_line(line)).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            _write_text(label, _label_text(sample, sample.difficult))
        return line

    def _write_new(self, split: SplitName, source: str, text: str) -> str:
        name = self._choose_name(split, _plain_file_name(os.path.basename(source)))
        target = self.root / "images" / split / name
        label = (self.root / "labels" / split / name).with_suffix(".txt")
        for path in (target, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        _link(Path(source), target)
        _write_text(label, text)
        return f"images/{split}/{name}"

    def _choose_name(self, split: SplitName, name: str) -> str:
        number, chosen = len(self._written), name
        while (stem := f"{split}/{os.path.splitext(chosen)[0]}".casefold()) in self._used:
            chosen = f"{number:06d}_{name}"
            number += 1
        self._used.add(stem)
        return chosen


def _plain_file_name(name: str) -> str:
    """The name without what a list of images would read as something else: line breaks, `\\`, a comment."""
    stem, ending = os.path.splitext(UNLISTABLE.sub("_", name))
    return (stem.strip() or "_") + ending


def _name_line(name: str) -> str:
    """The class name as one line; raises DataError if nothing is left of it."""
    line = " ".join(name.split())
    if not line:
        raise DataError(
            "a class without a name has no place in a .names file", hint="convert to a .json file"
        )
    return line


def _difficult_line(line: str) -> str:
    """C Darknet reads only the label file that belongs to this path."""
    return "difficult" + line.removeprefix("images")


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _write_list(path: Path, lines: Sequence[str]) -> None:
    _write_text(path, "".join(f"{line}\n" for line in lines))


def _write_text(path: Path, text: str) -> None:
    """Names of files that are not UTF-8 keep their bytes."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _label_text(sample: Sample, chosen: NDArray[np.bool_]) -> str:
    """Six columns if any object has an identity: readers expect all lines of a file to have six, or none."""
    identified = bool((sample.identities >= 0).any())
    lines = []
    for index in np.flatnonzero(chosen):
        who = [str(sample.identities[index])] if identified else []
        box = [f"{value:.7f}" for value in sample.boxes_xywh[index]]
        lines.append(" ".join([str(sample.classes[index]), *who, *box]) + "\n")
    return "".join(lines)
