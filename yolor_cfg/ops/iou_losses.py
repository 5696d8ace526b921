"""Overlap of two boxes as used in losses: IoU, GIoU, DIoU, CIoU, and C Darknet's hand-written gradients.

Boxes are centre and size [..., 4] in the same unit; leading dimensions broadcast. Boxes without width or
height are safe: all values and gradients are finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.boxes import to_xyxy

EPS = 1e-9  # YOLOR's: added to heights, unions and enclosing areas
DARKNET_EPS = 1e-6  # C Darknet's, in the weight of CIoU's shape term


def iou(pred: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union [...], 0..1."""
    shared, union = _areas(pred, truth)
    return shared / union


def giou(pred: Tensor, truth: Tensor) -> Tensor:
    """IoU minus the fraction of the enclosing box that neither covers [...], -1..1 (arXiv 1902.09630)."""
    shared, union = _areas(pred, truth)
    hull = _hull(pred, truth).prod(-1) + EPS
    return shared / union - (hull - union) / hull


def diou(pred: Tensor, truth: Tensor) -> Tensor:
    """IoU minus the squared centre distance over the squared diagonal of the enclosing box [...]
    (arXiv 1911.08287)."""
    return iou(pred, truth) - _distance(pred, truth)


def ciou(pred: Tensor, truth: Tensor) -> Tensor:
    """DIoU minus a term for the difference in aspect ratio [...]; the weight of that term is detached."""
    overlap = iou(pred, truth)
    angles = (torch.atan(box[..., 2] / (box[..., 3] + EPS)) for box in (truth, pred))
    shape = 4 / math.pi**2 * (next(angles) - next(angles)).square()
    with torch.no_grad():
        weight = shape / ((1 - overlap).clamp(min=0) + shape + EPS)
    return overlap - _distance(pred, truth) - weight * shape


OVERLAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": iou,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
}


def _areas(pred: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union [...]."""
    ours, theirs = to_xyxy(pred), to_xyxy(truth)
    low = torch.maximum(ours[..., :2], theirs[..., :2])
    high = torch.minimum(ours[..., 2:], theirs[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [box[..., 2] * (box[..., 3] + EPS) for box in (pred, truth)]
    return shared, areas[0] + areas[1] - shared + EPS


def _hull(pred: Tensor, truth: Tensor) -> Tensor:
    """Width and height [..., 2] of the enclosing box."""
    ours, theirs = to_xyxy(pred), to_xyxy(truth)
    low = torch.minimum(ours[..., :2], theirs[..., :2])
    return torch.maximum(ours[..., 2:], theirs[..., 2:]) - low


def _distance(pred: Tensor, truth: Tensor) -> Tensor:
    apart = (pred[..., :2] - truth[..., :2]).square().sum(-1)
    return apart / (_hull(pred, truth).square().sum(-1) + EPS)


class _Sides(NamedTuple):
    """The derivatives [..., 2] of a quantity by the low (left, top) and the high (right, bottom) sides."""

    low: Tensor
    high: Tensor

    def add_slopes(self, other: _Sides) -> _Sides:
        return _Sides(self.low + other.low, self.high + other.high)

    def scale(self, factor: Tensor) -> _Sides:
        return _Sides(self.low * factor[..., None], self.high * factor[..., None])


class _BoxPair(NamedTuple):
    """The quantities that the slopes are computed from; each [..., 2], across and down."""

    pred: Tensor
    truth: Tensor
    low_inside: Tensor  # the low side of pred is inside truth
    high_inside: Tensor
    low_outside: Tensor
    high_outside: Tensor
    overlap: Tensor  # negative where the boxes are apart
    hull: Tensor

    @staticmethod
    def from_boxes(pred: Tensor, truth: Tensor) -> _BoxPair:
        ours, theirs = to_xyxy(pred), to_xyxy(truth)
        low, high, low2, high2 = ours[..., :2], ours[..., 2:], theirs[..., :2], theirs[..., 2:]
        overlap = torch.minimum(high, high2) - torch.maximum(low, low2)
        return _BoxPair(
            pred,
            truth,
            low > low2,
            high < high2,
            low < low2,
            high > high2,
            overlap,
            torch.maximum(high, high2) - torch.minimum(low, low2),
        )


def darknet_slopes(pred: Tensor, truth: Tensor, kind: str, *, is_first: bool = False) -> Tensor:
    """C Darknet's update direction of x, y, w, h [..., 4] that increases the overlap of `kind`.

    It is written by hand there and is not the exact gradient. Compared with d overlap / d (x, y, w, h): sizes
    count twice (the difference of the slopes of two sides, not half of it), except in the distance term of
    DIoU and CIoU, where they count once; in that term, the derivative of the enclosing diagonal by x, y has
    the opposite sign; CIoU's shape term lacks its 1 / (w^2 + h^2); disjoint boxes use only the second term.
    With `is_first` (IoU and GIoU of g-darknet) sizes count once, and disjoint boxes as others do.
    """
    pair = _BoxPair.from_boxes(pred, truth)
    shared, union = _signed_areas(pair)
    inner, outer = _area_slopes(pair)
    apart = (pair.overlap <= 0).any(-1)[..., None] & (not is_first)
    first = inner.scale(union).add_slopes(outer.scale(-shared)).scale(1 / union.square())
    slopes = _Sides(*(torch.where(union[..., None] > 0, side, 0) for side in first))
    if kind == "giou":
        second = _hull_slopes(pair, union, outer)
        slopes = _Sides(*(torch.where(apart, b, a + b) for a, b in zip(slopes, second, strict=True)))
    sizes = (slopes.high - slopes.low) * (0.5 if is_first else 1)
    along = torch.cat([slopes.low + slopes.high, sizes], dim=-1)
    if kind in ("diou", "ciou"):
        second_along = _distance_slopes(pair)
        if kind == "ciou":
            second_along = second_along + _shape_slopes(pair, shared / union)
        along = torch.where(apart, second_along, along + second_along)
    return along


def _signed_areas(pair: _BoxPair) -> tuple[Tensor, Tensor]:
    """Intersection and union from overlaps that may be negative."""
    shared = pair.overlap.prod(-1)
    return shared, pair.pred[..., 2:].prod(-1) + pair.truth[..., 2:].prod(-1) - shared


def _area_slopes(pair: _BoxPair) -> tuple[_Sides, _Sides]:
    """The slopes of the intersection and of the union."""
    across, size = pair.overlap.flip(-1), pair.pred[..., 2:].flip(-1)
    inner = _Sides(-across * pair.low_inside, across * pair.high_inside)
    return inner, _Sides(-size - inner.low, size - inner.high)


def _hull_slopes(pair: _BoxPair, union: Tensor, outer: _Sides) -> _Sides:
    """The slopes of union / hull."""
    hull, across = pair.hull.prod(-1), pair.hull.flip(-1)
    grown = _Sides(-across * pair.low_outside, across * pair.high_outside)
    return outer.scale(hull).add_slopes(grown.scale(-union)).scale(1 / hull.square())


def _distance_slopes(pair: _BoxPair) -> Tensor:
    diagonal = pair.hull.square().sum(-1, keepdim=True)
    gap = pair.truth[..., :2] - pair.pred[..., :2]
    distance = gap.square().sum(-1, keepdim=True)
    low, high = pair.low_outside.to(gap.dtype), pair.high_outside.to(gap.dtype)
    centre = 2 * gap * diagonal - 2 * pair.hull * (high - low) * distance
    size = pair.hull * (high + low) * distance
    return torch.cat([centre, size], dim=-1) / diagonal.square()


def _shape_slopes(pair: _BoxPair, overlap: Tensor) -> Tensor:
    turn = torch.atan(pair.truth[..., 2] / pair.truth[..., 3]) - torch.atan(
        pair.pred[..., 2] / pair.pred[..., 3]
    )
    shape = 4 / math.pi**2 * turn.square()
    weight = shape / (1 - overlap + shape + DARKNET_EPS)
    push = weight * 8 / math.pi**2 * turn
    none = torch.zeros_like(push)
    return torch.stack([none, none, push * pair.pred[..., 3], -push * pair.pred[..., 2]], dim=-1)
