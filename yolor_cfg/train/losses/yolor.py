"""YOLOR's loss: CIoU for boxes, objectness with the IoU as its target, and classes.

Legend: N images, A anchors, H W cells, V = 5 + K values, M matches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yolor_cfg.ops.iou_losses import ciou
from yolor_cfg.train.losses.base import (
    HeadKeys,
    HeadLoss,
    HeadOutput,
    LossInputs,
    LossRules,
    YoloLayer,
    last_occurrences,
)
from yolor_cfg.train.targets import Matches, match_targets

GAINS_BY_CLASSES = 80  # the class gain is meant for this many classes
FOCAL_ALPHA = 0.25
MANY_LEVELS, MANY_LEVELS_GAIN = 4, 1.4
MOST_ANCHORS = 1e3  # a side of a predicted box, in sides of its anchor: exponential sizes overflow


def balance(levels: int) -> tuple[float, ...]:
    """The objectness weights of the heads, in cfg order; they depend on the number of heads."""
    weights = (4.0, 1.0, 0.5, 0.4, 0.1) if levels == 5 else (4.0, 1.0, 0.4, 0.1)
    return (weights + (weights[-1],) * levels)[:levels]


def losses(inputs: LossInputs[HeadKeys, YoloLayer]) -> list[HeadLoss]:
    """The loss of each head; the box and class losses are means over its matches in the whole batch."""
    found = [match_head(head, inputs) for head in inputs.heads]
    counts = torch.tensor([float(len(matches.image)) for matches in found], device=inputs.targets.device)
    divisors = inputs.rules.all_reduce(counts).clamp(min=1) / inputs.images
    weights = balance(len(found))
    parts = zip(inputs.heads, found, divisors, weights, strict=True)
    gain = 3 / len(found)
    many = MANY_LEVELS_GAIN if len(found) >= MANY_LEVELS else 1.0
    rules = inputs.rules._replace(box=inputs.rules.box * gain, classes=inputs.rules.classes * gain)
    return [
        _compute_head_loss(
            head,
            matches,
            divisor,
            rules=rules._replace(objectness=inputs.rules.objectness * gain * many * weight),
        )
        for head, matches, divisor, weight in parts
    ]


def match_head(head: HeadOutput[HeadKeys, YoloLayer], inputs: LossInputs[HeadKeys, YoloLayer]) -> Matches:
    """Which predictions of a head learn which targets."""
    targets = inputs.targets.to(head.raw.dtype)
    anchors = targets.new_tensor(head.layer.grid.anchors) / targets.new_tensor(head.layer.grid.stride)
    height, width = head.raw.shape[2:4]
    return match_targets(
        targets,
        anchors,
        (height, width),
        ratio=inputs.rules.anchor_ratio,
        has_neighbours=head.layer.reaches_neighbours,
    )


def _compute_head_loss(
    head: HeadOutput[HeadKeys, YoloLayer], matches: Matches, divisor: Tensor, *, rules: LossRules
) -> HeadLoss:
    """`divisor` is the number of matches per image of the batch."""
    raw, classes = head.raw, head.raw.shape[-1] - 5
    values = raw[matches.indices]  # [M, V]
    overlap = ciou(_predicted_boxes(head, matches, values), matches.boxes)
    box = (1 - overlap).sum() / divisor * rules.box
    objects = _objectness_targets(raw, matches, overlap, rules=rules)
    objectness = (
        _cross_entropy(
            raw[..., 4],
            objects,
            rules=rules,
            weight=rules.object_weight,
            parts=_cell_weights(head, objects),
        )
        / raw[..., 4].shape[1:].numel()
        * rules.objectness
    )
    wanted = torch.full_like(values[:, 5:], rules.label_smoothing / 2)
    wanted.scatter_(1, matches.classes[:, None], 1 - rules.label_smoothing / 2)
    mask = None
    if head.labeling is not None:
        mask = head.labeling.class_mask(wanted > rules.label_smoothing / 2, values[:, 5:].sigmoid())
    entropy = _cross_entropy(values[:, 5:], wanted, rules=rules, weight=rules.class_weight, parts=mask)
    gain = rules.classes / GAINS_BY_CLASSES if classes > 1 else 0.0  # the mean over classes, times classes
    return HeadLoss(box, objectness, entropy / divisor * gain, len(matches.image))


def _predicted_boxes(head: HeadOutput[HeadKeys, YoloLayer], matches: Matches, values: Tensor) -> Tensor:
    """Predicted boxes [M, 4]: centre relative to the cell, and size; in cells."""
    anchors = values.new_tensor(head.layer.grid.anchors) / values.new_tensor(head.layer.grid.stride)
    centre, factors = head.layer.box_parts(values)
    return torch.cat([centre, factors.clamp(max=MOST_ANCHORS) * anchors[matches.anchor]], dim=1)


def _objectness_targets(raw: Tensor, matches: Matches, overlap: Tensor, *, rules: LossRules) -> Tensor:
    """The objectness target of each cell [N, A, H, W]: the overlap of its last match, else 0.

    Only that match is written (found by a stable sort), so the result is the same on any device.
    """
    wanted = torch.zeros_like(raw[..., 4])
    last = last_occurrences(matches.flat_index(raw.shape))
    value = 1 - rules.iou_ratio + rules.iou_ratio * overlap.detach().clamp(min=0)
    wanted[tuple(index[last] for index in matches.indices)] = value[last]
    return wanted


def _cell_weights(head: HeadOutput[HeadKeys, YoloLayer], wanted: Tensor) -> Tensor | None:
    """How much each cell [N, A, H, W] counts; None: all do in full."""
    if head.labeling is None:
        return None
    values = head.raw.detach().sigmoid()
    return torch.where(wanted > 0, 1, head.labeling.cell_weights(values[..., 4], values[..., 5:]))


def _cross_entropy(
    logits: Tensor, wanted: Tensor, *, rules: LossRules, weight: float, parts: Tensor | None = None
) -> Tensor:
    """The sum of binary cross entropies, each times its number in `parts`, if there are any; focal loss
    (arXiv 1708.02002) if `focal_gamma` is above 0."""
    entropy = F.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=logits.new_tensor(weight), reduction="none"
    )
    if rules.focal_gamma > 0:
        probability = logits.sigmoid()
        right = wanted * probability + (1 - wanted) * (1 - probability)
        alpha = wanted * FOCAL_ALPHA + (1 - wanted) * (1 - FOCAL_ALPHA)
        entropy = entropy * alpha * (1 - right) ** rules.focal_gamma
    return entropy.sum() if parts is None else (entropy * parts).sum()
