"""C Darknet's own mean average precision (`detector map`), with its counts at a confidence threshold.

Legend: K classes, D detections [D, 7] as in `ground_truth.ROW`, T true boxes. A detection is matched to the
true box of its class with the largest IoU, if that is above the threshold; of those matched to one box, the
best is a true positive. Every class counts in the mean, with 0 if the ground truth has none of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yolor_cfg.data.types import Integers
from yolor_cfg.evaluate.ground_truth import Doubles, Flags, GroundTruth
from yolor_cfg.evaluate.matching import best_matches, drop_difficult, first_claims, score_order

POINTS = {"area": 0, "voc": 11, "coco": 101}
"""How Darknet computes AP: the area under the curve (0), or the mean precision at this many recalls."""
CONF = 0.005
IOU = 0.45
"""The confidence threshold and IoU of NMS in `detector map`; the kind of NMS is the network's own."""
REPORT_CONF = 0.25
"""The confidence threshold above which it counts true and false positives."""


class DarknetScores(NamedTuple):
    """`ap` [K], its mean, and at `reported`: true and false positives [K], false negatives, precision,
    recall, F1, and the mean IoU over all detections, where false positives count as 0. `iou` is the
    threshold, `points` how AP is computed, `detections` and `objects` are the numbers of both."""

    ap: Doubles
    map: float
    true_positives: Integers
    false_positives: Integers
    false_negatives: int
    precision: float
    recall: float
    f1: float
    average_iou: float
    iou: float = 0.5
    points: int = 0
    reported: float = REPORT_CONF
    detections: int = 0
    objects: int = 0

    @property
    def metric(self) -> str:
        """What its average precision is called: AP50 at an IoU of 0.5."""
        return f"AP{self.iou * 100:g}"


def score_darknet(
    ground: GroundTruth,
    detections: Doubles,
    *,
    points: int = 0,
    iou: float = 0.5,
    reported: float = REPORT_CONF,
) -> DarknetScores:
    """The results of C Darknet's `detector map -points N -iou_thresh IOU -thresh REPORTED`.

    Above `reported` the best detection of a box counts. Darknet goes through them in the order of its last
    class, which can match a box to a second detection; its AP does not depend on that.
    """
    ground, detections = _repeat_images(_repeat_boxes(ground), detections)
    detections = drop_difficult(ground, detections, above=iou)
    ground = ground.select_boxes(~ground.crowd)
    count = len(ground.names)
    boxes = np.bincount(ground.classes, minlength=count)
    best = best_matches(ground, detections)
    order = score_order(detections)
    right = first_claims(best, order, above=iou)
    labels = detections[:, 6].astype(np.int64)
    ap = np.array([_ap(right[order][labels[order] == k], int(boxes[k]), points) for k in range(count)])
    likely = detections[:, 5] > reported
    tp = np.bincount(labels[likely & right], minlength=count)
    fp = np.bincount(labels[likely & ~right], minlength=count)
    p, r = _divide(tp.sum(), tp.sum() + fp.sum()), _divide(tp.sum(), boxes.sum())
    shared = _divide(best.ious[likely & right].sum(), likely.sum())
    mean = float(ap.mean()) if count else 0.0
    missed = int(boxes.sum() - tp.sum())
    counted = DarknetScores(ap, mean, tp, fp, missed, p, r, _divide(2 * p * r, p + r), shared)
    return counted._replace(
        iou=iou, points=points, reported=reported, detections=len(detections), objects=int(boxes.sum())
    )


def _repeat_boxes(ground: GroundTruth) -> GroundTruth:
    """A line that stands several times in a label file is as many objects, of which one can be found."""
    if not len(ground.copies):
        return ground
    return ground.select_boxes(np.repeat(np.arange(len(ground.classes)), 1 + ground.copies))


def _repeat_images(ground: GroundTruth, detections: Doubles) -> tuple[GroundTruth, Doubles]:
    """An image that is listed several times counts as often, each time as an image of its own."""
    for image in ground.repeated:
        same, new = ground.images == image, len(ground.image_ids)
        found = detections[detections[:, 0] == image]
        found[:, 0] = new
        rows = np.concatenate([np.arange(len(same)), np.flatnonzero(same)])
        detections = np.concatenate([detections, found])
        images = np.concatenate([ground.images, np.full(same.sum(), new)])
        ids = (*ground.image_ids, f"{ground.image_ids[image]} again")
        ground = ground.select_boxes(rows)._replace(images=images, image_ids=ids)
    return ground, detections


def _divide(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _ap(right: Flags, boxes: int, points: int) -> float:
    """Average precision of one class; `right` [D], by descending score."""
    if not boxes or not len(right):
        return 0.0
    found = right.cumsum()
    recall, precision = found / boxes, found / np.arange(1, len(right) + 1)
    if points:
        wanted = np.arange(points) / (points - 1)
        best_from = np.flip(np.maximum.accumulate(np.flip(precision)))
        place = np.searchsorted(recall, wanted)  # the first rank that reaches the recall
        return float(np.append(best_from, 0)[place].sum() / points)
    # Between two ranks Darknet uses the best precision from the earlier one on, so its curve lies slightly
    # above that of the VOC devkit; before the first rank precision and recall are 0.
    heights = np.flip(np.maximum.accumulate(np.flip(np.concatenate([[0.0], precision]))))
    return float((np.diff(np.concatenate([[0.0], recall])) * heights[:-1]).sum())
