"""Darknet's `.data` file: `key = value` lines that lead to lists of pictures and to the classes' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolor_cfg.data.listing import (
    ImageListing,
    find_images,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.names import data_folders, data_names, locate, read_options

KEYS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("valid", "val", "test"),
    "test": ("test", "valid", "val"),
}


def list_images(path: str, split: SplitName) -> ImageListing:
    """The pictures of one split; paths start from the folder of the .data file, else from here.

    Darknet itself knows only `train` and `valid`: `test` stands for the other where one is missing.
    """
    options = read_options(path)
    bases = data_folders(path)
    key = next((key for key in KEYS[split] if options.get(key)), None)
    if key is None:
        given = ", ".join(options) or "no key"
        raise DataError(f"nothing for {split}", path=path, found=given, allowed=KEYS[split])
    place = locate(options[key], bases, what=key, path=path)
    images = find_images(place, bases)
    difficult = {} if split == "train" else _difficult_images(options, images, path=path)
    names = data_names(options, path)
    return text_label_listing("darknet", names, unique_images(images, split), difficult=difficult)


def _difficult_images(options: Mapping[str, str], images: Sequence[str], *, path: str) -> dict[str, str]:
    """By picture the one whose labels are its difficult objects: C Darknet pairs both lists line by line, and
    reads only the label files of the second."""
    listed = options.get("difficult")
    if not listed:
        return {}
    bases = data_folders(path)
    others = find_images(locate(listed, bases, what="difficult", path=path), bases)
    if len(others) < len(images):
        raise DataError(
            "too few images in the list of difficult objects",
            path=path,
            key="difficult",
            found=f"{len(others)} in {listed}",
            allowed=f"{len(images)}, one for each image of the split, in its order",
        )
    return dict(zip(images, others, strict=False))
