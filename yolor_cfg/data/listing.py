"""What every format comes down to: a list of pictures, their classes, and a way to read the labels of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.data.labels import Lines, read_lines
from yolor_cfg.data.pairs import first_label_path, label_paths
from yolor_cfg.data.types import Problem, Split
from yolor_cfg.files import reason_of
from yolor_cfg.images.stacks import ENDINGS
from yolor_cfg.images.types import Size
from yolor_cfg.names import first_existing, read_text


class Listing(NamedTuple):
    """Pictures in order; `read(i, size)` gives the labels of picture i, `tries(i)` where it looks for them.

    `names` is empty where nothing names the classes; `ids` None means that the files' names are the ids.
    """

    format: str
    names: tuple[str, ...]
    images: Sequence[str]
    read: Callable[[int, Size], Lines]
    tries: Callable[[int], Sequence[str]]
    ids: Sequence[int | str] | None = None
    notes: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] = ()


def with_text_labels(format: str, names: Sequence[str], images: Sequence[str]) -> Listing:
    """Pictures whose labels are text files beside them or in labels/."""

    def read(index: int, size: Size) -> Lines:
        return _text_labels(images[index])

    def tries(index: int) -> Sequence[str]:
        return label_paths(images[index])

    return Listing(format, tuple(names), images, read, tries)


def _text_labels(image: str) -> Lines:
    for path in _tried_in_turn(image):
        try:
            with open(path, "rb", buffering=0) as file:
                return read_lines(file.read(), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as fault:
            return Lines(path, faults=[(0, reason_of(fault))])
    return Lines("")


def _tried_in_turn(image: str) -> Iterator[str]:
    """As `label_paths`; the later ones are only worked out when they are needed."""
    first = first_label_path(image)
    if first:
        yield first
    yield from label_paths(image)


def pictures_of(place: str, bases: Sequence[str | Path]) -> list[str]:
    """All pictures of a folder, folders below it included, in order; or those that a list names."""
    if os.path.isdir(place):
        return _in_folder(place)
    if place.lower().endswith(ENDINGS):
        return [place]
    return _listed(place, [os.path.dirname(place), *bases])


def distinct(images: Sequence[str], split: Split) -> Sequence[str]:
    """To train on, a picture may be listed several times, to count more; in a test it counts once."""
    return images if split == "train" else list(dict.fromkeys(images))


def _in_folder(folder: str) -> list[str]:
    """Hidden files and folders are left out."""
    images = []
    for above, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [name for name in names if name.lower().endswith(ENDINGS) and not name.startswith(".")]
        images += [os.path.join(above, name) for name in shown]
    return sorted(images)


def _listed(path: str, bases: Sequence[str | Path]) -> list[str]:
    """A line that leads nowhere is kept as it would be in the first folder, to be reported as unreadable."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    places = list(dict.fromkeys(os.path.abspath(base) for base in bases))
    return [_place(line.replace("\\", "/"), places) for line in lines if line and not line.startswith("#")]


def _place(line: str, bases: Sequence[str]) -> str:
    return first_existing(line, bases) or os.path.normpath(os.path.join(bases[0], line))


def ids_of(images: Sequence[str]) -> list[int | str]:
    """The file's name without its ending, as a number if it is one; the paths where two would be equal."""
    stems = [os.path.splitext(os.path.basename(image))[0] for image in images]
    ids: list[int | str] = [int(stem) if stem.isascii() and stem.isdecimal() else stem for stem in stems]
    return ids if len(set(ids)) == len(set(images)) else list(images)
