"""COCO's instances JSON: annotated areas, crowds, images without boxes, category ids with gaps."""

from __future__ import annotations

import glob
import mmap
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from yolor_cfg.data.extras import ListingExtras
from yolor_cfg.data.formats.coco_schema import (
    CocoDocument,
    CocoEntry,
    CocoImage,
    annotation_row,
    coco_extras,
    read_coco,
    unused_keys,
)
from yolor_cfg.data.labels import ImageLabels, LabelRow, separate_faults
from yolor_cfg.data.listing import ImageListing, repeated_names
from yolor_cfg.data.splits import SPLIT_WORDS, missing_split, refuse_undivided, split_of_folder, split_of_name
from yolor_cfg.data.types import Problem, SplitName
from yolor_cfg.errors import DataError
from yolor_cfg.images.types import Size
from yolor_cfg.names import first_existing, list_places

NOT_BOXES = ("captions", "person_keypoints", "keypoints", "stuff", "panoptic")
MOST_FILES = 50
"""A folder with more .json files has one for each image, as other tools write them."""
FOLDERS = ("", "images", "JPEGImages", "data")
Numbered = tuple[int, CocoEntry]
SplitFiles = Mapping[SplitName | None, Sequence[str]]


def list_images(path: str, split: SplitName) -> ImageListing:
    """The images of a JSON; as another split than train only if its name or Roboflow's folder tells so."""
    refuse_undivided(split, split_of_name(path) or split_of_folder(os.path.dirname(path)), path)
    return list_document(path)


def list_document(path: str, names: Sequence[str] = ()) -> ImageListing:
    """All images listed in the JSON; the classes are the categories sorted by id, or in the order of
    `names`."""
    document = read_coco(path)
    order = _class_order(document, names, path)
    class_of = {document.categories[at].id: number for number, at in enumerate(order)}
    objects: dict[Any, list[Numbered]] = defaultdict(list)
    for number, one in enumerate(document.annotations):
        objects[one["image_id"]].append((number, one))
    images = document.images

    def read(index: int, size: Size) -> ImageLabels:
        annotated = images[index].size or size
        labels = _read_labels(objects.get(images[index].id, ()), class_of, size=annotated, path=path)
        return labels.annotated_at(annotated, size)

    return ImageListing(
        "coco",
        tuple(document.categories[at].name for at in order),
        _image_paths(images, path),
        read,
        lambda index: (path,),
        [image.id for image in images],
        tuple(_name_notes(document, path)),
        category_ids=tuple(class_of),
        is_labeled=document.is_labeled,
        extras=ListingExtras(
            lambda index: {
                f"annotations[{n}]": coco_extras(one) for n, one in objects.get(images[index].id, ())
            },
            tuple(document.categories[at].supercategory for at in order),
            lambda: unused_keys(document),
        ),
    )


def find_files(folder: str) -> SplitFiles:
    """The COCO files of a folder by split: in annotations/, beside it, in Roboflow's folders of splits."""
    words = [word for known in SPLIT_WORDS.values() for word in known]
    found: dict[SplitName | None, list[str]] = {}
    for place in ("annotations", "", *words):
        for path in _json_files(os.path.join(folder, place)):
            split = split_of_name(path) or (split_of_folder(place) if place in words else None)
            found.setdefault(split, []).append(path)
    return found


def list_folder(folder: str, split: SplitName) -> ImageListing:
    """The images of a split of a folder with JSON files; one that names no split has those to train on."""
    found = find_files(folder)
    own = split_of_folder(folder)
    files = found.get(split) or (found.get(None, []) if split in ("train", own) else [])
    if not files:
        if set(found) == {None}:
            refuse_undivided(split, own, folder)
        others = [path for paths in found.values() for path in paths]
        raise missing_split(split, folder, found=", ".join(others[:5]))
    plain = [path for path in files if os.path.basename(path).startswith("instances")]
    chosen = plain if len(plain) == 1 else files
    if len(chosen) > 1:
        raise DataError(
            f"several files describe the {split} split",
            path=folder,
            found=", ".join(chosen[:5]),
            hint="give the path of one of them",
        )
    return list_document(chosen[0])


def _json_files(folder: str) -> list[str]:
    files = sorted(glob.glob(os.path.join(glob.escape(folder), "*.json")))
    boxes = [path for path in files if not os.path.basename(path).startswith(NOT_BOXES)]
    return [path for path in boxes if is_coco(path)] if len(boxes) <= MOST_FILES else []


def is_coco(path: str) -> bool:
    """Whether the file lists images as COCO's does; it is searched, not parsed."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"images"') >= 0 and content.find(b'"file_name"') >= 0
    except (OSError, ValueError):
        return False


def _class_order(document: CocoDocument, names: Sequence[str], path: str) -> list[int]:
    """The index of the category of each class."""
    own = [one.name for one in document.categories]
    if not names or sorted(own) != sorted(names):
        if names and own:
            raise DataError(
                "the JSON has other classes than the file that names it",
                path=path,
                found=", ".join(own[:20]),
                allowed=", ".join(names[:20]),
            )
        return list(range(len(own)))
    return [own.index(name) for name in names] if len(set(own)) == len(own) else list(range(len(own)))


def _name_notes(document: CocoDocument, path: str) -> list[Problem]:
    ids = [one.id for one in document.categories]
    return [
        Problem(path, 0, f"categories with the ids {ids[first]} and {ids[second]}: {reason}", "note")
        for first, second, reason in repeated_names([one.name for one in document.categories])
    ]


def _image_paths(images: Sequence[CocoImage], path: str) -> list[str]:
    """The paths of the images; the folder that contains the first image is tried first for all others."""
    bases = list_image_folders(path)
    names = [image.file_name.replace("\\", "/") for image in images]
    if names and first_existing(names[0], bases) is None:
        names = _shorter_names(names, bases, path)
    bases.sort(key=lambda base: not os.path.exists(os.path.join(base, *names[:1])))
    return [first_existing(name, bases) or os.path.join(bases[0], name) for name in names]


def _shorter_names(names: Sequence[str], bases: Sequence[str], path: str) -> list[str]:
    """The names without the folders of another computer, as Label Studio writes them."""
    shorter = [os.path.basename(name) for name in names]
    if first_existing(shorter[0], bases) is None or len(set(shorter)) < len(shorter):
        tried = list_places((names[0], shorter[0]), bases)
        raise DataError("images not found", path=path, found=names[0], hint=f"looked for {tried}")
    return shorter


def list_image_folders(path: str) -> list[str]:
    """The JSON's folder and its parent, with their images/ and the folder in the JSON's name (val2017)."""
    folder = os.path.dirname(os.path.abspath(path))
    part = os.path.splitext(os.path.basename(path))[0].rpartition("_")[2]
    split = split_of_name(path)
    parts = ["", part, *(SPLIT_WORDS[split][:2] if split else ())]
    roots = (folder, os.path.dirname(folder))
    places = [os.path.join(root, below, name) for root in roots for below in FOLDERS for name in parts]
    return [*dict.fromkeys(place.rstrip(os.sep) for place in places), "."]


def _read_labels(
    objects: Sequence[Numbered], class_of: Mapping[Any, int], *, size: Size, path: str
) -> ImageLabels:
    rows = [(f"annotations[{number}]", annotation_row(one, class_of, size)) for number, one in objects]
    return separate_faults(path, [_name_fault(place, row) for place, row in rows])


def _name_fault(place: str, row: LabelRow | str) -> tuple[str, LabelRow | str]:
    """`annotations[3].bbox` and the reason for a row that is a fault."""
    if not isinstance(row, str):
        return place, row
    key, _, reason = row.partition(": ")
    return f"{place}.{key}", reason
