"""Non-maximum suppression (NMS): which predictions become detections.

Legend: B boxes, K classes, M detections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from yolor_cfg.detect.native_choice import choose_in_image
from yolor_cfg.detect.nms_rules import MAX_COORDINATE, NmsRules, choose_kind, kind_notes
from yolor_cfg.graph import Graph, last_head_value
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.model import Predictions
from yolor_cfg.ops.boxes import to_xywh, to_xyxy
from yolor_cfg.ops.nms import (
    KeptBoxes,
    YolorNmsRules,
    darknet_nms,
    keep_yolor_boxes,
)

__all__ = ["NmsRules", "apply_nms", "choose_nms", "nms_notes", "select_boxes"]
FIRST_PAIRS = 1_000
"""Pairs of a box and a class that are compared first; a low threshold lets a million pass."""


def choose_nms(graph: Graph, asked: str | None) -> tuple[str, float]:
    """Kind and exponent of NMS: see `choose_kind`; `cfg` means the `nms_kind` of the last head."""
    kind = choose_kind(asked, own=cfg_nms_kind(graph), is_pytorch=graph.dialect.is_pytorch)
    return kind, float(last_head_value(graph, "beta_nms", 0.6))


def cfg_nms_kind(graph: Graph) -> str:
    """The `nms_kind` of the last head, which C Darknet uses."""
    return str(last_head_value(graph, "nms_kind", "default"))


def nms_notes(graph: Graph, asked: str | None) -> tuple[str, ...]:
    """A note for users of the darknet dialect who ask for a kind of NMS that is not the cfg's."""
    return kind_notes(asked, own=cfg_nms_kind(graph), is_pytorch=graph.dialect.is_pytorch)


def apply_nms(
    predictions: Predictions, placements: Sequence[Placement], *, rules: NmsRules
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """boxes_xyxy [M, 4] in image pixels, scores [M] and classes [M] of each image, best first."""
    for boxes_xyxy, kept in select_boxes(predictions, placements, rules=rules):
        yield boxes_xyxy, kept.scores, kept.classes


def select_boxes(
    predictions: Predictions, placements: Sequence[Placement], *, rules: NmsRules
) -> Iterator[tuple[Tensor, KeptBoxes]]:
    """boxes_xyxy [M, 4] in image pixels of each image, and which of its predictions they are."""
    arrays = [part.detach().float().cpu().numpy() for part in predictions]
    for number, placement in enumerate(placements):
        boxes_xywh, objectness, scores = (array[number] for array in arrays)
        found = choose_in_image(boxes_xywh, scores, objectness=objectness, placement=placement, rules=rules)
        if found is None:
            one = Predictions(*map(torch.from_numpy, (boxes_xywh, objectness, scores)))
            yield _select_in_torch(one, placement, rules)
        else:
            *kept, corners = map(torch.from_numpy, found)
            yield corners, KeptBoxes(*kept)


def _select_in_torch(one: Predictions, placement: Placement, rules: NmsRules) -> tuple[Tensor, KeptBoxes]:
    way = yolor_detections if rules.kind == "yolor" else darknet_detections
    near = _is_finite(one)
    usable = one if near.all() else Predictions(*(part[near] for part in one))
    boxes_xyxy, kept = way(usable, placement, rules=rules)
    return boxes_xyxy, kept._replace(numbers=near.nonzero()[kept.numbers, 0])


def _is_finite(one: Predictions) -> Tensor:
    """[B] False for boxes that are NaN, infinite or overflowed: JSON cannot represent them."""
    return (one.boxes_xywh.abs() < MAX_COORDINATE).all(dim=1)


def yolor_detections(one: Predictions, placement: Placement, *, rules: NmsRules) -> tuple[Tensor, KeptBoxes]:
    """YOLOR's NMS, in input pixels; then back to the image. `one` is of one image: [B, 4], [B], [B, K]."""
    goes_by = YolorNmsRules(
        rules.conf, rules.iou, rules.multi_label, rules.agnostic, rules.max_det, rules.classes
    )
    kept = keep_yolor_boxes(one.boxes_xywh, one.scores, objectness=one.objectness, rules=goes_by)
    boxes = placement.to_image(to_xywh(to_xyxy(one.boxes_xywh[kept.numbers])).numpy())
    return torch.from_numpy(boxes), kept


def darknet_detections(
    one: Predictions, placement: Placement, *, rules: NmsRules
) -> tuple[Tensor, KeptBoxes]:
    """C Darknet's NMS, on boxes that are already fractions of the image; `one` as in `yolor_detections`.

    Only the product of objectness and class score counts: [yolo] tests objectness first, but its class scores
    never exceed 1; [region] and [detection], whose scores may, do not test it.
    """
    products = one.scores * one.objectness[:, None]
    likely = (products > rules.conf).any(dim=1).nonzero()[:, 0]
    corners = torch.from_numpy(placement.to_image(one.boxes_xywh[likely].numpy()))
    probabilities = torch.where(products > rules.conf, products, 0)[likely]
    height, width = placement.image_size
    fractions = to_xywh(corners) / torch.tensor([width, height, width, height])
    for least in _score_thresholds(probabilities):
        left = _nms_probabilities(fractions, probabilities * (probabilities >= least), rules=rules)
        if (left > 0).sum() >= rules.max_det:
            break
    box, label = left.nonzero(as_tuple=True)
    order = left[box, label].argsort(descending=True, stable=True)[: rules.max_det]
    box, label = box[order], label[order]
    return corners[box], KeptBoxes(likely[box], left[box, label], label)


def _score_thresholds(probabilities: Tensor) -> Iterator[float]:
    """Ever lower thresholds that let ever more pairs pass; the last is 0, which lets all pass.

    Only better pairs suppress a pair, so a result among the best pairs is final.
    """
    pairs = probabilities[probabilities > 0]
    many = FIRST_PAIRS
    while many < len(pairs):
        yield float(pairs.kthvalue(len(pairs) - many + 1).values)
        many *= 8
    yield 0.0


def _nms_probabilities(fractions: Tensor, probabilities: Tensor, *, rules: NmsRules) -> Tensor:
    """[B, K] the probabilities of the wanted classes that no better box suppresses, else 0."""
    contested = probabilities.amax(dim=1, keepdim=True) if rules.agnostic else probabilities
    left = darknet_nms(fractions, contested, iou=rules.iou, kind=rules.kind, beta=rules.beta)
    if rules.agnostic:
        left = torch.where(left > 0, probabilities, 0)
    if not rules.multi_label:
        best = torch.nn.functional.one_hot(left.argmax(dim=1), left.shape[1])
        left = torch.where(best > 0, left, 0)
    if rules.classes is None:
        return left
    asked = torch.zeros(left.shape[1], dtype=torch.bool)
    asked[list(rules.classes)] = True
    return torch.where(asked, left, 0)
