"""What every format provides: a list of images, class names, and a function that reads labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.data.label_files import first_label_path, label_paths
from yolor_cfg.data.labels import ImageLabels, parse_labels
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.files import reason_of
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size
from yolor_cfg.names import first_existing, read_text


class ImageListing(NamedTuple):
    """Images in order; `read(i, size)` returns the labels of image i, `find_label_paths(i)` where it looks.

    `names` is empty if nothing names the classes; with `ids` None the file names are the image ids.
    """

    format: str
    names: tuple[str, ...]
    images: Sequence[str]
    read: Callable[[int, Size], ImageLabels]
    find_label_paths: Callable[[int], Sequence[str]]
    ids: Sequence[int | str] | None = None
    notes: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] = ()


def text_label_listing(format: str, names: Sequence[str], images: Sequence[str]) -> ImageListing:
    """Images whose labels are text files, beside them or in labels/."""

    def read(index: int, size: Size) -> ImageLabels:
        return _read_text_labels(images[index])

    def tries(index: int) -> Sequence[str]:
        return label_paths(images[index])

    return ImageListing(format, tuple(names), images, read, tries)


def _read_text_labels(image: str) -> ImageLabels:
    for path in _candidate_paths(image):
        try:
            with open(path, "rb", buffering=0) as file:
                return parse_labels(file.read(), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as fault:
            return ImageLabels(path, faults=[(0, reason_of(fault))])
    return ImageLabels("")


def _candidate_paths(image: str) -> Iterator[str]:
    """The same as `label_paths`, but the later paths are computed only when needed."""
    first = first_label_path(image)
    if first:
        yield first
    yield from label_paths(image)


def find_images(place: str, bases: Sequence[str | Path]) -> list[str]:
    """All images of a folder and its subfolders, sorted; or a single image; or those in a list file."""
    if os.path.isdir(place):
        return _folder_images(place)
    if place.lower().endswith(READABLE_SUFFIXES):
        return [place]
    return _read_image_list(place, [os.path.dirname(place), *bases])


def unique_images(images: Sequence[str], split: SplitName) -> Sequence[str]:
    """For training an image may be listed several times, to weigh more; in a test it counts once."""
    return images if split == "train" else list(dict.fromkeys(images))


def _folder_images(folder: str) -> list[str]:
    """Skips hidden files and folders."""
    images = []
    for above, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [
            name for name in names if name.lower().endswith(READABLE_SUFFIXES) and not name.startswith(".")
        ]
        images += [os.path.join(above, name) for name in shown]
    return sorted(images)


def _read_image_list(path: str, bases: Sequence[str | Path]) -> list[str]:
    """A path that does not exist is kept relative to the first folder, to be reported as unreadable."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    places = list(dict.fromkeys(os.path.abspath(base) for base in bases))
    return [
        _resolve_line(line.replace("\\", "/"), places) for line in lines if line and not line.startswith("#")
    ]


def _resolve_line(line: str, bases: Sequence[str]) -> str:
    return first_existing(line, bases) or os.path.normpath(os.path.join(bases[0], line))


def image_ids(images: Sequence[str]) -> list[int | str]:
    """The file stems, as numbers where they are numeric; the full paths if two stems are equal."""
    stems = [os.path.splitext(os.path.basename(image))[0] for image in images]
    ids: list[int | str] = [int(stem) if stem.isascii() and stem.isdecimal() else stem for stem in stems]
    return ids if len(set(ids)) == len(set(images)) else list(images)
