"""Folders without a file that describes them: images/ and labels/, with or without folders for splits."""

from __future__ import annotations

import os

from yolor_cfg.data.listing import (
    Listing,
    distinct,
    pictures_of,
    with_text_labels,
)
from yolor_cfg.data.types import Split
from yolor_cfg.errors import DataError
from yolor_cfg.names import read_names

SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "train2017", "training"),
    "val": ("val", "valid", "validation", "val2017", "test"),
    "test": ("test", "val", "valid", "validation", "val2017"),
}
NAMES_FILES = ("classes.txt", "names.txt", "obj.names", "predefined_classes.txt", "labels.txt")


def listing(folder: str, split: Split) -> Listing:
    """The pictures of the split's folder; all pictures where no folder is named after a split."""
    place = _place(folder, split)
    return with_text_labels("folder", _names(folder), pictures_of(place, ["."]))


def list_listing(path: str, split: Split) -> Listing:
    """The pictures that a text file names, one a line; whatever the split."""
    folder = os.path.dirname(path) or "."
    return with_text_labels("list", _names(folder), distinct(pictures_of(path, ["."]), split))


def _place(folder: str, split: Split) -> str:
    roots = [os.path.join(folder, "images"), os.path.join(folder, "JPEGImages"), folder]
    root = next(root for root in roots if os.path.isdir(root))
    for name in SPLITS[split]:
        named = os.path.join(folder, name)
        place = next(
            filter(os.path.isdir, [os.path.join(root, name), os.path.join(named, "images"), named]), None
        )
        if place is not None:
            return place
    others = [name for names in SPLITS.values() for name in names if os.path.isdir(os.path.join(root, name))]
    if others:
        given = ", ".join(dict.fromkeys(others))
        raise DataError(f"nothing for {split}", path=root, found=given, allowed=SPLITS[split])
    return root


def _names(folder: str) -> tuple[str, ...]:
    """Those of a file with a usual name or with the ending .names; none where there is no such file."""
    others = sorted(name for name in os.listdir(folder) if name.endswith(".names"))
    for name in [*NAMES_FILES, *others]:
        place = os.path.join(folder, name)
        if os.path.isfile(place):
            return read_names(place)
    return ()
