"""Darknet's `.data` file: `key = value` lines that point to lists of images and to the class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolor_cfg.data.label_files import darknet_label_paths
from yolor_cfg.data.listing import (
    ImageListing,
    find_images,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.names import data_folders, data_names, locate, read_options

KEYS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("valid", "val", "test"),
    "test": ("test", "valid", "val"),
}


def list_images(path: str, split: SplitName) -> ImageListing:
    """The images of one split; paths are relative to the .data file, else to the working directory.

    Darknet itself knows only `train` and `valid`; `test` and `valid` stand in for each other.
    """
    options = read_options(path)
    bases = data_folders(path)
    key = next((key for key in KEYS[split] if options.get(key)), None)
    if key is None:
        given = ", ".join(options) or "no key"
        raise DataError(f"no {split} split", path=path, found=given, allowed=KEYS[split])
    place = locate(options[key], bases, what=key, path=path)
    images = find_images(place, bases)
    difficult = {} if split == "train" else _difficult_images(options, images, path=path)
    listing = text_label_listing(
        "darknet",
        data_names(options, path),
        unique_images(images, split),
        paths_of=darknet_label_paths,
        difficult=difficult,
    )
    if split == "train" and "backup" in options:
        text = (
            f"backup={options['backup']} is not used: checkpoints go to the folder of the run, see --project"
        )
        return listing._replace(notes=(*listing.notes, Problem(path, 0, text, "note")))
    return listing


def _difficult_images(options: Mapping[str, str], images: Sequence[str], *, path: str) -> dict[str, str]:
    """For each image the one whose labels are its difficult objects: C Darknet pairs the two lists line by
    line, and reads only the label files of the second."""
    listed = options.get("difficult")
    if not listed:
        return {}
    bases = data_folders(path)
    others = find_images(locate(listed, bases, what="difficult", path=path), bases, needs_images=False)
    if len(others) < len(images):
        raise DataError(
            "too few images in the list of difficult objects",
            path=path,
            key="difficult",
            found=f"{len(others)} in {listed}",
            allowed=f"{len(images)}, one for each image of the split, in its order",
        )
    return dict(zip(images, others, strict=False))
