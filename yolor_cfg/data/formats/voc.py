"""Pascal VOC: one XML file a picture in Annotations/, pictures in JPEGImages/, splits in ImageSets/Main/."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from xml.etree import ElementTree

from yolor_cfg.data.labels import Lines, Row, sorted_out
from yolor_cfg.data.listing import Listing
from yolor_cfg.data.types import Split
from yolor_cfg.errors import DataError
from yolor_cfg.images.stacks import ENDINGS
from yolor_cfg.images.types import Size
from yolor_cfg.names import read_names, read_text

SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "trainval"),
    "val": ("val", "valid", "test"),
    "test": ("test", "val", "valid"),
}
NAMES_FILES = ("classes.txt", "names.txt", "voc.names", "labels.txt", "label_map.txt")


class Found(NamedTuple):
    """One object of a file: its class, its corners as they stand there, and whether it is a difficult one."""

    name: str
    corners: list[str]
    difficult: bool


def is_voc(folder: str) -> bool:
    """True for a folder with Annotations/ or with XML files of its own."""
    return os.path.isdir(os.path.join(folder, "Annotations")) or bool(_xmls(folder))


def listing(folder: str, split: Split) -> Listing:
    """The pictures of one split; all of them where ImageSets/ is missing.

    The classes are those of a file of names, else all that occur, sorted. Corners count pixels from 1 and
    include the last one; a difficult object counts as a crowd: not trained on, not missed in a test.
    """
    notes = os.path.join(folder, "Annotations")
    notes = notes if os.path.isdir(notes) else folder
    stems = _split_stems(folder, split) or _xmls(notes)
    files = [os.path.join(notes, stem + ".xml") for stem in stems]
    images = _images(folder, notes, stems)
    names = _names(folder, [os.path.join(notes, stem + ".xml") for stem in _xmls(notes)])
    class_of = {name: number for number, name in enumerate(names)}

    def read(index: int, size: Size) -> Lines:
        return _lines(files[index], class_of, size)

    return Listing("voc", names, images, read, lambda index: (files[index],))


def _xmls(folder: str) -> list[str]:
    """The XML files of a folder without their ending, in order."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name[:-4] for name in names if name.lower().endswith(".xml") and not name.startswith(".")]


def _split_stems(folder: str, split: Split) -> list[str]:
    """A line may hold more after the stem (a class's file does)."""
    sets = os.path.join(folder, "ImageSets", "Main")
    places = [os.path.join(sets, name + ".txt") for name in SPLITS[split]]
    place = next((place for place in places if os.path.exists(place)), None)
    if place is None:
        if os.path.isdir(sets):
            allowed = [name + ".txt" for name in SPLITS[split]]
            raise DataError(f"nothing for {split}", path=sets, allowed=allowed)
        return []
    return [line.split()[0] for line in read_text(place).splitlines() if line.strip()]


def _images(folder: str, notes: str, stems: Sequence[str]) -> list[str]:
    """For every stem the picture of that name; where there is none, the one that will be reported missing."""
    places = [os.path.join(folder, name) for name in ("JPEGImages", "images", "")] + [notes]
    known: dict[str, str] = {}
    for place in filter(os.path.isdir, places):
        for name in sorted(os.listdir(place)):
            stem, ending = os.path.splitext(name)
            if ending.lower() in ENDINGS:
                known.setdefault(stem, os.path.join(place, name))
    return [known.get(stem, os.path.join(places[0], stem + ".jpg")) for stem in stems]


def _names(folder: str, files: Sequence[str]) -> tuple[str, ...]:
    """Those of all files, not of one split, so that train and val number the classes alike."""
    for name in NAMES_FILES:
        place = os.path.join(folder, name)
        if os.path.exists(place):
            return read_names(place)
    with ThreadPoolExecutor(4) as pool:
        return tuple(sorted({name for names in pool.map(_names_of, files) for name in names}))


def _names_of(file: str) -> set[str]:
    """A file that cannot be read is reported when its labels are."""
    objects = _objects(file)
    return set() if isinstance(objects, str | None) else {one.name for one in objects}


def _objects(file: str) -> list[Found] | str | None:
    """What an XML file holds, or what is wrong with it; None where there is no file."""
    try:
        root = ElementTree.parse(file).getroot()
    except FileNotFoundError:
        return None
    except (OSError, ElementTree.ParseError) as fault:
        return f"not valid XML: {fault}"
    return [_found(one) for one in root.iter("object")]


def _found(one: ElementTree.Element) -> Found:
    corners = [one.findtext(f"bndbox/{key}", "").strip() for key in ("xmin", "ymin", "xmax", "ymax")]
    difficult = one.findtext("difficult", "0").strip() not in ("", "0")
    return Found(one.findtext("name", "").strip(), corners, difficult)


def _lines(file: str, class_of: Mapping[str, int], size: Size) -> Lines:
    objects = _objects(file)
    if objects is None:
        return Lines("")
    if isinstance(objects, str):
        return Lines(file, faults=[(0, objects)])
    named = [(f"object {number} ({one.name or 'no name'})", one) for number, one in enumerate(objects, 1)]
    return sorted_out(file, [(what, _row(one, class_of, size)) for what, one in named])


def _row(one: Found, class_of: Mapping[str, int], size: Size) -> Row | str:
    if one.name not in class_of:
        return "its class is not one of " + ", ".join(class_of)
    try:
        left, top, right, bottom = map(float, one.corners)
    except ValueError:
        return f"bndbox is not four numbers: {', '.join(one.corners)}"
    height, width = size
    left, top = max(0.0, left - 1), max(0.0, top - 1)
    centre = (left + right) / 2 / width, (top + bottom) / 2 / height
    return Row(
        0,
        class_of[one.name],
        -1.0,
        *centre,
        (right - left) / width,
        (bottom - top) / height,
        float(one.difficult),
    )
