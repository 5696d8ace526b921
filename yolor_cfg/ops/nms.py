"""Non-maximum suppression as in C Darknet and as in YOLOR.

Legend: B boxes, K classes, C candidates (pairs of a box and a class), M detections.
Overlaps are computed in float64 from the given values, so the order of operations does not matter; float32
implementations agree unless an overlap is within rounding error of the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.ops.boxes import distance_term, iou_matrix, to_xyxy
from yolor_cfg.ops.native_nms import ChoiceRules, choose_boxes, suppress
from yolor_cfg.ops.plain_nms import GREEDY_EXPONENT, distance_exponent

NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")


def darknet_nms(
    boxes_xywh: Tensor, scores: Tensor, *, iou: float, kind: str = "default", beta: float = GREEDY_EXPONENT
) -> Tensor:
    """Scores [B, K] set to 0 where a better box of the same class suppresses the box; 0 and NaN do not count.

    A box is suppressed if IoU > iou (default, cornersnms), IoU - (d/c)^0.6 > iou (greedynms) or
    IoU - (d/c)^beta > iou (diounms); of equal scores, the earlier box wins. boxes_xywh [B, 4] are centres and
    sizes as fractions of the image: the distance term, unlike the IoU, changes when one axis is stretched.
    """
    assert kind in NMS_KINDS, kind
    exponent = distance_exponent(kind, beta)
    wanted = scores.ne(0) & ~scores.isnan()
    boxes = wanted.any(dim=1).nonzero()[:, 0]
    candidates = _sort_candidates(scores[boxes], wanted[boxes])
    overlaps = PairwiseOverlaps(boxes_xywh[boxes], iou=iou, exponent=exponent)
    kept = candidates.select(_greedy_nms(candidates, overlaps=overlaps))
    left = torch.zeros_like(scores)
    left[boxes[kept.boxes], kept.classes] = kept.scores
    return left


class YolorNmsRules(NamedTuple):
    """Settings of YOLOR's suppression; `classes` are the class ids to report (None: all)."""

    conf: float
    iou: float
    multi_label: bool = True
    agnostic: bool = False
    max_det: int = 300
    classes: tuple[int, ...] | None = None


class NmsResult(NamedTuple):
    """The detections of one image, best first: boxes_xyxy [M, 4], scores [M], classes [M] int64."""

    boxes_xyxy: Tensor
    scores: Tensor
    classes: Tensor


class KeptBoxes(NamedTuple):
    """The detections of one image, best first: numbers [M] of boxes among those given, scores, classes."""

    numbers: Tensor
    scores: Tensor
    classes: Tensor


def yolor_nms(boxes_xywh: Tensor, scores: Tensor, *, objectness: Tensor, rules: YolorNmsRules) -> NmsResult:
    """The detections of one image; the arguments are those of `keep_yolor_boxes`."""
    kept = keep_yolor_boxes(boxes_xywh, scores, objectness=objectness, rules=rules)
    return NmsResult(to_xyxy(boxes_xywh[kept.numbers]), kept.scores, kept.classes)


def keep_yolor_boxes(
    boxes_xywh: Tensor, scores: Tensor, *, objectness: Tensor, rules: YolorNmsRules
) -> KeptBoxes:
    """YOLOR's choice in one image: boxes_xywh [B, 4], scores [B, K] not yet multiplied by objectness [B].

    A box is a candidate if its objectness and then objectness x score exceed `conf`: with `multi_label` once
    for every class, else for its best class. It is suppressed by a better box of its class (of any class if
    `agnostic`) with IoU > iou. Classes are separated exactly. The usual trick, offsetting each class by 4096
    pixels, lets classes overlap on larger inputs and rounds coordinates to 1/32 pixel at class id 79;
    otherwise the results are the same.
    """
    if scores.dtype == boxes_xywh.dtype == objectness.dtype == torch.float32:
        choice = ChoiceRules(is_yolor=True, **rules._asdict())
        if (found := choose_natively(boxes_xywh, scores, objectness=objectness, rules=choice)) is not None:
            return found
    return _keep_in_torch(boxes_xywh, scores, objectness=objectness, rules=rules)


def choose_natively(
    boxes_xywh: Tensor, scores: Tensor, *, objectness: Tensor, rules: ChoiceRules
) -> KeptBoxes | None:
    """The choice of `native_nms.choose_boxes` in one image, for tensors of float32."""
    boxes, scores, objectness = (part.detach().cpu() for part in (boxes_xywh, scores, objectness))
    found = choose_boxes(boxes.numpy(), scores.numpy(), objectness=objectness.numpy(), rules=rules)
    return None if found is None else KeptBoxes(*map(torch.from_numpy, found[:3]))


def _keep_in_torch(
    boxes_xywh: Tensor, scores: Tensor, *, objectness: Tensor, rules: YolorNmsRules
) -> KeptBoxes:
    likely = (objectness > rules.conf).nonzero()[:, 0]
    boxes, scores = boxes_xywh[likely], scores[likely] * objectness[likely, None]
    candidates = _sort_candidates(scores, _candidate_mask(scores, rules))
    overlaps = PairwiseOverlaps(boxes, iou=rules.iou)
    groups = torch.zeros_like(candidates.classes) if rules.agnostic else candidates.classes
    kept = candidates.select(
        _greedy_nms(candidates._replace(classes=groups), overlaps=overlaps, limit=rules.max_det)
    )
    return KeptBoxes(likely[kept.boxes], kept.scores, kept.classes)


def _candidate_mask(scores: Tensor, rules: YolorNmsRules) -> Tensor:
    """[B, K] True for the pairs that are candidates."""
    wanted = scores > rules.conf
    class_ids = torch.arange(scores.shape[1], device=scores.device)
    if not rules.multi_label:
        wanted &= class_ids == scores.argmax(1, keepdim=True)
    if rules.classes is not None:
        wanted &= torch.isin(class_ids, torch.tensor(rules.classes, dtype=torch.long, device=scores.device))
    return wanted


class _Candidates(NamedTuple):
    """Box index, class id and score, [C] each, best first; equal scores in the order of the boxes."""

    boxes: Tensor
    classes: Tensor
    scores: Tensor

    def select(self, positions: list[int]) -> _Candidates:
        """The candidates at these positions."""
        index = torch.tensor(positions, dtype=torch.long, device=self.boxes.device)
        return _Candidates(*(values[index] for values in self))


def _sort_candidates(scores: Tensor, wanted: Tensor) -> _Candidates:
    """The pairs where `wanted` [B, K] is True, with their scores [B, K], best first."""
    box, class_id = wanted.nonzero(as_tuple=True)
    order = scores[wanted].argsort(descending=True, stable=True)
    return _Candidates(box[order], class_id[order], scores[wanted][order])


class PairwiseOverlaps:
    """Which boxes a box does not suppress: computed in blocks on first use, then cached for other classes."""

    BLOCK = 16384
    """Pairs per block: enough to amortise the cost of a call, few enough to fit in the cache."""

    def __init__(self, boxes_xywh: Tensor, *, iou: float, exponent: float | None = None) -> None:
        """boxes_xywh [B, 4]; with an exponent, the distance term is subtracted from the IoU."""
        self.boxes_xyxy = to_xyxy(boxes_xywh.detach().to("cpu", torch.float64))
        self.rule = (iou, exponent)
        self._rows = max(1, self.BLOCK // max(1, len(boxes_xywh)))
        self._blocks: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def keep_mask(self, box: int) -> np.ndarray:
        """[B] True where `box` does not suppress; a NaN overlap never does."""
        block, row = divmod(box, self._rows)
        if block not in self._blocks:
            first = block * self._rows
            self._blocks[block] = (~self._overlap_mask(self.boxes_xyxy[first : first + self._rows])).numpy()
        mask: np.ndarray = self._blocks[block][row]
        return mask

    def _overlap_mask(self, some_xyxy: Tensor) -> Tensor:
        """[A, B] True for the boxes suppressed by each of [A, 4]."""
        iou, exponent = self.rule
        overlap = iou_matrix(some_xyxy, self.boxes_xyxy)
        suppressed = overlap > iou
        if exponent is not None:  # the term only lowers the overlap, so the rest need no check
            one, other = near = suppressed.nonzero(as_tuple=True)
            term = distance_term(some_xyxy[one], self.boxes_xyxy[other], exponent=exponent)
            suppressed[near] = overlap[near] - term > iou
        return suppressed


def _greedy_nms(
    candidates: _Candidates, *, overlaps: PairwiseOverlaps, limit: int | None = None
) -> list[int]:
    """Positions of the candidates that no better one of their class suppresses; at most `limit`."""
    count = len(candidates.boxes)
    pairs = candidates.boxes.cpu().numpy(), candidates.classes.cpu().numpy()
    found = suppress(
        overlaps.boxes_xyxy.numpy(), pairs, overlap=overlaps.rule, limit=count if limit is None else limit
    )
    return _greedy_in_torch(candidates, overlaps, limit) if found is None else found.tolist()


def _greedy_in_torch(candidates: _Candidates, overlaps: PairwiseOverlaps, limit: int | None) -> list[int]:
    alive: dict[int, bytearray] = {}  # one byte per box of a class; faster to read than an array
    kept: list[int] = []
    pairs = zip(candidates.boxes.tolist(), candidates.classes.tolist(), strict=True)
    for position, (box, class_id) in enumerate(pairs):
        if len(kept) == limit:
            break
        if class_id not in alive:
            alive[class_id] = bytearray(b"\1") * len(overlaps)
        if alive[class_id][box]:
            kept.append(position)
            mask = np.frombuffer(alive[class_id], dtype=bool)
            np.logical_and(mask, overlaps.keep_mask(box), out=mask)
    return kept
