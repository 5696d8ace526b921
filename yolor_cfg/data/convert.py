"""Writes a data set in another format: COCO's JSON, or a folder in Darknet's and YOLO's layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolor_cfg.data.types import Dataset, Sample, SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.files import replace_file

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

    Images are symlinked, or copied if that fails. Crowds are dropped, as text labels cannot mark them. A
    label file has six columns if any of its objects has an identity.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise DataError("not empty", path=str(root), hint="give a new folder")
    (names,) = {data.names for data in splits.values()}
    for split, data in splits.items():
        lines = [
            _write_sample(root, split, number, sample=sample) for number, sample in enumerate(data.samples)
        ]
        (root / f"{split}.txt").write_text("".join(lines))
    (root / "classes.names").write_text("\n".join(names) + "\n")
    lists = "".join(f"{LISTS[split]} = {split}.txt\n" for split in splits)
    description = root / "converted.data"
    description.write_text(f"classes = {len(names)}\n{lists}names = classes.names\n")
    return description


def _write_sample(root: Path, split: SplitName, number: int, *, sample: Sample) -> str:
    """Write an image and its labels; returns its line of the list. A duplicate file name gets a number."""
    source = Path(os.path.abspath(sample.image))
    folder = root / "images" / split
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    if target.is_symlink() or target.exists():
        target = folder / f"{number:06d}_{source.name}"
    _link(source, target)
    label = root / "labels" / split / f"{target.stem}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(_label_text(sample))
    return f"images/{split}/{target.name}\n"


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _label_text(sample: Sample) -> str:
    """Six columns if any object has an identity: readers expect all lines of a file to have six, or none."""
    identified = bool((sample.identities >= 0).any())
    lines = []
    for index in np.flatnonzero(~sample.crowd):
        who = [str(sample.identities[index])] if identified else []
        box = [f"{value:.7f}" for value in sample.boxes_xywh[index]]
        lines.append(" ".join([str(sample.classes[index]), *who, *box]) + "\n")
    return "".join(lines)
