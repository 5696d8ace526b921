"""Pascal VOC: one XML file per image in Annotations/, images in JPEGImages/, splits in ImageSets/Main/."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from xml.etree import ElementTree

from yolor_cfg.data.labels import DIFFICULT, ImageLabels, LabelRow, separate_faults
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size
from yolor_cfg.names import read_names_file, read_text

SPLITS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "trainval"),
    "val": ("val", "valid", "test"),
    "test": ("test", "val", "valid"),
}
NAMES_FILES = ("classes.txt", "names.txt", "voc.names", "labels.txt", "label_map.txt")


class VocObject(NamedTuple):
    """One object of an XML file: its class name, its corners as text, and whether it is marked difficult."""

    name: str
    corners: list[str]
    difficult: bool


def is_voc(folder: str) -> bool:
    """Whether the folder contains Annotations/ or XML files."""
    return os.path.isdir(os.path.join(folder, "Annotations")) or bool(_xml_stems(folder))


def list_images(folder: str, split: SplitName) -> ImageListing:
    """The images of one split; all images if ImageSets/ is missing.

    The classes come from a names file, else they are all that occur, sorted. Pixel coordinates start at 1 and
    are inclusive; a difficult object is not trained on, and in a test it is neither a miss nor an error.
    """
    notes = os.path.join(folder, "Annotations")
    notes = notes if os.path.isdir(notes) else folder
    stems = _split_stems(folder, split) or _xml_stems(notes)
    files = [os.path.join(notes, stem + ".xml") for stem in stems]
    images = _image_paths(folder, notes, stems)
    names = _names(folder, [os.path.join(notes, stem + ".xml") for stem in _xml_stems(notes)])
    class_of = {name: number for number, name in enumerate(names)}

    def read(index: int, size: Size) -> ImageLabels:
        return _read_labels(files[index], class_of, size)

    return ImageListing("voc", names, images, read, lambda index: (files[index],))


def _xml_stems(folder: str) -> list[str]:
    """The stems of a folder's XML files, sorted."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name[:-4] for name in names if name.lower().endswith(".xml") and not name.startswith(".")]


def _split_stems(folder: str, split: SplitName) -> list[str]:
    """A line may hold more after the stem, as in the per-class lists."""
    sets = os.path.join(folder, "ImageSets", "Main")
    places = [os.path.join(sets, name + ".txt") for name in SPLITS[split]]
    place = next((place for place in places if os.path.exists(place)), None)
    if place is None:
        if os.path.isdir(sets):
            allowed = [name + ".txt" for name in SPLITS[split]]
            raise DataError(f"no {split} split", path=sets, allowed=allowed)
        return []
    return [line.split()[0] for line in read_text(place).splitlines() if line.strip()]


def _image_paths(folder: str, notes: str, stems: Sequence[str]) -> list[str]:
    """The image for each stem; if there is none, the path that will be reported as missing."""
    places = [os.path.join(folder, name) for name in ("JPEGImages", "images", "")] + [notes]
    known: dict[str, str] = {}
    for place in filter(os.path.isdir, places):
        for name in sorted(os.listdir(place)):
            stem, ending = os.path.splitext(name)
            if ending.lower() in READABLE_SUFFIXES:
                known.setdefault(stem, os.path.join(place, name))
    return [known.get(stem, os.path.join(places[0], stem + ".jpg")) for stem in stems]


def _names(folder: str, files: Sequence[str]) -> tuple[str, ...]:
    """The class names of all files, not of one split only, so that class ids agree between train and val."""
    for name in NAMES_FILES:
        place = os.path.join(folder, name)
        if os.path.exists(place):
            return read_names_file(place)
    with ThreadPoolExecutor(4) as pool:
        return tuple(sorted({name for names in pool.map(_object_names, files) for name in names}))


def _object_names(file: str) -> set[str]:
    """Skips unreadable files and objects without a name; they are reported when their labels are read."""
    objects = _read_objects(file)
    return set() if isinstance(objects, str | None) else {one.name for one in objects} - {""}


def _read_objects(file: str) -> list[VocObject] | str | None:
    """The objects of an XML file, or what is wrong with it; None if there is no such file."""
    try:
        root = ElementTree.parse(file).getroot()
    except FileNotFoundError:
        return None
    except (OSError, ElementTree.ParseError) as fault:
        return f"not valid XML: {fault}"
    return [_parse_object(one) for one in root.iter("object")]


def _parse_object(one: ElementTree.Element) -> VocObject:
    corners = [one.findtext(f"bndbox/{key}", "").strip() for key in ("xmin", "ymin", "xmax", "ymax")]
    difficult = one.findtext("difficult", "0").strip() not in ("", "0")
    return VocObject(one.findtext("name", "").strip(), corners, difficult)


def _read_labels(file: str, class_of: Mapping[str, int], size: Size) -> ImageLabels:
    objects = _read_objects(file)
    if objects is None:
        return ImageLabels("")
    if isinstance(objects, str):
        return ImageLabels(file, faults=[(0, objects)])
    named = [(f"object {number} ({one.name or 'no name'})", one) for number, one in enumerate(objects, 1)]
    return separate_faults(file, [(what, _to_row(one, class_of, size)) for what, one in named])


def _to_row(one: VocObject, class_of: Mapping[str, int], size: Size) -> LabelRow | str:
    if one.name not in class_of:
        return "unknown class, not one of " + ", ".join(class_of)
    try:
        left, top, right, bottom = map(float, one.corners)
    except ValueError:
        return f"bndbox is not four numbers: {', '.join(one.corners)}"
    height, width = size
    left, top = max(0.0, left - 1), max(0.0, top - 1)
    centre = (left + right) / 2 / width, (top + bottom) / 2 / height
    return LabelRow(
        0,
        class_of[one.name],
        -1.0,
        *centre,
        (right - left) / width,
        (bottom - top) / height,
        DIFFICULT if one.difficult else 0.0,
    )
