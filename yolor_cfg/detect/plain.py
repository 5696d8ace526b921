"""From predictions to detections of one image, on arrays alone, with the results of detect/nms.py.

Legend: B boxes, K classes, M detections.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.detect.native_choice import choice_rules, choose_in_image
from yolor_cfg.detect.nms_rules import MAX_COORDINATE, NmsRules
from yolor_cfg.engines.exported import Predicted
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.ops.plain_nms import FloatArray, choose_plain

Found = tuple[FloatArray, FloatArray, NDArray[np.int64]]


def select_plain(one: Predicted, placement: Placement, rules: NmsRules) -> Found:
    """boxes_xyxy [M, 4] in image pixels, scores [M] and classes [M], best first, from the predictions of one
    image: [B, 4], [B], [B, K]."""
    boxes_xywh, objectness, scores = one
    found = choose_in_image(boxes_xywh, scores, objectness=objectness, placement=placement, rules=rules)
    if found is not None:
        return found.corners, found.scores, found.classes
    near = (np.abs(boxes_xywh) < MAX_COORDINATE).all(axis=1)
    likely = near & (scores * objectness[:, None] > rules.conf).any(axis=1)
    return _select_by_numpy(Predicted(*(part[likely] for part in one)), placement, rules)


def _select_by_numpy(one: Predicted, placement: Placement, rules: NmsRules) -> Found:
    boxes_xywh, objectness, scores = one
    is_yolor = rules.kind == "yolor"
    corners: FloatArray = placement.to_image(boxes_xywh).astype(np.float32)
    compared = boxes_xywh if is_yolor else _to_fractions(corners, placement)
    kept = choose_plain(compared, scores, objectness=objectness, rules=choice_rules(rules))
    found = corners[kept.numbers]
    if is_yolor:  # by way of corners, which rounds
        found = placement.to_image(_to_xywh(_to_xyxy(boxes_xywh[kept.numbers])))
    return found.astype(np.float32), kept.scores, kept.classes


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
