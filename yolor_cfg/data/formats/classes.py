"""Folders that divide images by class: train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

from yolor_cfg.data.formats.folder import split_folders
from yolor_cfg.data.label_files import label_paths
from yolor_cfg.data.labels import ImageLabels
from yolor_cfg.data.listing import ImageListing, find_images
from yolor_cfg.data.splits import SPLIT_WORDS, missing_split, refuse_undivided, split_of_folder
from yolor_cfg.data.types import SplitName
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size

NO_CLASSES = {"images", "jpegimages", "labels", "annotations", "imagesets"}.union(*SPLIT_WORDS.values())
"""What folders of other layouts are called."""
LEAST_CLASSES = 2


def is_divided_by_class(folder: str) -> bool:
    """Whether it has, or each of its splits has, only subfolders of images, which no label file describes. A
    split may lack classes; one folder in all could be any."""
    places = list(split_folders(folder).values()) or [folder]
    if not all(_has_classes(place) for place in places):
        return False
    return len(set[str]().union(*map(class_names, places))) >= LEAST_CLASSES


def _has_classes(place: str) -> bool:
    names = class_names(place)
    if not names or NO_CLASSES & {name.lower() for name in names}:
        return False
    firsts = [_first_image(os.path.join(place, name)) for name in names]
    loose = _first_image(place)
    return not loose and not any(_has_labels(first) for first in firsts if first)


def _has_labels(image: str) -> bool:
    stem = os.path.splitext(image)[0]
    return any(map(os.path.exists, [*label_paths(image), f"{stem}.xml", f"{stem}.json"]))


def class_names(place: str) -> list[str]:
    """The subfolders with images, sorted."""
    with os.scandir(place) as entries:
        folders = sorted(one.name for one in entries if one.is_dir() and not one.name.startswith("."))
    return [name for name in folders if _first_image(os.path.join(place, name))]


def _first_image(folder: str) -> str:
    """The path of an image that lies directly in the folder; empty if there is none."""
    return next(_direct_images(folder), "")


def _direct_images(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for one in entries:
            if one.name.lower().endswith(READABLE_SUFFIXES) and not one.name.startswith("."):
                yield one.path


def list_images(folder: str, split: SplitName) -> ImageListing:
    """The images of a split; the classes are those of all splits, sorted by name."""
    places = split_folders(folder)
    if not places:
        refuse_undivided(split, split_of_folder(folder), folder)
    elif split not in places:
        raise missing_split(split, folder, found=", ".join(places.values()), allowed=SPLIT_WORDS[split][:2])
    place = places.get(split, folder)
    listed = {one: find_images(one, ["."]) for one in places.values() or [folder]}
    found = {one: [_class_of(image, one) for image in part.images] for one, part in listed.items()}
    names = sorted(set().union(*found.values()))
    number = {name: k for k, name in enumerate(names)}
    classes, images = [number[name] for name in found[place]], listed[place].images

    def read(index: int, size: Size) -> ImageLabels:
        return ImageLabels(place, classes=(classes[index],))

    return ImageListing(
        "classes",
        tuple(names),
        images,
        read,
        lambda index: label_paths(images[index]),
        notes=listed[place].problems,
        has_boxes=False,
    )


def _class_of(image: str, place: str) -> str:
    return os.path.relpath(image, place).split(os.sep)[0]
