"""COCO's JSON: one file for a split, or a folder with a file for each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolor_cfg.data.extras import NOTHING, ObjectExtras
from yolor_cfg.data.types import Dataset, Floats, Sample
from yolor_cfg.data.writing.parts import ImageNames, WrittenPart, WrittenParts, bring_image
from yolor_cfg.errors import DataError
from yolor_cfg.files import replace_file
from yolor_cfg.runs import whole_folder

DECIMALS = range(2, 9)
"""Digits behind the point of a pixel that are tried, before all that a number has."""


def to_coco(
    data: Dataset,
    *,
    extras: Sequence[Sequence[ObjectExtras]] = (),
    files: Sequence[str] = (),
    above: Sequence[str] = (),
) -> dict[str, Any]:
    """The COCO JSON document: boxes in pixels, with the fewest digits that are read as the same boxes; areas,
    crowds, difficult objects, identities (track_id) and attributes are kept.

    Image ids are kept if all are numbers, else they count from 1, and so do those of annotations. Without
    `files`, the names of the images, paths are absolute. `above` are the supercategories.
    """
    paths = files or [os.path.abspath(sample.image) for sample in data.samples]
    category_ids = data.category_ids or tuple(range(1, len(data.names) + 1))
    categories: list[dict[str, Any]] = [
        {"id": id, "name": name} for id, name in zip(category_ids, data.names, strict=True)
    ]
    for category, name in zip(categories, above, strict=False):
        category |= {"supercategory": name} if name else {}
    image_ids = _image_ids(data)
    images = [
        {"id": image_id, "file_name": path, "height": sample.size[0], "width": sample.size[1]}
        for image_id, path, sample in zip(image_ids, paths, data.samples, strict=True)
    ]
    besides = extras or [[NOTHING] * len(sample.classes) for sample in data.samples]
    annotations = list(_annotations(data, image_ids, category_ids=category_ids, besides=besides))
    return {"images": images, "annotations": annotations, "categories": categories}


def _image_ids(data: Dataset) -> list[int]:
    """Those of the samples if they are numbers, each another one; else they count from 1."""
    own = [sample.image_id for sample in data.samples]
    numbers = [one for one in own if isinstance(one, int)]
    return numbers if len(set(numbers)) == len(own) else list(range(1, len(own) + 1))


def _annotations(
    data: Dataset,
    image_ids: Sequence[int],
    *,
    category_ids: tuple[int, ...],
    besides: Sequence[Sequence[ObjectExtras]],
) -> Iterator[dict[str, Any]]:
    """All annotations, image by image."""
    own_ids = [one.id for part in besides for one in part]
    keeps_ids = None not in own_ids and len(set(own_ids)) == len(own_ids)
    number = 0
    for sample, image_id, objects in zip(data.samples, image_ids, besides, strict=True):
        corners = exact_boxes(sample)
        for row, one in enumerate(objects):
            number += 1
            fields = {"id": one.id if keeps_ids else number, "image_id": image_id, "bbox": corners[row]}
            yield fields | _annotation(sample, row, category_ids=category_ids, extras=one)


def _annotation(
    sample: Sample, row: int, *, category_ids: tuple[int, ...], extras: ObjectExtras
) -> dict[str, Any]:
    identity = int(sample.identities[row])
    return {
        "category_id": category_ids[sample.classes[row]],
        "area": float(np.format_float_positional(sample.areas[row], unique=True)),
        "iscrowd": int(sample.crowd[row]),
        **({"difficult": 1} if sample.difficult[row] else {}),
        **({"track_id": identity} if identity >= 0 else {}),
        **({"attributes": dict(extras.attributes)} if extras.attributes else {}),
    }


def exact_boxes(sample: Sample) -> list[list[float]]:
    """Left, top, width and height in pixels of each box, with the fewest digits behind the point, two at
    least are tried, that are read as the same fractions."""
    height, width = sample.size
    scale = np.array([width, height, width, height], np.float64)
    boxes = sample.boxes_xywh.astype(np.float64) * scale
    exact = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
    chosen = exact.copy()
    missing = np.ones(len(exact), bool)
    for digits in DECIMALS:
        rounded = exact.round(digits)
        good = missing & (_fractions(rounded, scale) == sample.boxes_xywh).all(axis=1)
        chosen[good] = rounded[good]
        missing &= ~good
    found: list[list[float]] = chosen.tolist()
    return found


def _fractions(boxes: np.ndarray, scale: np.ndarray) -> Floats:
    """What is read of boxes [B, 4] in pixels: centre and size as fractions of the image."""
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) / scale[:2]
    return np.concatenate([centres, boxes[:, 2:] / scale[2:]], axis=1).astype(np.float32)


def write_coco(
    data: Dataset, path: str | Path, *, part: WrittenPart | None = None, force: bool = False
) -> None:
    """Write the JSON of one split; its images stay where they are."""
    besides = WrittenPart(data, ()) if part is None else part
    text = json.dumps(to_coco(data, extras=besides.extras, above=besides.above))
    replace_file(path, lambda file: file.write(text.encode()), fault=DataError, force=force)


def write_coco_folder(parts: WrittenParts, folder: str | Path, *, links: bool = False) -> Path:
    """Write images/SPLIT/ and annotations/instances_SPLIT.json to a new folder; returns it."""
    names = ImageNames()
    with whole_folder(folder, fault=DataError) as root:
        (root / "annotations").mkdir()
        for split, part in parts.items():
            files = _bring_images(part.data.samples, root / "images" / split, names, links=links)
            document = to_coco(part.data, extras=part.extras, files=files, above=part.above)
            (root / f"annotations/instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")
    return Path(folder)


def _bring_images(samples: Sequence[Sample], folder: Path, names: ImageNames, *, links: bool) -> list[str]:
    """The names of the files; an image that is listed again is written once."""
    known: dict[str, str] = {}
    for sample in samples:
        if sample.image not in known:
            known[sample.image] = names.choose(str(folder), sample.image)
            bring_image(sample.image, folder / known[sample.image], links=links)
    return [known[sample.image] for sample in samples]
