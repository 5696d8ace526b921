"""Pascal VOC: one XML file per image in Annotations/, images in JPEGImages/, splits in ImageSets/Main/."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from yolor_cfg.data.extras import ListingExtras, ObjectExtras
from yolor_cfg.data.formats.voc_xml import VocObject, parse_number, read_voc, unknown_tags
from yolor_cfg.data.labels import DIFFICULT, ImageLabels, LabelRow, separate_faults
from yolor_cfg.data.listing import ImageListing
from yolor_cfg.data.splits import SPLIT_WORDS, missing_split, refuse_undivided, split_of_folder
from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.images.stacks import READABLE_SUFFIXES
from yolor_cfg.images.types import Size
from yolor_cfg.names import read_names_file, read_text

NAMES_FILES = ("classes.txt", "names.txt", "voc.names", "labels.txt", "label_map.txt")
LABEL_MAP = "labelmap.txt"
"""CVAT's list of classes: `name:color:parts:actions`."""
BACKGROUND = "background"
XML_FOLDERS = ("Annotations", "annotations", os.path.join("annotations", "xmls"), "xmls", "labels")
IMAGE_FOLDERS = ("JPEGImages", "images")
UNDIVIDED_LIST = "default"
"""CVAT's list of a task without subsets."""


class VocPart(NamedTuple):
    """A folder of XML files, and the folders where their images may be."""

    notes: str
    images: Sequence[str]


def is_voc(folder: str) -> bool:
    """Whether the folder, or one named after a split in it, contains Annotations/ or XML files."""
    return _part(folder) is not None or bool(_split_parts(folder))


def list_images(folder: str, split: SplitName) -> ImageListing:
    """The images of one split; all images if nothing divides them.

    The classes come from a names file, else they are all that occur, sorted. Pixel coordinates start at 1 and
    are inclusive; a difficult object is not trained on, and in a test it is neither a miss nor an error.
    """
    whole, parts = _part(folder), _split_parts(folder)
    if split in parts or whole is None:
        if split not in parts:
            raise missing_split(split, folder, found=", ".join(parts))
        part, stems = parts[split], _xml_stems(parts[split].notes)
    else:
        part, stems = whole, _listed_stems(folder, split, whole.notes)
    files = [os.path.join(part.notes, stem + ".xml") for stem in stems]
    all_notes = [one.notes for one in (whole, *parts.values()) if one is not None]
    names = _names(folder, [file for notes in all_notes for file in _xml_files(notes)])
    class_of = {name: number for number, name in enumerate(names)}

    def read(index: int, size: Size) -> ImageLabels:
        return _read_labels(files[index], class_of, size)

    return ImageListing(
        "voc",
        names,
        _image_paths(part, stems),
        read,
        lambda index: (files[index],),
        extras=ListingExtras(
            lambda index: _read_extras(files[index]),
            unused=lambda: tuple(sorted(set[str]().union(*map(unknown_tags, files)))),
        ),
    )


def refuse_part(folder: str) -> None:
    """Raise DataError for the folder of XML files or of images of a data set, which is the folder above."""
    above, name = os.path.split(os.path.abspath(folder))
    whole, siblings = _part(above), [os.path.join(above, one) for one in IMAGE_FOLDERS]
    if whole is None or whole.notes == above:
        return
    is_xml = whole.notes == os.path.abspath(folder) and any(map(os.path.isdir, siblings))
    if is_xml or (name in IMAGE_FOLDERS and not _has_text_labels(folder, above)):
        text = "the XML files" if is_xml else "the images"
        hint = f"give the folder above: {above if os.path.isabs(folder) else os.path.relpath(above)}"
        raise DataError(f"this folder holds only {text} of a data set", path=folder, hint=hint)


def _has_text_labels(folder: str, above: str) -> bool:
    return os.path.isdir(os.path.join(above, "labels")) or any(
        name.endswith(".txt") for name in os.listdir(folder)
    )


def _part(folder: str) -> VocPart | None:
    """The XML files of a folder, with subfolders only where they have a folder of their own."""
    images = [os.path.join(folder, name) for name in IMAGE_FOLDERS]
    for name in XML_FOLDERS:
        notes = os.path.join(folder, name)
        if os.path.isdir(notes) and (name == XML_FOLDERS[0] or next(_walk_stems(notes), None)):
            return VocPart(notes, [*images, folder, notes])
    return VocPart(folder, [*images, folder]) if _direct_stems(folder) else None


def _split_parts(folder: str) -> dict[SplitName, VocPart]:
    """The parts in folders that are named after a split, as Roboflow writes them."""
    found: dict[SplitName, VocPart] = {}
    for split, words in SPLIT_WORDS.items():
        for word in words:
            part = _part(os.path.join(folder, word)) if os.path.isdir(os.path.join(folder, word)) else None
            if part is not None:
                found.setdefault(split, part)
    return found


def _direct_stems(folder: str) -> list[str]:
    """The stems of a folder's XML files, sorted."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name[:-4] for name in names if name.lower().endswith(".xml") and not name.startswith(".")]


def _walk_stems(folder: str) -> Iterator[str]:
    for above, folders, _ in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(above, folder)
        for stem in _direct_stems(above):
            yield stem if inside == "." else os.path.join(inside, stem)


def _xml_stems(notes: str) -> list[str]:
    """The stems of the XML files, those in subfolders with their folders, as CVAT writes them."""
    has_own_folder = os.path.basename(notes) in {os.path.basename(name) for name in XML_FOLDERS}
    return sorted(_walk_stems(notes)) if has_own_folder else _direct_stems(notes)


def _xml_files(notes: str) -> list[str]:
    return [os.path.join(notes, stem + ".xml") for stem in _xml_stems(notes)]


def _listed_stems(folder: str, split: SplitName, notes: str) -> list[str]:
    stems = _split_stems(folder, split)
    if stems is None:
        refuse_undivided(split, split_of_folder(folder), folder)
    return _xml_stems(notes) if stems is None else stems


def _split_stems(folder: str, split: SplitName) -> list[str] | None:
    """The stems in the list of the split, of which a line may hold more, as in the per-class lists; None if
    there are no lists, or only one of images that are not divided."""
    sets = os.path.join(folder, "ImageSets", "Main")
    sets = sets if os.path.isdir(sets) else os.path.dirname(sets)
    names = SPLIT_WORDS[split]
    place = next(filter(os.path.exists, [os.path.join(sets, name + ".txt") for name in names]), None)
    if place is None:
        present = sorted(name for name in os.listdir(sets)) if os.path.isdir(sets) else []
        if not present:
            return None
        if present == [UNDIVIDED_LIST + ".txt"]:
            refuse_undivided(split, None, folder)
            return _read_stems(os.path.join(sets, present[0]))
        allowed = [os.path.join(sets, name + ".txt") for name in names[:2]]
        raise missing_split(split, folder, found=", ".join(present[:10]), allowed=allowed)
    return _read_stems(place)


def _read_stems(path: str) -> list[str]:
    """A stem may contain spaces; a number behind it is that of a per-class list."""
    lines = [line.strip() for line in read_text(path, errors="surrogateescape").splitlines()]
    return [_stem(line) for line in lines if line]


def _stem(line: str) -> str:
    name, _, sign = line.rpartition(" ")
    text = name.strip() if sign in ("-1", "0", "1") and name.strip() else line
    root, ending = os.path.splitext(text)
    return root if ending.lower() in READABLE_SUFFIXES else text


def _image_paths(part: VocPart, stems: Sequence[str]) -> list[str]:
    """The image for each stem; if there is none, the path that will be reported as missing."""
    inside = sorted({os.path.dirname(stem) for stem in stems} | {""})
    known: dict[str, str] = {}
    for place in dict.fromkeys(part.images):
        for above in inside:
            for stem, path in _images_in(os.path.join(place, above)):
                known.setdefault(os.path.join(above, stem), path)
    return [known.get(stem, os.path.join(part.images[0], stem + ".jpg")) for stem in stems]


def _images_in(folder: str) -> Iterator[tuple[str, str]]:
    """The stems and paths of the images of a folder."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        stem, ending = os.path.splitext(name)
        if ending.lower() in READABLE_SUFFIXES:
            yield stem, os.path.join(folder, name)


def _names(folder: str, files: Sequence[str]) -> tuple[str, ...]:
    """The class names of all files, not of one split only, so that class ids agree between train and val."""
    for name in NAMES_FILES:
        place = os.path.join(folder, name)
        if os.path.exists(place):
            return read_names_file(place)
    with ThreadPoolExecutor(4) as pool:
        found = {name for names in pool.map(_object_names, files) for name in names}
    return tuple(sorted(found | set(_mapped_names(folder))))


def _mapped_names(folder: str) -> list[str]:
    """The names in CVAT's labelmap.txt without that of the background; they may have no objects."""
    place = os.path.join(folder, LABEL_MAP)
    lines = read_text(place).splitlines() if os.path.isfile(place) else []
    names = [line.split(":")[0].strip() for line in lines if ":" in line and not line.startswith("#")]
    return [name for name in names if name and name != BACKGROUND]


def _object_names(file: str) -> set[str]:
    """Skips unreadable files and objects without a name; they are reported when their labels are read."""
    read = read_voc(file)
    return set() if isinstance(read, str | None) else {one.name for one in read.objects} - {""}


def _read_labels(file: str, class_of: Mapping[str, int], size: Size) -> ImageLabels:
    read = read_voc(file)
    if read is None:
        return ImageLabels("")
    if isinstance(read, str):
        return ImageLabels(file, faults=[(0, read)])
    rows = [(what, _to_row(one, class_of, size)) for what, one in _name_objects(read.objects)]
    return separate_faults(file, rows).annotated_at(read.size or size, size)


def _name_objects(objects: Sequence[VocObject]) -> list[tuple[str, VocObject]]:
    """Each object with its number and name, as faults call it."""
    return [(f"object {number} ({one.name or 'no name'})", one) for number, one in enumerate(objects, 1)]


def _read_extras(file: str) -> dict[str, ObjectExtras]:
    """What the objects of a file have besides, by their names."""
    read = read_voc(file)
    objects = [] if isinstance(read, str | None) else read.objects
    return {what: one.extras for what, one in _name_objects(objects)}


def _to_row(one: VocObject, class_of: Mapping[str, int], size: Size) -> LabelRow | str:
    if one.name not in class_of:
        return "unknown class, not one of " + ", ".join(class_of)
    numbers = [parse_number(corner) for corner in one.corners]
    corners = [number for number in numbers if number is not None]
    if len(corners) < 4:
        return f"bndbox is not four numbers: {', '.join(one.corners)}"
    left, top, right, bottom = corners
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
