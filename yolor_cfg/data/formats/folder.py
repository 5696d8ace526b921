"""Folders without a description file: images/ and labels/, with or without a subfolder per split."""

from __future__ import annotations

import os
from collections.abc import Iterator

from yolor_cfg.data.listing import (
    ImageListing,
    find_images,
    repeated_names,
    text_label_listing,
    unique_images,
)
from yolor_cfg.data.splits import (
    SPLIT_WORDS,
    missing_split,
    refuse_undivided,
    split_of_folder,
    split_of_name,
)
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.names import read_names_file

NAMES_FILES = (
    "classes.txt",
    "names.txt",
    "obj.names",
    "predefined_classes.txt",
    "labels.txt",
    "_darknet.labels",
)


def list_images(folder: str, split: SplitName) -> ImageListing:
    """The images of the split's folder; all images if no folder is named after a split."""
    places = split_folders(folder)
    if not places:
        refuse_undivided(split, split_of_folder(folder), folder)
    elif split not in places:
        found = ", ".join(places.values())
        raise missing_split(split, folder, found=found, allowed=SPLIT_WORDS[split][:2])
    place = places.get(split) or _image_root(folder)
    listing = text_label_listing("folder", (), find_images(place, ["."]))
    return _add_names(listing, [folder, *_label_folders(place), *places.values()])


def list_text_file(path: str, split: SplitName) -> ImageListing:
    """The images that a text file names, one per line; as another split than train if it is called so."""
    refuse_undivided(split, split_of_name(path), path)
    folder = os.path.dirname(path) or "."
    listing = text_label_listing("list", (), unique_images(find_images(path, ["."]), split))
    first = os.path.dirname(listing.images[0]) if listing.images else folder
    return _add_names(listing, [folder, *_label_folders(first)], skipped=path)


def split_folders(folder: str) -> dict[SplitName, str]:
    """The folders of images that are named after a split."""
    root = _image_root(folder)
    found: dict[SplitName, str] = {}
    for split, words in SPLIT_WORDS.items():
        for name in words:
            named = os.path.join(folder, name)
            places = [os.path.join(root, name), os.path.join(named, "images"), named]
            place = next(filter(os.path.isdir, places), None)
            if place is not None:
                found.setdefault(split, place)
    return found


def _image_root(folder: str) -> str:
    roots = [os.path.join(folder, "images"), os.path.join(folder, "JPEGImages"), folder]
    return next(root for root in roots if os.path.isdir(root))


def _label_folders(place: str) -> list[str]:
    """Where the tools that draw boxes put the names: beside the images or among the labels."""
    above, name = os.path.split(os.path.normpath(place))
    return [
        place,
        os.path.join(above, "labels"),
        os.path.join(os.path.dirname(above), "labels", name),
        os.path.join(place, "labels"),
        *([above, os.path.dirname(above)] if name == "images" or split_of_folder(place) else []),
    ]


def _add_names(listing: ImageListing, folders: list[str], skipped: str = "") -> ImageListing:
    """The listing with the names of the first file of names in these folders."""
    place = next(_names_files(folders, skipped), None)
    if place is None:
        return listing
    names = read_names_file(place)
    notes = [
        Problem(place, second + 1, f"classes {first} and {second}: {reason}", "note")
        for first, second, reason in repeated_names(names)
    ]
    return listing._replace(names=names, notes=(*listing.notes, *notes))


def _names_files(folders: list[str], skipped: str) -> Iterator[str]:
    """The files with a usual name or the suffix .names."""
    for folder in filter(os.path.isdir, dict.fromkeys(folders)):
        others = sorted(name for name in os.listdir(folder) if name.endswith(".names"))
        for name in [*NAMES_FILES, *others]:
            place = os.path.join(folder, name)
            if os.path.isfile(place) and place != skipped:
                yield place
