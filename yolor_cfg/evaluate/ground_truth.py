"""Ground truth as arrays, from a Dataset or from a COCO JSON file.

Legend: N images, T true boxes, K classes, D detections.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.formats.coco import drop_root_category
from yolor_cfg.data.types import Dataset, Integers
from yolor_cfg.errors import DataError
from yolor_cfg.files import reason_of

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
MOST_PROBLEMS = 20
ROW = 7
"""Values of a detection: image index, left, top, width, height in pixels of the image, score, class id."""


class GroundTruth(NamedTuple):
    """The true boxes of all images: boxes_ltwh [T, 4] left, top, width, height in pixels, and for each box
    its image index, its class id, its annotated area in pixels^2, whether it is a crowd, and whether it is a
    difficult object, which is marked as a crowd too.

    Image indices and class ids count from 0; `image_ids` and `category_ids` are the ids used in files.
    `sizes` [N, 2] are height, width. `repeated` are images that the list of a test names again, once
    for each further time: C Darknet tests them again.
    """

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: tuple[int | str, ...]
    files: tuple[str, ...]
    sizes: Integers
    images: Integers
    boxes_ltwh: Doubles
    classes: Integers
    areas: Doubles
    crowd: Flags
    difficult: Flags
    repeated: tuple[int, ...] = ()

    def select_boxes(self, rows: Flags | Integers) -> GroundTruth:
        """The same images with only the selected boxes."""
        return self._replace(
            images=self.images[rows],
            boxes_ltwh=self.boxes_ltwh[rows],
            classes=self.classes[rows],
            areas=self.areas[rows],
            crowd=self.crowd[rows],
            difficult=self.difficult[rows],
        )

    def drop_images(self, images: Sequence[int]) -> GroundTruth:
        """The same ground truth without the boxes of the given images; all images keep their indices."""
        return self.select_boxes(~np.isin(self.images, list(images)))


def no_detections() -> Doubles:
    """An empty array of detections [0, 7]."""
    return np.zeros((0, ROW))


def problem_lines(dataset: Dataset) -> list[str]:
    """The problems of a data set, one line each: the first ones, then the total."""
    lines = [str(problem) for problem in dataset.problems]
    if len(lines) <= MOST_PROBLEMS:
        return lines
    return [*lines[:MOST_PROBLEMS], f"{dataset.origin}: {len(lines)} in all, yolor data check -v lists them"]


def dataset_ground_truth(dataset: Dataset) -> GroundTruth:
    """The ground truth of a Dataset, with annotated areas and crowds; without COCO ids, category ids are
    class ids."""
    samples = tuple(dataset.samples)
    sizes = np.array([sample.size for sample in samples], dtype=np.int64).reshape(-1, 2)
    counts = [len(sample.classes) for sample in samples]
    images = np.repeat(np.arange(len(samples)), counts)
    fractions = _concat([sample.boxes_xywh for sample in samples], np.float64).reshape(-1, 4)
    height, width = sizes[images].T
    scale = np.stack([width, height, width, height], axis=1)
    centre, size = fractions[:, :2], fractions[:, 2:]
    return GroundTruth(
        tuple(dataset.names),
        tuple(dataset.category_ids) or tuple(range(len(dataset.names))),
        tuple(sample.image_id for sample in samples),
        tuple(sample.image for sample in samples),
        sizes,
        images,
        np.concatenate([centre - size / 2, size], axis=1) * scale,
        _concat([sample.classes for sample in samples], np.int64),
        _concat([sample.areas for sample in samples], np.float64),
        _concat([sample.crowd for sample in samples], np.bool_),
        _concat([sample.difficult for sample in samples], np.bool_),
        _find_repeated(dataset),
    )


def _find_repeated(dataset: Dataset) -> tuple[int, ...]:
    if not dataset.repeated:
        return ()
    numbers = {sample.image: number for number, sample in enumerate(dataset.samples)}
    return tuple(numbers[image] for image in dataset.repeated if image in numbers)


def _concat(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *(np.asarray(part, kind).reshape(-1) for part in parts)])


def coco_ground_truth(path: str | Path) -> GroundTruth:
    """The ground truth of a COCO JSON file. All its images count, also those without boxes; as in
    pycocotools, boxes of images or categories that it does not list are ignored."""
    document = read_json(path)
    if not isinstance(document, dict) or not {"images", "annotations", "categories"} <= document.keys():
        raise DataError(
            "not COCO ground truth",
            path=str(path),
            found=describe_json(document),
            allowed="an object with images, annotations, categories",
        )
    try:
        return _parse_coco(document)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DataError(
            "malformed COCO ground truth", path=str(path), found=f"{type(fault).__name__}: {fault}"
        ) from None


def _parse_coco(document: dict[str, Any]) -> GroundTruth:
    classes = drop_root_category(document["categories"], document["annotations"])
    categories = sorted({int(one["id"]): str(one["name"]) for one in classes}.items())
    listed = {one["id"]: one for one in document["images"]}
    number = {key: i for i, key in enumerate(listed)}
    label = {key: i for i, (key, _) in enumerate(categories)}
    boxes = [
        one for one in document["annotations"] if one["image_id"] in number and one["category_id"] in label
    ]
    corners = np.array([one["bbox"] for one in boxes], dtype=np.float64).reshape(-1, 4)
    areas = [one.get("area", one["bbox"][2] * one["bbox"][3]) for one in boxes]
    return GroundTruth(
        tuple(name for _, name in categories),
        tuple(key for key, _ in categories),
        tuple(listed),
        tuple(str(one.get("file_name", one["id"])) for one in listed.values()),
        np.array(
            [(one.get("height", 0), one.get("width", 0)) for one in listed.values()], dtype=np.int64
        ).reshape(-1, 2),
        np.array([number[one["image_id"]] for one in boxes], dtype=np.int64),
        corners,
        np.array([label[one["category_id"]] for one in boxes], dtype=np.int64),
        np.array(areas, dtype=np.float64),
        np.array([bool(one.get("iscrowd", 0) or one.get("difficult", 0)) for one in boxes], dtype=np.bool_),
        np.array([bool(one.get("difficult", 0)) for one in boxes], dtype=np.bool_),
    )


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; raises DataError if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as fault:
        raise DataError(f"cannot be read: {reason_of(fault)}", path=str(path)) from None
    except json.JSONDecodeError as fault:
        found = fault.msg.lower()
        raise DataError("not valid JSON", path=str(path), line=fault.lineno, found=found) from None
    except (ValueError, RecursionError):
        found = "not text, a number without end, or nested too deeply"
        raise DataError("not valid JSON", path=str(path), found=found) from None


def describe_json(value: Any) -> str:
    """A short description of a JSON value, for errors."""
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:5]) or 'nothing'}"
    return f"a list of {len(value)}" if isinstance(value, list) else type(value).__name__
