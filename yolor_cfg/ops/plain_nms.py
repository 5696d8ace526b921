"""Non-maximum suppression on arrays alone, with the results of ops/nms.py and detect/nms.py. Needs no torch.

Legend: B boxes, K classes, C candidates (pairs of a box and a class), M results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.ops.native_nms import ChoiceRules, ChosenBoxes

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]
MaskArray = NDArray[np.bool_]

FIRST_PAIRS = 1_000
"""Pairs of a box and a class that are compared first; a low threshold lets a million pass."""
GREEDY_EXPONENT = 0.6
"""What C Darknet's greedynms uses, regardless of `beta_nms` (box_diou in box.c)."""


def distance_exponent(kind: str, beta: float) -> float | None:
    """The exponent of the distance term; None for a kind that has none."""
    return {"greedynms": GREEDY_EXPONENT, "diounms": beta}.get(kind)


def choose_plain(
    boxes_xywh: FloatArray, scores: FloatArray, *, objectness: FloatArray, rules: ChoiceRules
) -> ChosenBoxes:
    """The detections among boxes [B, 4] with scores [B, K] not multiplied by objectness [B]."""
    products: FloatArray = scores * objectness[:, None]
    wanted: MaskArray = products > rules.conf
    if rules.is_yolor:
        wanted &= (objectness > rules.conf)[:, None]
        wanted &= _wanted_pairs(products, rules)
        return _choose_best(boxes_xywh, products, wanted, rules=rules)
    probabilities: FloatArray = np.where(wanted, products, 0)
    for least in _score_thresholds(probabilities):
        some = probabilities * (probabilities >= least)
        found = _report_left(_darknet_scores(boxes_xywh, some, rules), rules)
        if len(found.scores) >= rules.max_det:
            break
    return found


def _score_thresholds(probabilities: FloatArray) -> Iterator[float]:
    """Ever lower thresholds that let ever more pairs pass, the last all of them. Only better pairs suppress a
    pair, so a result among the best pairs is final."""
    pairs = probabilities[probabilities > 0]
    many = FIRST_PAIRS
    while many < len(pairs):
        yield float(np.partition(pairs, len(pairs) - many)[len(pairs) - many])
        many *= 8
    yield 0.0


def _darknet_scores(boxes_xywh: FloatArray, probabilities: FloatArray, rules: ChoiceRules) -> FloatArray:
    """[B, K] the probabilities that no better box suppresses, else 0."""
    contested = probabilities.max(axis=1, initial=0, keepdims=True) if rules.agnostic else probabilities
    every = rules._replace(max_det=contested.size)
    left = _choose_best(boxes_xywh, contested, contested != 0, rules=every)
    kept = np.zeros_like(contested)
    kept[left.numbers, left.classes] = left.scores
    return probabilities * (kept > 0) if rules.agnostic else kept


def _report_left(left: FloatArray, rules: ChoiceRules) -> ChosenBoxes:
    """Of the scores [B, K] that are left those that are reported."""
    wanted = _wanted_pairs(left, rules) & (left > 0)
    box, label = wanted.nonzero()
    order = _best_first(left[box, label])[: rules.max_det]
    return ChosenBoxes(box[order], left[box, label][order], label[order])


def _wanted_pairs(scores: FloatArray, rules: ChoiceRules) -> MaskArray:
    """[B, K] True for the best class of each box, or all, of the classes that are asked for."""
    labels = np.arange(scores.shape[1])
    wanted = np.ones(scores.shape, bool)
    if not rules.multi_label and scores.size:
        wanted &= labels == scores.argmax(axis=1)[:, None]
    return wanted if rules.classes is None else wanted & np.isin(labels, rules.classes)


def _choose_best(
    boxes_xywh: FloatArray, scores: FloatArray, wanted: MaskArray, *, rules: ChoiceRules
) -> ChosenBoxes:
    """Of the wanted pairs those that no better one of their class suppresses, at most `max_det`."""
    box, label = wanted.nonzero()
    order = _best_first(scores[box, label])
    box, label = box[order], label[order]
    groups = np.zeros_like(label) if rules.agnostic else label
    used, place = np.unique(box, return_inverse=True)
    overlaps = Suppression(boxes_xywh[used], rules)
    positions = np.fromiter(
        _iter_kept(place.ravel(), groups, overlaps=overlaps, most=rules.max_det), np.int64
    )
    return ChosenBoxes(box[positions], scores[box, label][positions], label[positions])


def _best_first(scores: FloatArray) -> IndexArray:
    """The order by falling score; equal ones stay in order."""
    return np.argsort(-scores, kind="stable")


def _iter_kept(boxes: IndexArray, groups: IndexArray, *, overlaps: Suppression, most: int) -> Iterator[int]:
    """Positions of the candidates, best first, that no better one of their group suppresses."""
    alive: dict[int, MaskArray] = {}
    for position, (box, group) in enumerate(zip(boxes.tolist(), groups.tolist(), strict=True)):
        if most <= 0:
            return
        mask = alive.setdefault(group, overlaps.all_kept())
        if mask[box]:
            most -= 1
            yield position
            mask &= ~overlaps.suppressed_by(box)


class Suppression:
    """Which boxes a box suppresses, in float64, computed on first use."""

    def __init__(self, boxes_xywh: FloatArray, rules: ChoiceRules) -> None:
        centre, size = np.split(boxes_xywh.astype(np.float64), 2, axis=1)
        self._low, self._high = centre - size / 2, centre + size / 2
        self._areas = (self._high - self._low).prod(axis=1)
        self._rules = rules
        self._known: dict[int, MaskArray] = {}

    def all_kept(self) -> MaskArray:
        """[B] True."""
        return np.ones(len(self._areas), bool)

    def suppressed_by(self, box: int) -> MaskArray:
        """[B] True for the boxes that `box` suppresses; a NaN overlap never does."""
        if box not in self._known:
            with np.errstate(all="ignore"):
                self._known[box] = self._compare(box)
        return self._known[box]

    def _compare(self, box: int) -> NDArray[Any]:
        low, high = self._low[box], self._high[box]
        sides = (np.minimum(high, self._high) - np.maximum(low, self._low)).clip(min=0)
        shared = sides.prod(axis=1)
        union = self._areas[box] + self._areas - shared
        overlap = np.where(shared > 0, shared / union, 0)
        suppressed: NDArray[Any] = overlap > self._rules.iou
        if self._rules.exponent is None:
            return suppressed
        return suppressed & (overlap - self._distance_term(box, self._rules.exponent) > self._rules.iou)

    def _distance_term(self, box: int, exponent: float) -> NDArray[np.float64]:
        """(d / c) ** exponent [B], as `ops.boxes.distance_term` has it."""
        low, high = self._low[box], self._high[box]
        apart = (low + high - self._low - self._high) / 2
        whole = np.maximum(high, self._high) - np.minimum(low, self._low)
        diagonal = np.square(whole).sum(axis=1)
        ratio: NDArray[np.float64] = np.where(diagonal > 0, np.square(apart).sum(axis=1) / diagonal, 0)
        return ratio**exponent
