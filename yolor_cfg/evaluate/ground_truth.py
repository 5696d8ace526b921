"""Ground truth as arrays, from a Dataset or from a COCO JSON file.

Legend: N images, T true boxes, K classes, D detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.formats.coco_schema import CocoEntry, annotation_row, read_coco, whole_number
from yolor_cfg.data.labels import DIFFICULT, LabelRow
from yolor_cfg.data.types import NO_COPIES, Dataset, Integers, Sample
from yolor_cfg.errors import DataError

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
    for each further time: C Darknet tests them again. `copies` [T] are the further lines of a label file for
    the same box, which C Darknet takes for objects of their own; empty: none.
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
    copies: Integers = NO_COPIES

    def select_boxes(self, rows: Flags | Integers) -> GroundTruth:
        """The same images with only the selected boxes."""
        return self._replace(
            images=self.images[rows],
            boxes_ltwh=self.boxes_ltwh[rows],
            classes=self.classes[rows],
            areas=self.areas[rows],
            crowd=self.crowd[rows],
            difficult=self.difficult[rows],
            copies=self.copies[rows] if len(self.copies) else self.copies,
        )

    def select_classes(self, classes: Sequence[int]) -> GroundTruth:
        """The same images with only the boxes of these classes, which count from 0 then."""
        mine = self.select_boxes(np.isin(self.classes, classes))
        return mine._replace(
            names=tuple(self.names[k] for k in classes),
            category_ids=tuple(self.category_ids[k] for k in classes),
            classes=np.searchsorted(classes, mine.classes),
        )

    def drop_images(self, images: Sequence[int]) -> GroundTruth:
        """The same ground truth without the boxes of the given images; all images keep their indices."""
        return self.select_boxes(~np.isin(self.images, list(images)))


def no_detections() -> Doubles:
    """An empty array of detections [0, 7]."""
    return np.zeros((0, ROW))


def detection_rows(image: int, found: Sequence[Any], *, clips: tuple[int, int] | None) -> Doubles:
    """[D, 7] of the boxes, corners in pixels, the scores and the classes of one image, clipped to its height
    and width if they are given."""
    boxes_xyxy, scores, classes = (np.asarray(part, np.float64) for part in found[:3])
    if clips:
        boxes_xyxy = boxes_xyxy.clip(0, [*clips[::-1]] * 2)
    corner, size = boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.column_stack([np.full(len(scores), image), corner, size.clip(0), scores, classes])


def problem_lines(dataset: Dataset) -> list[str]:
    """The problems of a data set, one line each: the first ones, then the total."""
    lines = [str(problem) for problem in dataset.problems]
    if len(lines) <= MOST_PROBLEMS:
        return lines
    return [*lines[:MOST_PROBLEMS], f"{dataset.origin}: {len(lines)} in all, yolor data check -v lists them"]


def dataset_ground_truth(dataset: Dataset) -> GroundTruth:
    """The ground truth of a Dataset, with annotated areas and crowds; without COCO ids, category ids are
    class ids. It has only the classes that the images are labelled for."""
    ground = _whole_ground_truth(dataset)
    return ground.select_classes(dataset.known) if dataset.annotated else ground


def _whole_ground_truth(dataset: Dataset) -> GroundTruth:
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
        _find_copies(samples),
    )


def _find_copies(samples: Sequence[Sample]) -> Integers:
    if not any(sample.copies.any() for sample in samples):
        return NO_COPIES
    return np.concatenate([np.resize(sample.copies, len(sample.classes)) for sample in samples])


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
    document = read_coco(str(path), as_truth=True)
    if not document.is_labeled:
        raise DataError(
            "not COCO ground truth: no annotations", path=str(path), allowed="a list of annotations"
        )
    class_of = {one.id: number for number, one in enumerate(document.categories)}
    number = {image.id: index for index, image in enumerate(document.images)}
    # None, which is no number, is kept: its fault is told below.
    kept = {None, *class_of}
    known = [one for one in document.annotations if whole_number(one.get("category_id")) in kept]
    rows = [_pixel_row(one, class_of, str(path)) for one in known]
    table = np.array(rows, np.float64).reshape(-1, len(LabelRow._fields))
    corners = np.concatenate([table[:, 3:5] - table[:, 5:7] / 2, table[:, 5:7]], axis=1)
    areas = np.where(np.isnan(table[:, 8]), corners[:, 2] * corners[:, 3], table[:, 8])
    return GroundTruth(
        tuple(one.name for one in document.categories),
        tuple(class_of),
        tuple(number),
        tuple(image.file_name for image in document.images),
        np.array([image.size or (0, 0) for image in document.images], np.int64).reshape(-1, 2),
        np.array([number[one["image_id"]] for one in known], np.int64),
        corners,
        table[:, 1].astype(np.int64),
        areas,
        table[:, 7] > 0,
        table[:, 7] == DIFFICULT,
    )


def _pixel_row(one: CocoEntry, class_of: Mapping[int, int], path: str) -> LabelRow:
    """The box in pixels; raises DataError for a fault."""
    row = annotation_row(one, class_of, (1, 1))
    if isinstance(row, str):
        raise DataError(row, path=path, key=f"annotation {one.get('id', '?')}")
    return row
