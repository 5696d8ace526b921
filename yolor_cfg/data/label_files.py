"""Where the label file of an image may be: all conventions in use, the most common first."""

from __future__ import annotations

import os
from collections.abc import Iterator

FOLDER_PAIRS = (
    ("images", "labels"),
    ("JPEGImages", "labels"),
)


def label_paths(image: str) -> list[str]:
    """The paths where the labels of an image may be, without duplicates, in the order they are tried.

    images -> labels, its last occurrence in the path, then its first; JPEGImages -> labels; labels/ beside
    the folder of a split; the same folder; labels/ below it.
    """
    stem = os.path.splitext(image)[0] + ".txt"
    return list(dict.fromkeys([*_swapped_paths(stem), *_nearby_paths(stem)]))


def first_label_path(image: str) -> str:
    """The first of `label_paths`, computed alone because it is usually the right one."""
    return next(_swapped_paths(os.path.splitext(image)[0] + ".txt"), "")


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
