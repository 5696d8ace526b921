"""Where the label file of an image may be: all conventions in use, the most common first."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from yolor_cfg.files import open_regular

FOLDER_PAIRS = (
    ("images", "labels"),
    ("JPEGImages", "labels"),
    ("images", "labels_with_ids"),  # of JDE
)


# The folder names that C Darknet replaces (replace_image_to_label in utils.c); images/ alone is no such name.
DARKNET_PAIRS = (
    ("/images/train2017/", "/labels/train2017/"),
    ("/images/val2017/", "/labels/val2017/"),
    ("/JPEGImages/", "/labels/"),
    ("/images/train2014/", "/labels/train2014/"),
    ("/images/val2014/", "/labels/val2014/"),
)


LABEL_LINE = re.compile(rb"\s*\d+([ \t]+[-+\d.eE]+){4}")
LINE_BYTES = 200


class DoubleLabels(NamedTuple):
    """An image with two label files: the one that is read, and another one."""

    image: str
    used: str
    unused: str


def darknet_label_paths(image: str) -> list[str]:
    """Like `label_paths`, with the path that C Darknet reads first."""
    path = os.path.splitext(image)[0] + ".txt"
    for old, new in DARKNET_PAIRS:
        path = path.replace(old, new, 1)
    return list(dict.fromkeys([path, *label_paths(image)]))


class LabelFolders:
    """Where the label files of images are; every folder is listed once, so no file is looked for in vain.

    `doubles` are the images with label files in two folders.
    """

    def __init__(self, images: Sequence[str], paths_of: Callable[[str], Sequence[str]]) -> None:
        members: dict[str, list[str]] = {}
        for image in dict.fromkeys(images):
            members.setdefault(image.rpartition(os.sep)[0], []).append(image)
        known: dict[str, frozenset[str] | None] = {}
        self.doubles: list[DoubleLabels] = []
        self._holding: dict[str, list[str]] = {}
        for folder, inside in members.items():
            places = _label_places(folder, paths_of)
            known |= {place: _text_files(place) for place in places if place not in known}
            listed = [(place, known[place]) for place in places]
            self._holding[folder] = [place for place, names in listed if names is None or names]
            full = [(place, names) for place, names in listed if names]
            if len(full) > 1:
                self.doubles += _double_labels(inside, full)

    def find(self, image: str) -> list[str]:
        """The paths where the labels of an image may be, in the order they are tried."""
        folder, _, name = image.rpartition(os.sep)
        file = os.path.splitext(name)[0] + ".txt"
        return [f"{place}{os.sep}{file}" for place in self._holding[folder]]


def _label_places(folder: str, paths_of: Callable[[str], Sequence[str]]) -> list[str]:
    """The folders of labels of the images of a folder, each once, whatever links lead to it."""
    tried = [os.path.dirname(path) or "." for path in paths_of(os.path.join(folder, "x.png"))]
    places: dict[str, str] = {}
    for place in tried:
        places.setdefault(os.path.realpath(place), place)
    return list(places.values())


def _text_files(folder: str) -> frozenset[str] | None:
    """The label files of a folder; None if it cannot be listed."""
    try:
        return frozenset(name for name in os.listdir(folder) if name.endswith(".txt"))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError:
        return None


def _double_labels(
    images: Sequence[str], holding: Sequence[tuple[str, frozenset[str]]]
) -> Iterator[DoubleLabels]:
    for image in images:
        name = os.path.splitext(os.path.basename(image))[0] + ".txt"
        files = [os.path.join(place, name) for place, names in holding if name in names]
        if len(files) > 1:
            yield DoubleLabels(image, *files[:2])


def lone_labels(images: Iterable[str]) -> Iterator[str]:
    """The label files beside those of these images that have no image, whatever its suffix."""
    places: dict[str, set[str]] = {}
    for image in images:
        used = next(filter(os.path.exists, label_paths(image)), None)
        if used is not None:
            places.setdefault(os.path.dirname(used) or ".", set()).add(os.path.dirname(image) or ".")
    for labels, folders in places.items():
        others = (name for folder in folders for name in os.listdir(folder) if not name.endswith(".txt"))
        stems = {os.path.splitext(name)[0] for name in others}
        for name in sorted(_text_files(labels) or ()):
            if name.removesuffix(".txt") not in stems and _holds_labels(os.path.join(labels, name)):
                yield os.path.join(labels, name)


def _holds_labels(path: str) -> bool:
    """Whether the first line is an object: lists and names of classes end in .txt too."""
    try:
        with open_regular(path) as file:
            return LABEL_LINE.match(file.read(LINE_BYTES)) is not None
    except OSError:
        return False


def label_paths(image: str) -> list[str]:
    """The paths where the labels of an image may be, without duplicates, in the order they are tried.

    images -> labels, its last occurrence in the path, then its first; JPEGImages -> labels; labels/ beside
    the folder of a split; the same folder; labels/ below it.
    """
    stem = os.path.splitext(image)[0] + ".txt"
    return list(dict.fromkeys([*_swapped_paths(stem), *_nearby_paths(stem)]))


def _swapped_paths(path: str) -> Iterator[str]:
    parts = path.split(os.sep)
    for old, new in FOLDER_PAIRS:
        places = [place for place, part in enumerate(parts[:-1]) if part == old]
        for place in [*places[-1:], *places[:1]]:
            yield os.sep.join([*parts[:place], new, *parts[place + 1 :]])


def _nearby_paths(path: str) -> Iterator[str]:
    folder, name = os.path.split(path)
    above, split = os.path.split(folder)
    yield os.path.join(above, "labels", split, name)
    yield os.path.join(above, "labels", name)
    yield path
    yield os.path.join(folder, "labels", name)
