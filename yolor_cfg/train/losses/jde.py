"""The loss of JDE (Zhongdao/Towards-Realtime-MOT, models.py): boxes, two scores, identities.

Legend: N images, A anchors, H W cells, G objects of one image, E numbers of a vector, I identities.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolor_cfg.ops.heads import YoloHead, cell_corners
from yolor_cfg.train.losses.base import HeadKeys, HeadLoss, HeadOutput, LossInputs, LossRules

JdeOutput = HeadOutput[HeadKeys, YoloHead]
FOREGROUND, BACKGROUND = 0.5, 0.4
"""An anchor that overlaps an object more than the first learns it; one that does not reach the second learns
that there is none."""
TINY = 1e-16
NOBODY = -1


class Assignment(NamedTuple):
    """What each anchor learns: `confidence` 1, 0 or -1 (ignored) and `identity` (-1: none), [N, A, H, W], and
    the raw values of its box [N, A, H, W, 4]."""

    confidence: Tensor
    boxes: Tensor
    identity: Tensor


class JdeParts(NamedTuple):
    """Sums of the losses of a head in this process, not weighted, and what each is to be divided by: anchors
    in the foreground times 4, anchors that are not ignored, cells with a known identity."""

    box: Tensor
    confidence: Tensor
    identity: Tensor
    counts: Tensor
    foreground: int


def losses(inputs: LossInputs[HeadKeys, YoloHead]) -> list[HeadLoss]:
    """The loss of each head; the means are over the whole batch of all processes."""
    return [_weigh(head, head_parts(head, inputs), inputs) for head in inputs.heads]


def _weigh(head: JdeOutput, parts: JdeParts, inputs: LossInputs[HeadKeys, YoloHead]) -> HeadLoss:
    weights = None if head.learner is None else head.learner.weights
    scale = inputs.images / inputs.rules.all_reduce(parts.counts).clamp(min=1)
    sums = {"s_r": parts.box, "s_c": parts.confidence, "s_id": parts.identity}
    box, confidence, identity = (
        loss * own if weights is None else weights.weigh(name, loss * own, len(head.raw))
        for (name, loss), own in zip(sums.items(), scale, strict=True)
    )
    nothing = head.raw.new_zeros(())
    return HeadLoss(box, confidence, nothing, parts.foreground, identity=identity)


def head_parts(head: JdeOutput, inputs: LossInputs[HeadKeys, YoloHead]) -> JdeParts:
    """The parts of the loss of a head."""
    raw = head.layer.box_map(head.raw)  # [N, A, H, W, 6]
    wanted = assign(raw, head.layer, targets=inputs.targets, identities=inputs.identities)
    mine, known = wanted.confidence > 0, wanted.confidence >= 0
    box = F.smooth_l1_loss(raw[mine][:, :4], wanted.boxes[mine], reduction="sum")
    confidence = F.cross_entropy(raw[known][:, 4:], wanted.confidence[known], reduction="sum")
    identity, cells = _identity_loss(head, wanted, inputs.rules)
    counts = raw.new_tensor([4.0 * int(mine.sum()), float(known.sum()), float(cells)])
    return JdeParts(box, confidence, identity, counts, int(mine.sum()))


def assign(raw: Tensor, layer: YoloHead, *, targets: Tensor, identities: Tensor | None) -> Assignment:
    """What each anchor learns: of the object that it overlaps most, the first of several."""
    anchors = anchor_boxes(raw, layer)  # [A, H, W, 4]
    who = targets.new_full((len(targets),), NOBODY) if identities is None else identities
    images = [_assign_image(anchors, targets[mine], who[mine]) for mine in _split_targets(targets, len(raw))]
    return Assignment(*(torch.stack(parts) for parts in zip(*images, strict=True)))


def _split_targets(targets: Tensor, images: int) -> list[Tensor]:
    return [targets[:, 0] == number for number in range(images)]


def anchor_boxes(raw: Tensor, layer: YoloHead) -> Tensor:
    """The anchors [A, H, W, 4] in cells: centres at the corners of the cells, no half cell."""
    sizes = raw.new_tensor(layer.grid.anchors) / raw.new_tensor(layer.grid.stride)
    corners = cell_corners(raw)
    shape = (len(sizes), *corners.shape)
    return torch.cat([corners.expand(shape), sizes[:, None, None].expand(shape)], dim=-1)


def _assign_image(anchors: Tensor, targets: Tensor, who: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    height, width = anchors.shape[1:3]
    shape = anchors.shape[:3]
    if not len(targets):
        nothing = torch.zeros(shape, dtype=torch.int64, device=anchors.device)
        return nothing, torch.zeros_like(anchors), nothing + NOBODY
    truth = targets[:, 2:].to(anchors) * anchors.new_tensor([width, height] * 2)  # [G, 4]
    limits = truth.new_tensor([width - 1, height - 1])
    truth = torch.cat([torch.minimum(truth[:, :2].clamp(min=0), limits), truth[:, 2:]], dim=1)
    overlap, best = pair_overlaps(anchors.flatten(0, 2), truth).max(dim=1)
    overlap, best = overlap.view(shape), best.view(shape)
    confidence = (overlap > FOREGROUND).long()
    confidence[(overlap > BACKGROUND) & (overlap < FOREGROUND)] = NOBODY
    theirs = truth[best]
    centre = (theirs[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    boxes = torch.cat([centre, (theirs[..., 2:] / anchors[..., 2:]).log()], dim=-1)
    identity = torch.where(confidence > 0, who.long()[best], NOBODY)
    return confidence, boxes, identity


def pair_overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """The IoU of boxes [P, 4] and others [G, 4] (centre, size): [P, G]."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    low2, high2 = others[:, :2] - others[:, 2:] / 2, others[:, :2] + others[:, 2:] / 2
    shared = torch.minimum(high[:, None], high2) - torch.maximum(low[:, None], low2)
    inside = shared.clamp(min=0).prod(-1)
    areas = (high - low).prod(-1)[:, None] + (high2 - low2).prod(-1)
    return inside / (areas - inside + TINY)


def _identity_loss(head: JdeOutput, wanted: Assignment, rules: LossRules) -> tuple[Tensor, int]:
    """The cross entropy over cells with an anchor in the foreground, and how many of them know an identity:
    the largest of their anchors. As in JDE a single cell does not count; where all identities are unknown
    JDE's mean is NaN, and here there is no loss."""
    cells = (wanted.confidence > 0).any(dim=1)  # [N, H, W]
    who = wanted.identity.amax(dim=1)[cells]
    classifier = None if head.learner is None else head.learner.classifier
    count = rules.all_reduce(who.new_tensor([len(who)]).double())[0]
    if classifier is None or count <= 1:
        return head.raw.new_zeros(()), 0
    vectors = head.layer.cell_vectors(head.raw).permute(0, 2, 3, 1)[cells]
    logits = classify(vectors, classifier)
    loss = F.cross_entropy(logits, who, ignore_index=NOBODY, reduction="sum")
    return loss, int((who >= 0).sum())


def classify(vectors: Tensor, classifier: nn.Linear) -> Tensor:
    """The logits [M, I] of the identities of vectors [M, E] of any length."""
    scale = identity_scale(classifier.out_features)
    return F.linear(scale * F.normalize(vectors), classifier.weight, classifier.bias)


def identity_scale(identities: int) -> float:
    """The length that vectors have when they are classified: sqrt 2 times ln(I - 1), 1 for one identity."""
    return math.sqrt(2) * math.log(identities - 1) if identities > 1 else 1.0
