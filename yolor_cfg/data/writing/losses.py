"""What a format cannot hold of a data set, counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from yolor_cfg.data.extras import ObjectExtras
from yolor_cfg.data.listing import stem_id
from yolor_cfg.data.types import Sample
from yolor_cfg.data.writing.parts import (
    ImageNames,
    WrittenPart,
    WrittenParts,
    label_lines,
    name_line,
    plain_file_name,
)
from yolor_cfg.data.writing.voc import edge_shifts, written_rows
from yolor_cfg.errors import count_of

FormatName = Literal["darknet", "yolo", "coco", "voc"]
PLACES: dict[FormatName, str] = {
    "darknet": "text labels",
    "yolo": "text labels",
    "coco": "COCO's files",
    "voc": "Pascal VOC's files",
}
MOST_KEYS = 12
LEAST_SHIFT = 0.01
"""Pixels below which a box has not moved: less than a fraction as float32 tells in a large image."""
SAME_AREA = 1e-4
"""How far, as a share, an area may be from that of its box and be no area of its own."""


class Loss(NamedTuple):
    """What is not written: the split, "" for all; the kind; how many, and the sentence that tells it."""

    split: str
    kind: str
    number: int
    text: str


def find_losses(parts: WrittenParts, target: FormatName) -> list[Loss]:
    """All that the format does not keep of these splits, split by split."""
    found = [loss for split, part in parts.items() for loss in _part_losses(split, part, target)]
    return [*found, *_name_losses(parts, target), *_file_losses(parts, target)]


class _Passage(NamedTuple):
    """A split on its way into a format."""

    split: str
    part: WrittenPart
    target: FormatName

    def are_written(self, sample: Sample) -> np.ndarray:
        """Which boxes [B] the format has at all, whatever it tells of them."""
        if self.target == "coco":
            return np.ones(len(sample.classes), bool)
        has_difficult = self.target == "voc" or self.target == "darknet" and self.split == "val"
        return ~sample.crowd | sample.difficult if has_difficult else ~sample.crowd

    def sum(self, count: Callable[[Sample], int]) -> int:
        """The sum over the images."""
        return sum(map(count, self.part.data.samples))

    @property
    def objects(self) -> list[ObjectExtras]:
        """What every object has besides."""
        return [one for objects in self.part.extras for one in objects]


class _Count(NamedTuple):
    """A kind of loss: what it is called, why it is, and how it is counted."""

    kind: str
    what: str
    why: str
    count: Callable[[_Passage], int]


def _part_losses(split: str, part: WrittenPart, target: FormatName) -> Iterator[Loss]:
    """What is counted box by box and image by image."""
    passage = _Passage(split, part, target)
    for kind, what, why, count in COUNTS:
        number = count(passage)
        if number:
            yield Loss(split, kind, number, f"{split}: {_leave_out(number, what, why, place=PLACES[target])}")
    if target == "voc":
        yield from _shift_loss(split, part)
    if part.unused:
        text = f"{split}: not written, since it is not read: {', '.join(part.unused[:MOST_KEYS])}"
        yield Loss(split, "keys", len(part.unused), text + ", ..." * (len(part.unused) > MOST_KEYS))


def _leave_out(count: int, what: str, why: str, *, place: str) -> str:
    """`2 crowds are left out: text labels cannot mark them`."""
    verb, them, their = ("is", "it", "its") if count == 1 else ("are", "them", "their")
    many = _PLURALS.get(what) if count != 1 else None
    subject = f"{count:,} {many}" if many else count_of(count, what, spec=",")
    return f"{subject} {verb} left out: {why.format(them=them, their=their, place=place)}"


_PLURALS = {
    "identity": "identities",
    "supercategory": "supercategories",
    "object with attributes": "objects with attributes",
    "object with keypoints": "objects with keypoints",
}


def _shift_loss(split: str, part: WrittenPart) -> Iterator[Loss]:
    """How many boxes whole pixels move, and by how much at most."""
    shifts = [edge_shifts(sample)[written_rows(sample)] for sample in part.data.samples]
    moved = np.concatenate([np.zeros(0), *shifts])
    count = int((moved > LEAST_SHIFT).sum())
    if count:
        boxes = f"{count_of(count, 'box', spec=',')} {'is' if count == 1 else 'are'}"
        text = f"{split}: {boxes} moved to whole pixels, by {moved.max():.3f} at most"
        yield Loss(split, "boxes", count, text)


def _count_crowds(passage: _Passage) -> int:
    return 0 if passage.target == "coco" else passage.sum(lambda one: int((one.crowd & ~one.difficult).sum()))


def _count_difficult(passage: _Passage) -> int:
    """Darknet has a list of them for val."""
    return passage.sum(lambda one: int((one.difficult & ~passage.are_written(one)).sum()))


def _count_areas(passage: _Passage) -> int:
    def count(one: Sample) -> int:
        boxes = one.boxes_xywh[:, 2:].astype(np.float64).prod(axis=1) * one.size[0] * one.size[1]
        own = np.abs(one.areas - boxes) > SAME_AREA * np.maximum(boxes, 1e-9)
        return int((own & passage.are_written(one)).sum())

    return 0 if passage.target == "coco" else passage.sum(count)


def _count_identities(passage: _Passage) -> int:
    if passage.target in ("coco", "darknet"):
        return 0
    return passage.sum(lambda one: int(((one.identities >= 0) & passage.are_written(one)).sum()))


def _count_attributes(passage: _Passage) -> int:
    if passage.target in ("coco", "voc"):
        return 0
    pairs = zip(passage.part.data.samples, passage.part.extras, strict=True)
    kept = ((passage.are_written(sample).tolist(), objects) for sample, objects in pairs)
    return sum(
        is_kept and bool(one.attributes)
        for flags, objects in kept
        for is_kept, one in zip(flags, objects, strict=True)
    )


def _count_copies(passage: _Passage) -> int:
    """Lines that a label file repeats, and boxes that are one line in a text file."""
    is_text = passage.target in ("darknet", "yolo")

    def count(one: Sample) -> int:
        rows = np.flatnonzero(~one.crowd).tolist() if is_text else []
        lines = label_lines(one, rows, identities=passage.target == "darknet")
        return int(one.copies.sum()) + len(lines) - len(set(lines))

    return passage.sum(count)


def _count_repeats(passage: _Passage) -> int:
    paths = [one.image for one in passage.part.data.samples]
    return len(paths) - len(set(paths)) if passage.target == "yolo" else 0


def _count_image_ids(passage: _Passage) -> int:
    """Ids that were annotated and are not those that file names tell."""
    data = passage.part.data
    if data.format != "coco":
        return 0
    if passage.target == "coco":
        return 0 if all(isinstance(one.image_id, int) for one in data.samples) else len(data.samples)
    return passage.sum(lambda one: stem_id(plain_file_name(os.path.basename(one.image))) != one.image_id)


def _count_category_ids(passage: _Passage) -> int:
    ids = passage.part.data.category_ids
    return 0 if passage.target == "coco" or ids == tuple(range(1, len(ids) + 1)) else len(ids)


def _count_annotation_ids(passage: _Passage) -> int:
    ids = [one.id for one in passage.objects if one.id is not None]
    return len(ids) if passage.target != "coco" or len(set(ids)) < len(ids) else 0


def _count_supercategories(passage: _Passage) -> int:
    return 0 if passage.target == "coco" else sum(map(bool, passage.part.above))


NO_PLACE, NO_MARK = "{place} have no place for {them}", "{place} cannot mark {them}"
COUNTS = (
    _Count("crowds", "crowd", NO_MARK, _count_crowds),
    _Count("difficult", "difficult object", NO_MARK, _count_difficult),
    _Count("areas", "annotated area", "{place} have none but that of the box", _count_areas),
    _Count("identities", "identity", NO_PLACE, _count_identities),
    _Count("attributes", "object with attributes", "only class and box stay", _count_attributes),
    _Count("masks", "mask", "only boxes are written", lambda one: sum(o.has_mask for o in one.objects)),
    _Count(
        "keypoints",
        "object with keypoints",
        "only the box stays",
        lambda one: sum(o.has_keypoints for o in one.objects),
    ),
    _Count("copies", "repeated label", "each is written once", _count_copies),
    _Count("repeats", "repeated image", "a folder has each once", _count_repeats),
    _Count("image ids", "image id", "file names take {their} place", _count_image_ids),
    _Count(
        "category ids", "category id", "{place} have no ids of classes but 0, 1, 2 ...", _count_category_ids
    ),
    _Count("annotation ids", "annotation id", NO_PLACE, _count_annotation_ids),
    _Count("supercategories", "supercategory", NO_PLACE, _count_supercategories),
)


def _name_losses(parts: WrittenParts, target: FormatName) -> Iterator[Loss]:
    """Class names that a list cannot hold as they are, and what `annotated` tells."""
    data = next(iter(parts.values())).data
    for name in data.names if target != "coco" else ():
        if name_line(name) != name:
            text = f"the class name {name!r} is written as {name_line(name)!r}"
            yield Loss("", "names", 1, text)
    if data.annotated and target in ("coco", "voc"):
        text = f"that only {len(data.annotated)} classes are annotated is not written: no place for it"
        yield Loss("", "annotated", len(data.annotated), text)


def _file_losses(parts: WrittenParts, target: FormatName) -> Iterator[Loss]:
    """Images that get another file name, since it is taken or lists cannot hold it."""
    names, renamed, seen = ImageNames(), 0, set[tuple[str, str]]()
    for split, part in parts.items():
        folder = "" if target == "voc" else split
        for sample in part.data.samples:
            if (folder, sample.image) not in seen:
                seen.add((folder, sample.image))
                renamed += names.choose(folder, sample.image) != os.path.basename(sample.image)
    if renamed:
        images = f"{count_of(renamed, 'image', spec=',')} {'gets' if renamed == 1 else 'get'}"
        yield Loss(
            "", "files", renamed, f"{images} another file name: the old one is taken, or not for lists"
        )
