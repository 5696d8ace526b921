"""Non-maximum suppression, C Darknet's way and YOLOR's.

Legend: B boxes, K classes, C candidates (pairs of a box and a class), M detections.
Overlaps are worked out in float64 from the values given, so the order of operations decides nothing; float32
implementations agree wherever no overlap lies within rounding of the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.ops.boxes import distance_term, iou_matrix, to_xyxy

GREEDY_EXPONENT = 0.6
"""What C Darknet's greedynms uses, whatever `beta_nms` says (box_diou in box.c)."""

NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")


def darknet_nms(
    boxes_xywh: Tensor, scores: Tensor, *, iou: float, kind: str = "default", beta: float = GREEDY_EXPONENT
) -> Tensor:
    """Scores [B, K] with a 0 wherever a better box of the same class suppresses the box; 0 is no candidate.

    Suppressed is what has IoU > iou (default, cornersnms), IoU - (d/c)^0.6 > iou (greedynms) or
    IoU - (d/c)^beta > iou (diounms); of equal scores the earlier box wins. boxes_xywh [B, 4] are centres and
    sizes as fractions of the image: the distance term, unlike the IoU, changes when one axis is stretched.
    """
    assert kind in NMS_KINDS, kind
    exponent = {"greedynms": GREEDY_EXPONENT, "diounms": beta}.get(kind)
    boxes = scores.ne(0).any(dim=1).nonzero()[:, 0]
    candidates = _sort_candidates(scores[boxes], scores[boxes] != 0)
    overlaps = PairwiseOverlaps(boxes_xywh[boxes], iou=iou, exponent=exponent)
    kept = candidates.select(_greedy_nms(candidates, overlaps=overlaps))
    left = torch.zeros_like(scores)
    left[boxes[kept.boxes], kept.classes] = kept.scores
    return left


class YolorNmsRules(NamedTuple):
    """What YOLOR's suppression goes by; `classes` names the only ones to report."""

    conf: float
    iou: float
    multi_label: bool = True
    agnostic: bool = False
    max_det: int = 300
    classes: tuple[int, ...] | None = None


class NmsResult(NamedTuple):
    """What is left of one image, best first: boxes_xyxy [M, 4], scores [M], classes [M] int64."""

    boxes_xyxy: Tensor
    scores: Tensor
    classes: Tensor


def yolor_nms(boxes_xywh: Tensor, scores: Tensor, *, objectness: Tensor, rules: YolorNmsRules) -> NmsResult:
    """The detections of one image: boxes_xywh [B, 4], scores [B, K] not yet multiplied by objectness [B].

    A box counts if its objectness and then objectness x score exceed `conf`: with `multi_label` once for
    every class, else for its best. Suppressed is what has IoU > iou with a better box of its class (of any
    class if `agnostic`). Classes are kept apart exactly. The usual trick, moving each class by 4096 pixels,
    lets classes meet on larger inputs and rounds coordinates to 1/32 pixel at class 79; elsewhere it finds
    the same.
    """
    likely = (objectness > rules.conf).nonzero()[:, 0]
    boxes, scores = boxes_xywh[likely], scores[likely] * objectness[likely, None]
    candidates = _sort_candidates(scores, _candidate_mask(scores, rules))
    overlaps = PairwiseOverlaps(boxes, iou=rules.iou)
    groups = torch.zeros_like(candidates.classes) if rules.agnostic else candidates.classes
    kept = candidates.select(
        _greedy_nms(candidates._replace(classes=groups), overlaps=overlaps, most=rules.max_det)
    )
    return NmsResult(to_xyxy(boxes[kept.boxes]), kept.scores, kept.classes)


def _candidate_mask(scores: Tensor, rules: YolorNmsRules) -> Tensor:
    """[B, K] True for the pairs that count."""
    wanted = scores > rules.conf
    numbers = torch.arange(scores.shape[1], device=scores.device)
    if not rules.multi_label:
        wanted &= numbers == scores.argmax(1, keepdim=True)
    if rules.classes is not None:
        wanted &= torch.isin(numbers, torch.tensor(rules.classes, dtype=torch.long, device=scores.device))
    return wanted


class _Candidates(NamedTuple):
    """Box number, class and score, [C] each, best first; equal scores in the order of the boxes."""

    boxes: Tensor
    classes: Tensor
    scores: Tensor

    def select(self, positions: list[int]) -> _Candidates:
        """Only those at the positions."""
        index = torch.tensor(positions, dtype=torch.long, device=self.boxes.device)
        return _Candidates(*(values[index] for values in self))


def _sort_candidates(scores: Tensor, wanted: Tensor) -> _Candidates:
    """The wanted pairs [B, K] with their scores [B, K], best first."""
    box, label = wanted.nonzero(as_tuple=True)
    order = scores[wanted].argsort(descending=True, stable=True)
    return _Candidates(box[order], label[order], scores[wanted][order])


class PairwiseOverlaps:
    """Which boxes a box lets live: worked out in blocks when first asked for, then kept for other classes."""

    BLOCK = 16384
    """Pairs at a time: enough to hide the cost of a call, few enough to stay in the cache."""

    def __init__(self, boxes_xywh: Tensor, *, iou: float, exponent: float | None = None) -> None:
        """boxes_xywh [B, 4]; with an exponent the distance term is taken off the IoU first."""
        self._boxes_xyxy = to_xyxy(boxes_xywh.detach().to("cpu", torch.float64))
        self._iou = iou
        self._exponent = exponent
        self._rows = max(1, self.BLOCK // max(1, len(boxes_xywh)))
        self._blocks: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._boxes_xyxy)

    def keep_mask(self, box: int) -> np.ndarray:
        """[B] True where `box` does not suppress; an overlap that is not a number never does."""
        block, row = divmod(box, self._rows)
        if block not in self._blocks:
            first = block * self._rows
            self._blocks[block] = (~self._overlap_mask(self._boxes_xyxy[first : first + self._rows])).numpy()
        mask: np.ndarray = self._blocks[block][row]
        return mask

    def _overlap_mask(self, some_xyxy: Tensor) -> Tensor:
        """[A, B] True for the boxes that go when one of [A, 4] stays."""
        overlap = iou_matrix(some_xyxy, self._boxes_xyxy)
        suppressed = overlap > self._iou
        if self._exponent is not None:  # the term only lowers the overlap, so the others need no second look
            one, other = near = suppressed.nonzero(as_tuple=True)
            term = distance_term(some_xyxy[one], self._boxes_xyxy[other], exponent=self._exponent)
            suppressed[near] = overlap[near] - term > self._iou
        return suppressed


def _greedy_nms(candidates: _Candidates, *, overlaps: PairwiseOverlaps, most: int | None = None) -> list[int]:
    """Positions of the candidates that no better one of their class suppresses; stops after `most`."""
    alive: dict[int, bytearray] = {}  # a byte for each box of a class; quicker to read than an array
    kept: list[int] = []
    pairs = zip(candidates.boxes.tolist(), candidates.classes.tolist(), strict=True)
    for position, (box, label) in enumerate(pairs):
        if len(kept) == most:
            break
        if label not in alive:
            alive[label] = bytearray(b"\1") * len(overlaps)
        if alive[label][box]:
            kept.append(position)
            everyone = np.frombuffer(alive[label], dtype=bool)
            np.logical_and(everyone, overlaps.keep_mask(box), out=everyone)
    return kept
