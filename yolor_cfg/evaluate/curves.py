"""Precision and recall as YOLOR computes them: per class, against confidence, and their AP.

Legend: K classes, D detections of one class, I IoU thresholds, X points on an axis of confidence or recall.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yolor_cfg.data.types import Integers
from yolor_cfg.evaluate.ground_truth import Doubles, Flags, GroundTruth
from yolor_cfg.evaluate.matching import best_matches, drop_difficult, score_order, true_positive_flags

THRESHOLDS = np.linspace(0.5, 0.95, 10)
AXIS = np.linspace(0, 1, 1001)
RECALLS = np.linspace(0, 1, 101)
NO_BEST = 0.1
"""The confidence of P and R where no detection is right; YOLOR takes it always."""
TAIL = 1e-3
"""How far beyond the last recall YOLOR's curve falls to 0."""


class Curves(NamedTuple):
    """Metrics of each class; NaN if the ground truth has none of it.

    images, labels [K]: numbers of images and true boxes; precision, recall, f1 [K, X]: against confidence,
    AXIS; envelope [K, X]: the best precision at a recall of AXIS or more, at IoU 0.5; ap [K, I]: at
    THRESHOLDS.
    """

    images: Integers
    labels: Integers
    precision: Doubles
    recall: Doubles
    f1: Doubles
    envelope: Doubles
    ap: Doubles

    def precision_recall_f1(self, confidence: float) -> tuple[Doubles, Doubles, Doubles]:
        """Precision, recall and F1 [K] of the detections above the confidence."""
        place = round(float(np.interp(confidence, AXIS, np.arange(len(AXIS)))))
        return self.precision[:, place], self.recall[:, place], self.f1[:, place]

    @property
    def confidence(self) -> float:
        """The confidence at which the mean F1 of the classes in the ground truth is highest."""
        means = self.f1[self.labels > 0]
        f1 = means.mean(axis=0) if len(means) else np.zeros(len(AXIS))
        return float(AXIS[f1.argmax()]) if f1.max() > 0 else NO_BEST

    @property
    def mean(self) -> Means:
        """Means over the classes in the ground truth (zeros without any); P, R, F1 at `confidence`."""
        there = self.labels > 0
        if not there.any():
            return Means(0.0, 0.0, 0.0, 0.0, 0.0)
        p, r, f1 = (float(values[there].mean()) for values in self.precision_recall_f1(self.confidence))
        return Means(p, r, f1, float(self.ap[there, 0].mean()), float(self.ap[there].mean()))


class Means(NamedTuple):
    """What YOLOR prints in its row `all`, plus F1."""

    precision: float
    recall: float
    f1: float
    map50: float
    map: float


def compute_curves(ground: GroundTruth, detections: Doubles) -> Curves:
    """YOLOR's metrics for detections [D, 7]; crowds, difficult objects and detections on them are ignored."""
    detections = drop_difficult(ground, detections, above=float(THRESHOLDS[0]))
    ground = ground.select_boxes(~ground.crowd)
    order = score_order(detections)
    right = true_positive_flags(best_matches(ground, detections), order, THRESHOLDS)[order]
    labels, scores = detections[order, 6].astype(np.int64), detections[order, 5]
    count = len(ground.names)
    boxes = np.bincount(ground.classes, minlength=count)
    places = np.unique(np.stack([ground.images, ground.classes], axis=1), axis=0)[:, 1]
    rows = [_class_curves(right[labels == k], scores[labels == k], int(boxes[k])) for k in range(count)]
    stacked = (np.stack(column) for column in zip(*rows, strict=True))
    return Curves(np.bincount(places, minlength=count), boxes, *stacked)


def _class_curves(
    right: Flags, scores: Doubles, boxes: int
) -> tuple[Doubles, Doubles, Doubles, Doubles, Doubles]:
    """precision, recall, f1, envelope [X], ap [I] of one class; right [D, I], scores [D], best first."""
    if not boxes:
        nothing = np.full(len(AXIS), np.nan)
        return nothing, nothing, nothing, nothing, np.full(len(THRESHOLDS), np.nan)
    if not len(scores):
        nothing = np.zeros(len(AXIS))
        return nothing, nothing, nothing, nothing, np.zeros(len(THRESHOLDS))
    found = right.cumsum(axis=0)
    recall, precision = found / boxes, found / np.arange(1, len(scores) + 1)[:, None]
    # Above the best score nothing is detected: recall is 0, and precision stays that of the best detection.
    r = np.interp(-AXIS, -scores, recall[:, 0], left=0)
    p = np.interp(-AXIS, -scores, precision[:, 0])
    f1 = np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0)
    ap = np.array([average_precision(*columns) for columns in zip(recall.T, precision.T, strict=True)])
    return p, r, f1, envelope(recall[:, 0], precision[:, 0], AXIS), ap


def envelope(recall: Doubles, precision: Doubles, places: Doubles) -> Doubles:
    """The precision at these recalls: the curve made monotonically falling, interpolated linearly."""
    end = min(float(recall[-1]) + TAIL, 1.0)
    steps = np.concatenate([[0.0], recall, [end]])
    heights = np.concatenate([[0.0], precision, [0.0]])
    falling = np.flip(np.maximum.accumulate(np.flip(heights)))
    return np.interp(places, steps, falling)


def average_precision(recall: Doubles, precision: Doubles) -> float:
    """The area under the envelope by the trapezoidal rule at 101 recalls; recall and precision [D]."""
    heights = envelope(recall, precision, RECALLS)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(RECALLS)).sum())
