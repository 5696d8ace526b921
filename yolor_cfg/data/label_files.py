"""Where the label file of a picture may be: every rule in use, the commonest first."""

from __future__ import annotations

import os
from collections.abc import Iterator

FOLDER_PAIRS = (
    ("images", "labels"),
    ("JPEGImages", "labels"),
)


def label_paths(image: str) -> list[str]:
    """The places to look for the labels of a picture, each once, in the order in which they are tried.

    images -> labels at its last place in the path, then at its first; JPEGImages -> labels; labels/ beside
    the folder of a split; the same folder; labels/ below it.
    """
    stem = os.path.splitext(image)[0] + ".txt"
    return list(dict.fromkeys([*_swapped_paths(stem), *_nearby_paths(stem)]))


def first_label_path(image: str) -> str:
    """The first of `label_paths`, which costs less where it is the right one."""
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
