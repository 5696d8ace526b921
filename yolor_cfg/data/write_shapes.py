"""Writes the synthetic data set: images, text labels, Darknet's .data and .names, COCO's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from yolor_cfg.data.shapes import (
    CLASS_NAMES,
    MIXED,
    NAMES,
    DrawnImage,
    ObjectOptions,
    draw_shapes,
    draw_single,
)
from yolor_cfg.errors import DataError
from yolor_cfg.files import replace_file
from yolor_cfg.images.types import Image, Size
from yolor_cfg.runs import whole_folder

VAL_EVERY = 5
"""One image in this many is held out for validation."""
JPEG_QUALITY = 92


class ShapesOptions(NamedTuple):
    """What is drawn: the number of images, their height and width, the objects; how many images are held out
    for validation (None: a fifth); whether labels have identities too (six columns, as JDE's); and the
    classes that get labels, which the .data file lists as `annotated` if they are not all."""

    image_count: int
    size: Size = (320, 320)
    objects: ObjectOptions = MIXED
    val_count: int | None = None
    identities: bool = False
    annotated: tuple[str, ...] = NAMES

    @property
    def train_count(self) -> int:
        """The number of training images; they come first."""
        held = max(1, self.image_count // VAL_EVERY) if self.val_count is None else self.val_count
        return self.image_count - held


def write_shapes(folder: str | Path, wanted: ShapesOptions, *, seed: int = 0) -> Path:
    """Write a new data set and return its .data file.

    Image i depends only on (seed, i, size, objects). The JSON has identities as track_id. Raises DataError if
    the folder already contains anything.
    """
    assert 0 <= wanted.train_count <= wanted.image_count, wanted
    with whole_folder(folder, fault=DataError) as root:
        for name in ("images", "labels", "annotations"):
            (root / name).mkdir()
        drawings = [
            _write_image(root, f"shape{i:06d}", np.random.default_rng([seed, i]), wanted=wanted)
            for i in range(wanted.image_count)
        ]
        _write_lists(root, drawings, wanted)
    return Path(folder) / "shapes.data"


def write_classes(folder: str | Path, wanted: ShapesOptions, *, seed: int = 0) -> Path:
    """Write a new folder with train/CLASS/*.jpg and val/CLASS/*.jpg, and return it; the classes take turns.

    Image i depends only on (seed, i, size). Raises DataError if the folder already contains anything.
    """
    with whole_folder(folder, fault=DataError) as root:
        for i in range(wanted.image_count):
            class_id = i % len(CLASS_NAMES)
            image = draw_single(np.random.default_rng([seed, i]), wanted.size, class_id)
            place = root / ("train" if i < wanted.train_count else "val") / CLASS_NAMES[class_id]
            place.mkdir(parents=True, exist_ok=True)
            _write_jpeg(place / f"shape{i:06d}.jpg", image)
    return Path(folder)


def _write_jpeg(path: Path, image: Image) -> None:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, path
    path.write_bytes(data.tobytes())


def _write_lists(root: Path, drawings: Sequence[tuple[str, DrawnImage]], wanted: ShapesOptions) -> None:
    first = wanted.train_count
    for split, part in (("train", drawings[:first]), ("val", drawings[first:])):
        _write_text(root / f"{split}.txt", "".join(f"images/{name}.jpg\n" for name, _ in part))
        _write_text(
            root / "annotations" / f"instances_{split}.json", json.dumps(_coco_document(part, wanted))
        )
    _write_text(root / "shapes.names", "\n".join(NAMES) + "\n")
    lines = [f"classes = {len(NAMES)}", "train = train.txt", "valid = val.txt", "names = shapes.names"]
    if len(wanted.annotated) < len(NAMES):
        lines.append(f"annotated = {', '.join(wanted.annotated)}")
    _write_text(root / "shapes.data", "\n".join(lines) + "\n")


def _write_image(
    root: Path, name: str, rng: np.random.Generator, *, wanted: ShapesOptions
) -> tuple[str, DrawnImage]:
    """Write one image and its labels; returns what was drawn, without the pixels."""
    drawing = _select_objects(draw_shapes(rng, wanted.size, wanted.objects), wanted.annotated)
    _write_jpeg(root / "images" / f"{name}.jpg", drawing.image)
    (root / "labels" / f"{name}.txt").write_text("".join(_label_lines(drawing, wanted.identities)))
    return name, drawing._replace(image=np.empty((0, 0, 3), np.uint8))


def _select_objects(drawing: DrawnImage, names: Sequence[str]) -> DrawnImage:
    """The drawing with the objects of these classes alone in its labels."""
    kept = np.isin(drawing.classes, [NAMES.index(name) for name in names])
    return DrawnImage(
        drawing.image, drawing.boxes_xywh[kept], drawing.classes[kept], drawing.identities[kept]
    )


def _label_lines(drawing: DrawnImage, identities: bool) -> Iterator[str]:
    for label, identity, box in zip(drawing.classes, drawing.identities, drawing.boxes_xywh, strict=True):
        who = f"{identity} " if identities else ""
        yield f"{label} {who}" + " ".join(f"{value:.7f}" for value in box) + "\n"


def _coco_document(part: Sequence[tuple[str, DrawnImage]], wanted: ShapesOptions) -> dict[str, Any]:
    """The COCO JSON document: ids from 1, boxes in whole pixels; its categories are those that get labels."""
    size = wanted.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, drawing) in enumerate(part, 1):
        file = f"images/{name}.jpg"
        images.append({"id": number, "file_name": file, "height": size[0], "width": size[1]})
        for one in _annotations(drawing, size):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **one})
    ids = {name: number for number, name in enumerate(NAMES, 1)}
    categories = [{"id": ids[name], "name": name} for name in NAMES if name in wanted.annotated]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotations(drawing: DrawnImage, size: Size) -> Iterator[dict[str, Any]]:
    scale = np.array([size[1], size[0], size[1], size[0]])
    for label, identity, box in zip(drawing.classes, drawing.identities, drawing.boxes_xywh, strict=True):
        x, y, width, height = (box * scale).tolist()
        bbox = [float(round(value)) for value in (x - width / 2, y - height / 2, width, height)]
        yield {
            "category_id": int(label) + 1,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
            "track_id": int(identity),
        }


def _write_text(path: Path, text: str) -> None:
    """Atomic."""
    replace_file(path, lambda file: file.write(text.encode()), fault=DataError, force=True)
