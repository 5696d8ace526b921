"""How well anchors serve the boxes of each class and of each size.

Legend: B boxes, A anchors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from yolor_cfg.analysis.anchors import AnchorFit, Shapes, measure_fit
from yolor_cfg.data.statistics.measure import SIZE_NAMES, size_kinds
from yolor_cfg.data.types import Integers

POOR_RECALL = 0.95
"""Best possible recall below which a class counts as badly served."""
POOR_IOU = 0.85
"""Mean IoU below which it does, as a share of that of all boxes."""
LEAST_BOXES = 10
"""A class with fewer boxes is not called badly served: a few odd ones decide then."""


class LabeledShapes(NamedTuple):
    """Widths and heights [B, 2] in pixels of the input, and the class id of each."""

    shapes: Shapes
    classes: Integers
    names: tuple[str, ...]


class GroupFit(NamedTuple):
    """The boxes of a class, or of a size as COCO has them, and how well two sets of anchors fit them; a class
    is `poor` if the first set serves it badly."""

    name: str
    boxes: int
    before: AnchorFit
    after: AnchorFit
    is_poor: bool = False


def fit_classes(boxes: LabeledShapes, anchor_sets: Sequence[Shapes]) -> list[GroupFit]:
    """A row for each class that has boxes, in order."""
    rows = list(_fit_groups(boxes.shapes, boxes.classes, boxes.names, anchor_sets=anchor_sets))
    mean = measure_fit(boxes.shapes, anchor_sets[0]).mean_iou
    return [row._replace(is_poor=_is_poor(row, mean)) for row in rows]


def fit_sizes(boxes: LabeledShapes, anchor_sets: Sequence[Shapes]) -> list[GroupFit]:
    """A row for small, medium and large boxes, those that there are."""
    kinds = size_kinds(boxes.shapes.prod(axis=1))
    return list(_fit_groups(boxes.shapes, kinds, SIZE_NAMES, anchor_sets=anchor_sets))


def _fit_groups(
    shapes: Shapes, groups: Integers, names: Sequence[str], *, anchor_sets: Sequence[Shapes]
) -> Iterator[GroupFit]:
    for number in np.unique(groups).tolist():
        own = shapes[groups == number]
        before, after = (measure_fit(own, anchors) for anchors in anchor_sets)
        yield GroupFit(names[number], len(own), before, after)


def _is_poor(row: GroupFit, mean_iou: float) -> bool:
    """Whether the anchors before serve a class badly, by themselves or beside the others."""
    low = row.before.recall < POOR_RECALL or row.before.mean_iou < POOR_IOU * mean_iou
    return row.boxes >= LEAST_BOXES and low
