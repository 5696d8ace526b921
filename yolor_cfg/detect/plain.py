"""From predictions to detections of one image, on arrays alone, with the results of detect/nms.py.

Legend: B boxes, K classes, M detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.detect.native_choice import choice_rules, choose_in_image
from yolor_cfg.detect.nms_rules import MAX_COORDINATE, NmsRules
from yolor_cfg.engines.exported import Predicted
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.ops.plain_nms import FloatArray, choose_plain

SHORTEST = 1e-12
"""A vector is divided by its length, or by this."""
Found = tuple[FloatArray, FloatArray, NDArray[np.int64]]


class NumberedBoxes(NamedTuple):
    """Boxes [M, 4] in image pixels, scores [M], classes [M], and of which prediction each is [M]."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    classes: NDArray[np.int64]
    numbers: NDArray[np.int64]


def select_plain(one: Predicted, placement: Placement, rules: NmsRules) -> Found:
    """boxes_xyxy [M, 4] in image pixels, scores [M] and classes [M], best first, from the predictions of one
    image: [B, 4], [B], [B, K]."""
    return select_numbered(one, placement, rules)[:3]


def select_numbered(one: Predicted, placement: Placement, rules: NmsRules) -> NumberedBoxes:
    """Like `select_plain`, with the numbers of the predictions."""
    boxes_xywh, objectness, scores = one
    found = choose_in_image(boxes_xywh, scores, objectness=objectness, placement=placement, rules=rules)
    if found is not None:
        return NumberedBoxes(found.corners, found.scores, found.classes, found.numbers)
    near = (np.abs(boxes_xywh) < MAX_COORDINATE).all(axis=1)
    likely = near & (scores * objectness[:, None] > rules.conf).any(axis=1)
    chosen = _select_by_numpy(Predicted(*(part[likely] for part in one)), placement, rules)
    return chosen._replace(numbers=np.flatnonzero(likely)[chosen.numbers])


def choose_cells(cells: Sequence[FloatArray], counts: Sequence[int], boxes: NDArray[np.int64]) -> FloatArray:
    """`ops.embeddings.choose_vectors` on arrays: the vectors of one image's cells, [E, H, W] for each head,
    whose cells have `counts` boxes each -> the unit vectors [M, E] of the boxes of these numbers [M]."""
    found = np.zeros((len(boxes), len(cells[0])), np.float32)
    first = 0
    for vectors, count in zip(cells, counts, strict=True):
        flat = vectors.reshape(len(vectors), -1)
        last = first + count * flat.shape[1]
        mine = (boxes >= first) & (boxes < last)
        chosen = flat[:, (boxes[mine] - first) % flat.shape[1]].T
        found[mine] = chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), SHORTEST)
        first = last
    return found


def _select_by_numpy(one: Predicted, placement: Placement, rules: NmsRules) -> NumberedBoxes:
    boxes_xywh, objectness, scores = one
    is_yolor = rules.kind == "yolor"
    corners: FloatArray = placement.to_image(boxes_xywh).astype(np.float32)
    compared = boxes_xywh if is_yolor else _to_fractions(corners, placement)
    kept = choose_plain(compared, scores, objectness=objectness, rules=choice_rules(rules))
    found = corners[kept.numbers]
    if is_yolor:  # by way of corners, which rounds
        found = placement.to_image(_to_xywh(_to_xyxy(boxes_xywh[kept.numbers])))
    return NumberedBoxes(found.astype(np.float32), kept.scores, kept.classes, kept.numbers)


def _to_fractions(corners: FloatArray, placement: Placement) -> FloatArray:
    """Centres and sizes as fractions of the image."""
    height, width = placement.image_size
    sides = np.array([width, height, width, height], np.float32)
    return np.divide(_to_xywh(corners), sides, dtype=np.float32)


def _to_xyxy(boxes_xywh: FloatArray) -> FloatArray:
    centre, size = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    joined: FloatArray = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return joined


def _to_xywh(boxes_xyxy: FloatArray) -> FloatArray:
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)
