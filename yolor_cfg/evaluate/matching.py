"""Matching detections to ground-truth boxes: YOLOR's rule, C Darknet's, and that of a confusion matrix.

Legend: T true boxes, D detections [D, 7] as in `ground_truth.ROW`, I IoU thresholds. Crowds are not objects
here: YOLOR's and Darknet's label files have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Integers
from yolor_cfg.evaluate.ground_truth import Doubles, Flags, GroundTruth

NO_BOX = -1
CONFUSION_IOU = 0.45
"""The IoU above which boxes of a confusion matrix are pairs."""


class BoxMatches(NamedTuple):
    """For each detection the true box of its image and class with the largest IoU (NO_BOX if none
    overlaps), and that IoU: both [D]."""

    boxes: Integers
    ious: Doubles


class ImageIndices(NamedTuple):
    """Indices of the detections and of the true boxes of one image."""

    detections: Integers
    boxes: Integers


def group_by_image(ground: GroundTruth, detections: Doubles) -> Iterator[ImageIndices]:
    """The detections and true boxes of every image that has both."""
    found = _group_indices(detections[:, 0].astype(np.int64), len(ground.image_ids))
    true = _group_indices(ground.images, len(ground.image_ids))
    for mine, boxes in zip(found, true, strict=True):
        if len(mine) and len(boxes):
            yield ImageIndices(mine, boxes)


def _group_indices(images: Integers, count: int) -> list[Integers]:
    order = np.argsort(images, kind="stable")
    return np.split(order, np.searchsorted(images[order], np.arange(1, count)))[:count]


def iou_matrix(first_ltwh: Doubles, second_ltwh: Doubles) -> Doubles:
    """IoU [A, B] of boxes [A, 4] and [B, 4], each left, top, width, height; 0 if the union has no area."""
    low = np.maximum(first_ltwh[:, None, :2], second_ltwh[None, :, :2])
    high = np.minimum(_far_corners(first_ltwh)[:, None], _far_corners(second_ltwh)[None])
    shared = (high - low).clip(0).prod(-1)
    union = first_ltwh[:, 2:].prod(-1)[:, None] + second_ltwh[:, 2:].prod(-1)[None] - shared
    iou: Doubles = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def _far_corners(boxes_ltwh: Doubles) -> Doubles:
    return boxes_ltwh[:, :2] + boxes_ltwh[:, 2:]


def best_matches(ground: GroundTruth, detections: Doubles) -> BoxMatches:
    """The true box with the largest IoU for each detection; in a tie the first."""
    best = BoxMatches(np.full(len(detections), NO_BOX), np.zeros(len(detections)))
    labels = detections[:, 6].astype(np.int64)
    for mine, boxes in group_by_image(ground, detections):
        table = iou_matrix(detections[mine, 1:5], ground.boxes_ltwh[boxes])
        table[labels[mine][:, None] != ground.classes[boxes][None]] = 0
        place = table.argmax(axis=1)
        most = table[np.arange(len(mine)), place]
        best.ious[mine] = most
        best.boxes[mine] = np.where(most > 0, boxes[place], NO_BOX)
    return best


def first_claims(best: BoxMatches, order: Integers, *, above: float) -> Flags:
    """[D] True for the first detection, in this order, that claims its true box with an IoU above `above`.
    A detection whose best box is already claimed is not matched to another one."""
    claims = order[(best.ious[order] > above) & (best.boxes[order] != NO_BOX)]
    _, first = np.unique(best.boxes[claims], return_index=True)
    right = np.zeros(len(order), dtype=np.bool_)
    right[claims[first]] = True
    return right


def drop_difficult(ground: GroundTruth, detections: Doubles, *, above: float) -> Doubles:
    """The detections [D, 7] without those on a difficult object of their class, with an IoU above the
    threshold, that are not on another true box: they count neither way, as in C Darknet."""
    if not ground.difficult.any():
        return detections
    other = best_matches(ground.select_boxes(~ground.crowd), detections).ious > above
    difficult = best_matches(ground.select_boxes(ground.difficult), detections).ious > above
    return detections[other | ~difficult]


def score_order(detections: Doubles) -> Integers:
    """[D] indices that sort the detections by descending score; ties keep their order."""
    return np.argsort(-detections[:, 5], kind="stable")


class Pairs(NamedTuple):
    """Which true boxes [T] and detections [D] are pairs, whatever their classes. `seen` [T] is the class of
    the detection on each true box, `true` [D] the class of the true box under each detection, both K where
    there is none; `stray` [D] are the detections without a true box, those on difficult objects left out."""

    seen: Integers
    true: Integers
    stray: Flags


def pair_boxes(ground: GroundTruth, detections: Doubles, *, iou: float) -> Pairs:
    """Pairs by descending IoU above `iou`, each box in one at most; crowds are in none."""
    nothing = len(ground.names)
    seen, true = np.full(len(ground.classes), nothing), np.full(len(detections), nothing)
    labels, rows = detections[:, 6].astype(np.int64), np.flatnonzero(~ground.crowd)
    objects = ground.select_boxes(rows)
    for mine, boxes in group_by_image(objects, detections):
        for i, j in _greedy_pairs(iou_matrix(detections[mine, 1:5], objects.boxes_ltwh[boxes]), iou):
            seen[rows[boxes[j]]] = labels[mine[i]]
            true[mine[i]] = objects.classes[boxes[j]]
    difficult = ground.select_boxes(ground.difficult)
    return Pairs(seen, true, (true == nothing) & ~touches(difficult, detections, above=iou))


def confusion_matrix(
    ground: GroundTruth, detections: Doubles, *, conf: float = 0.25, iou: float = CONFUSION_IOU
) -> Integers:
    """Counts [K + 1, K + 1]: rows are true classes, columns detected ones; the last row is background (false
    positives), the last column missed objects. Pairs are formed by descending IoU above `iou`, whatever the
    class; detections with a score of at most `conf`, crowds, and detections on difficult objects alone
    are ignored."""
    detections = detections[detections[:, 5] > conf]
    pairs, nothing = pair_boxes(ground, detections, iou=iou), len(ground.names)
    matrix = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    np.add.at(matrix, (ground.classes[~ground.crowd], pairs.seen[~ground.crowd]), 1)
    np.add.at(matrix, (nothing, detections[pairs.stray, 6].astype(np.int64)), 1)
    return matrix


def touches(ground: GroundTruth, detections: Doubles, *, above: float) -> Flags:
    """[D] True where a detection overlaps a true box, whatever its class, with an IoU above the threshold."""
    touched = np.zeros(len(detections), dtype=np.bool_)
    for mine, boxes in group_by_image(ground, detections):
        table = iou_matrix(detections[mine, 1:5], ground.boxes_ltwh[boxes])
        touched[mine] = (table > above).any(axis=1)
    return touched


def _greedy_pairs(table: Doubles, iou: float) -> Iterator[tuple[int, int]]:
    """Row and column of each pair by descending IoU; each row and each column is used at most once."""
    rows, columns = (table > iou).nonzero()
    taken: tuple[set[int], set[int]] = (set(), set())
    for k in np.argsort(-table[rows, columns], kind="stable"):
        i, j = int(rows[k]), int(columns[k])
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            yield i, j


def true_positive_flags(best: BoxMatches, order: Integers, thresholds: NDArray[np.float64]) -> Flags:
    """[D, I] which detections are true positives at each threshold, by YOLOR's rule: a true box is matched to
    the first detection that claims it above the lowest threshold, and only to that one at the others."""
    right = first_claims(best, order, above=float(thresholds.min()))
    return right[:, None] & (best.ious[:, None] > thresholds)
