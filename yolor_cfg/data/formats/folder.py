"""Folders without a description file: images/ and labels/, with or without a subfolder per split."""

from __future__ import annotations

import os

from yolor_cfg.data.listing import (
    ImageListing,
    ListedImages,
    find_images,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.names import read_names_file

SPLITS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "train2017", "training"),
    "val": ("val", "valid", "validation", "val2017", "test"),
    "test": ("test", "val", "valid", "validation", "val2017"),
}
NAMES_FILES = ("classes.txt", "names.txt", "obj.names", "predefined_classes.txt", "labels.txt")


def list_images(folder: str, split: SplitName) -> ImageListing:
    """The images of the split's folder; all images if no folder is named after a split."""
    place = _split_folder(folder, split)
    return text_label_listing("folder", _names(folder), ListedImages(find_images(place, ["."])))


def list_text_file(path: str, split: SplitName) -> ImageListing:
    """The images that a text file names, one per line, whatever the split."""
    folder = os.path.dirname(path) or "."
    return text_label_listing("list", _names(folder), unique_images(find_images(path, ["."]), split))


def _split_folder(folder: str, split: SplitName) -> str:
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
        raise DataError(f"no {split} split", path=root, found=given, allowed=SPLITS[split])
    return root


def _names(folder: str) -> tuple[str, ...]:
    """The class names from a file with a usual name or the suffix .names; none without such a file."""
    others = sorted(name for name in os.listdir(folder) if name.endswith(".names"))
    for name in [*NAMES_FILES, *others]:
        place = os.path.join(folder, name)
        if os.path.isfile(place):
            return read_names_file(place)
    return ()
