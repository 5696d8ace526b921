"""Folders that divide images by class: train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg alone.

One folder in all could be any: it is a class if the train split beside it, or the network, has one of that
name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from yolor_cfg.data.classes import plain_name
from yolor_cfg.data.formats.folder import split_folders
from yolor_cfg.data.label_files import label_paths
from yolor_cfg.data.labels import ImageLabels
from yolor_cfg.data.listing import ImageListing, find_images
from yolor_cfg.data.splits import SPLIT_WORDS, missing_split, refuse_undivided, split_of_folder
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size

NO_CLASSES = {"images", "jpegimages", "labels", "annotations", "imagesets"}.union(*SPLIT_WORDS.values())
"""What folders of other layouts are called."""
LEAST_CLASSES = 2


def is_divided_by_class(folder: str, known: Sequence[str] = ()) -> bool:
    """Whether it has, or each of its splits has, only subfolders of images, which no label file describes. A
    split may lack classes; one subfolder in all has to be called as one of the `known` classes, or as one of
    the train split beside the folder."""
    found = _own_classes(folder)
    if len(found) != 1:
        return len(found) >= LEAST_CLASSES
    return _is_among(found, known) or {found[0]} < set(_train_classes(folder))


def describe_lone_class(folder: str) -> str:
    """What to do with one subfolder of images that may be a class, or with the folder of one class; empty
    where there is no such."""
    found, above = _own_classes(folder), os.path.dirname(os.path.normpath(folder)) or "."
    if len(found) == 1:
        return (
            f"{found[0]} may be a class, but could be any folder: put the other classes or a train split "
            "beside it, or test a network that names such a class"
        )
    if split_of_folder(above) and _own_classes(above) and _first_image(folder):
        return f"these may be the images of one class of {above}: give that folder"
    return ""


def _own_classes(folder: str) -> list[str]:
    """The classes of all splits, sorted; none where one of these has other images besides."""
    places = list(split_folders(folder).values()) or [folder]
    if not all(map(_has_classes, places)):
        return []
    return sorted(set[str]().union(*map(class_names, places)))


def _train_classes(folder: str) -> list[str]:
    """The classes of the train split beside a folder that is called after another split."""
    if split_of_folder(folder) in (None, "train"):
        return []
    train = split_folders(os.path.dirname(os.path.normpath(folder)) or ".").get("train")
    return class_names(train) if train and _has_classes(train) else []


def _is_among(names: Sequence[str], known: Sequence[str]) -> bool:
    return {plain_name(name) for name in names} <= {plain_name(name) for name in known}


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


def list_images(folder: str, split: SplitName, known: Sequence[str] = ()) -> ImageListing:
    """The images of a split; the classes are those of all splits, sorted by name, or where there is but one
    those that are `known`."""
    places = split_folders(folder)
    if not places:
        refuse_undivided(split, split_of_folder(folder), folder)
    elif split not in places:
        raise missing_split(split, folder, found=", ".join(places.values()), allowed=SPLIT_WORDS[split][:2])
    place = places.get(split, folder)
    listed = {one: find_images(one, ["."]) for one in places.values() or [folder]}
    found = {one: [_class_of(image, one) for image in part.images] for one, part in listed.items()}
    own = sorted(set(_train_classes(folder)).union(*found.values()))
    names, number = _number_classes(own, known)
    images, notes = listed[place].images, listed[place].problems
    classes = [number[name] for name in found[place]]
    if len(names) > len(own):
        notes = (*notes, Problem(place, 0, f"its one folder, {own[0]}, is taken for that class", "note"))

    def read(index: int, size: Size) -> ImageLabels:
        return ImageLabels(place, classes=(classes[index],))

    return ImageListing(
        "classes",
        tuple(names),
        images,
        read,
        lambda index: label_paths(images[index]),
        notes=notes,
        has_boxes=False,
    )


def _number_classes(own: Sequence[str], known: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The list of classes, and the number of each of our own: one class in all counts as in the list that is
    `known`."""
    if len(own) >= LEAST_CLASSES or not _is_among(own, known):
        return tuple(own), {name: k for k, name in enumerate(own)}
    plain = [plain_name(name) for name in known]
    return tuple(known), {name: plain.index(plain_name(name)) for name in own}


def _class_of(image: str, place: str) -> str:
    return os.path.relpath(image, place).split(os.sep)[0]
