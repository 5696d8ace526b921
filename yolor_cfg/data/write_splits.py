"""Writes a divided data set into a new folder: lists of its images, which stay where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from yolor_cfg.data.classes import format_names, match_classes
from yolor_cfg.data.divide import divide
from yolor_cfg.data.duplicates.links import link_images
from yolor_cfg.data.duplicates.prints import read_prints
from yolor_cfg.data.similar import join_groups, similar_groups
from yolor_cfg.data.types import Dataset, Sample, SplitName
from yolor_cfg.data.writing.coco import to_coco
from yolor_cfg.errors import DataError, count_of
from yolor_cfg.runs import whole_folder

KEYS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}
LISTED_FORMATS = ("darknet", "yolo", "folder", "list")
"""Formats whose labels are found by the path of an image; for the others the labels are written as JSON."""
Parts = Mapping[SplitName, Dataset]


class DividedData(NamedTuple):
    """The parts of a data set by split, and what is to be told about them."""

    parts: Parts
    notes: tuple[str, ...]


def divide_dataset(data: Dataset, shares: Mapping[SplitName, float], *, seed: int) -> DividedData:
    """The data set in parts, `shares` of all for each split; similar images stay together where they can."""
    count = len(data.samples)
    if count < len(shares):
        raise DataError(f"too few images for {len(shares)} splits", path=data.origin, found=f"{count}")
    samples = list(data.samples)
    groups = _groups(samples)
    wanted = list(shares.values())
    numbers = divide(samples, groups, wanted, seed=seed, classes=len(data.names))
    notes = _group_notes(groups)
    if len(set(numbers.tolist())) < len(shares):
        notes = ["the images are too similar to keep similar ones in one split: they are divided one by one"]
        numbers = divide(samples, _path_groups(samples), wanted, seed=seed, classes=len(data.names))
    parts = {
        split: data._replace(samples=[samples[i] for i in np.flatnonzero(numbers == number)])
        for number, split in enumerate(shares)
    }
    return DividedData(parts, (*notes, *_missing_notes(parts)))


def join_datasets(parts: Sequence[Dataset]) -> Dataset:
    """The images of all parts, which must have the same classes; image ids are given anew."""
    first = parts[0]
    if len(parts) == 1:
        return first
    matched = [match_classes(part, first.names, source="the other splits", by_number=False) for part in parts]
    samples = {sample.image: sample for part in matched for sample in part.samples}
    return first._replace(samples=[one._replace(image_id=one.image) for one in samples.values()])


def _groups(samples: Sequence[Sample]) -> np.ndarray:
    """Images that are similar as a whole, or that `yolor data duplicates` links, mirrored ones too; an image
    that is listed twice is one group too."""
    paths = [sample.image for sample in samples]
    return join_groups(similar_groups(paths), link_images(paths, read_prints(paths)).groups)


def _path_groups(samples: Sequence[Sample]) -> np.ndarray:
    first: dict[str, int] = {}
    return np.array([first.setdefault(one.image, number) for number, one in enumerate(samples)])


def _group_notes(groups: np.ndarray) -> list[str]:
    _, sizes = np.unique(groups, return_counts=True)
    several = sizes[sizes > 1]
    if not len(several):
        return []
    return [f"{several.sum()} similar images in {count_of(len(several), 'group')}, each kept in one split"]


def _missing_notes(parts: Parts) -> list[str]:
    present = {
        split: {int(c) for one in data.samples for c in one.image_classes} for split, data in parts.items()
    }
    names = next(iter(parts.values())).names
    everywhere = set().union(*present.values())
    missing = {split: sorted(everywhere - found) for split, found in present.items()}
    lacking = {split: [names[label] for label in labels] for split, labels in missing.items() if labels}
    return [
        f"{split} has no image of {format_names(words)}: too few images have them"
        for split, words in lacking.items()
    ]


def write_splits(parts: Parts, folder: str | Path, *, named: bool = True) -> Path:
    """Write a new folder with a file that describes the splits, and return its path.

    Unless `named` the names are only numbers, and are left out where that is possible. Text labels are found
    beside the images, so lists of paths do; annotations of other formats are written as COCO's JSON. Images
    that folders divide into classes get a .data file as of Darknet's classifiers.
    """
    data = next(iter(parts.values()))
    with whole_folder(folder, fault=DataError) as root:
        if not data.has_boxes:
            name = _write_class_data(root, parts)
        elif data.format not in LISTED_FORMATS:
            name = _write_jsons(root, parts)
        elif data.format == "darknet":
            name = _write_data_file(root, parts)
        else:
            name = _write_yaml(root, parts, named=named)
    return Path(folder) / name


def _write_jsons(root: Path, parts: Parts) -> str:
    (root / "annotations").mkdir()
    for split, data in parts.items():
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(to_coco(data)))
    places = {split: f"annotations/instances_{split}.json" for split in parts}
    names = list(next(iter(parts.values())).names)
    return _save_yaml(root, dict[str, object](places.items()) | {"names": names})


def _write_lists(root: Path, parts: Parts) -> dict[SplitName, str]:
    for split, data in parts.items():
        content = list_text([sample.image for sample in data.samples], data.origin)
        (root / f"{split}.txt").write_bytes(content)
    return {split: f"{split}.txt" for split in parts}


def list_text(images: Sequence[str], origin: str) -> bytes:
    """The content of a list of images, with absolute paths; raises DataError for a name that none holds."""
    paths = [os.path.abspath(image) for image in images]
    strange = [path for path in paths if path != path.strip() or "\n" in path or "\\" in path]
    if strange:
        raise DataError("a list cannot hold this file name", path=origin, found=repr(strange[0]))
    return "".join(f"{path}\n" for path in paths).encode("utf-8", "surrogateescape")


def _write_data_file(root: Path, parts: Parts) -> str:
    names = next(iter(parts.values())).names
    lists = _write_lists(root, parts)
    (root / "classes.names").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    lines = [f"classes = {len(names)}", *(f"{KEYS[split]} = {name}" for split, name in lists.items())]
    text = "\n".join([*lines, "names = classes.names", ""])
    (root / "split.data").write_text(text, encoding="utf-8")
    return "split.data"


def _write_class_data(root: Path, parts: Parts) -> str:
    """Folders of classes as Darknet's classifiers are given them: by a part of the path. Raises DataError
    where none tells the class of an image."""
    data = next(iter(parts.values()))
    labels = [f"/{name}/" for name in data.names]
    for sample in (one for part in parts.values() for one in part.samples):
        told = [k for k, label in enumerate(labels) if label in os.path.abspath(sample.image)]
        if told != sample.image_classes.tolist():
            hint = "copy the images into train/CLASS and val/CLASS by hand"
            raise DataError("no part of this path tells the class", path=sample.image, hint=hint)
    name = _write_data_file(root, parts)
    (root / "labels.list").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    with (root / name).open("a", encoding="utf-8") as file:
        file.write("labels = labels.list\n")
    return name


def _write_yaml(root: Path, parts: Parts, *, named: bool) -> str:
    lists = dict[str, object](_write_lists(root, parts).items())
    names = {"names": list(next(iter(parts.values())).names)} if named else {}
    return _save_yaml(root, lists | names)


def _save_yaml(root: Path, content: Mapping[str, object]) -> str:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    (root / "split.yaml").write_text(text, encoding="utf-8")
    return "split.yaml"
