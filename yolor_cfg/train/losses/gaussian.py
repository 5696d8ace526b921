"""C Darknet's loss for [Gaussian_yolo]: like [yolo]'s, but each number of a box has a learned deviation.

Legend: P = N*A*H*W predictions, R rows, K classes.

With `iou_loss=mse` the box loss is the negative log density of a normal distribution. C Darknet
differentiates it with respect to the activated values and adds the result to the raw map's gradient without
the derivative of the logistic; so do the gradients here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from yolor_cfg.ops.heads import GaussianHead, scale_xy
from yolor_cfg.ops.iou_losses import OVERLAPS
from yolor_cfg.sections.heads import GaussianYoloSection
from yolor_cfg.train.losses.assign import Assignments, ClassWrites, class_multipliers, merge_class_writes
from yolor_cfg.train.losses.base import HeadLoss, HeadOutput, LossInputs, attach_gradient, last_occurrences
from yolor_cfg.train.losses.yolo import (
    BoxTargets,
    ObjectnessTargets,
    YoloAssignment,
    assign_targets,
    background_objectness,
    clip_deltas,
    collect_class_writes,
    combine_losses,
    cross_entropy,
    inverse_class_counts,
    slopes,
    spare_unlabeled,
)

GaussianOutput = HeadOutput[GaussianYoloSection, GaussianHead]
LEAST_DEVIATION = 0.3  # added in the factor of the density, not in its exponent
EPS = 1e-9
BOX = 8  # x, its deviation, y, its deviation, w, h likewise; then objectness and classes


def losses(inputs: LossInputs[GaussianYoloSection, GaussianHead]) -> list[HeadLoss]:
    """The loss of each head, computed separately."""
    return [_compute_head_loss(head, inputs.targets) for head in inputs.heads]


def _compute_head_loss(head: GaussianOutput, targets: Tensor) -> HeadLoss:
    section, values = head.section, head.raw.flatten(0, 3)  # [P, 9 + K]
    with torch.no_grad():
        outputs = values.sigmoid()
        scores = outputs[:, BOX + 1 :]
        plan = assign_targets(head, targets.to(values.dtype), scores, corner=head.layer.corner)
        confidence = _assign_objectness(section, plan)
        classes = merge_class_writes(section, scores, _collect_class_writes(section, plan), focal=False)
        confidence, classes = spare_unlabeled(
            head, outputs[:, BOX], scores, confidence=confidence, classes=classes
        )
        share = inverse_class_counts(scores, classes)
    boxes = Assignments.cat(plan.early, plan.rows)
    box = _box_loss(head, values[boxes.prediction, :BOX], plan=plan, boxes=boxes, share=share)
    return combine_losses(head, box, confidence=confidence, classes=classes, entropy=cross_entropy)


def _collect_class_writes(section: GaussianYoloSection, plan: YoloAssignment) -> ClassWrites:
    """As for [yolo]; with `objectness_smooth`, ignored predictions learn their class before all others."""
    writes = collect_class_writes(section, plan)
    if not section.objectness_smooth:
        return writes
    place = plan.ignore_mask.nonzero()[:, 0]
    classes = plan.truths.classes[plan.best.truth[place]]
    aim = writes.target.new_full(place.shape, 1 - section.label_smooth_eps / 2)
    before = ClassWrites(place, classes, aim, torch.zeros_like(place, dtype=torch.bool))
    return ClassWrites(*(torch.cat(both) for both in zip(before, writes, strict=True)))


def _assign_objectness(section: GaussianYoloSection, plan: YoloAssignment) -> ObjectnessTargets:
    wanted, weight, count = background_objectness(section, plan, target=plan.best.overlap.square())
    last = last_occurrences(plan.rows.prediction)
    place, truth = plan.rows.prediction[last], plan.rows.truth[last]
    factors = class_multipliers(section, weight)[plan.truths.classes[truth]]
    wanted[place], weight[place] = 1.0, factors * section.obj_normalizer
    return ObjectnessTargets(wanted, weight, count)


def _box_loss(
    head: GaussianOutput, values: Tensor, *, plan: YoloAssignment, boxes: Assignments, share: Tensor
) -> Tensor:
    """The box loss of values [R, 8], with C Darknet's deltas as its gradient."""
    section = head.section
    with torch.no_grad():
        value, delta, of_deviation = _densities(head, values, plan=plan, boxes=boxes)
        factors = class_multipliers(section, values)[plan.truths.classes[boxes.truth], None]
        factor = factors * section.iou_normalizer
        value = value * (factor if section.iou_loss == "mse" else section.uc_normalizer)
        if section.iou_loss != "mse":
            pred, truth = plan.boxes[boxes.prediction], plan.truths.boxes[boxes.truth]
            slope = slopes(pred, truth, section.iou_loss)
            delta = _overlap_deltas(values, slope, corner=head.layer.corner)
            value = value + (1 - OVERLAPS[section.iou_loss](pred, truth))[:, None] * factor / 4
        both = torch.stack([delta * factor, of_deviation * section.uc_normalizer], dim=-1).flatten(1)
        part = share[boxes.prediction, None]
        both = clip_deltas(both, section.max_delta) * part
    return attach_gradient((value * part).sum(), values, -both)


def _densities(
    head: GaussianOutput, values: Tensor, *, plan: YoloAssignment, boxes: Assignments
) -> tuple[Tensor, Tensor, Tensor]:
    """For x, y, w, h of each row [R, 4]: the negative log density, and C Darknet's deltas for the number
    and for its deviation."""
    aims = BoxTargets.from_assignments(head, plan, boxes, corner=head.layer.corner)
    centre = scale_xy(values[:, 0:4:2].sigmoid(), head.section.scale_x_y)
    off = torch.cat([aims.center - centre, aims.size - values[:, 4:8:2]], dim=1)
    deviation = values[:, 1:8:2].sigmoid().clamp(min=torch.finfo(values.dtype).tiny)
    wide = deviation + LEAST_DEVIATION
    density = (-(off / deviation).square() / 2).exp() / (math.sqrt(2 * math.pi) * wide)
    truth = plan.truths.boxes[boxes.truth]
    scale = (2 - truth[:, 2] * truth[:, 3])[:, None] / 2
    pull = scale * density / (density + EPS)
    z = off / deviation
    return -scale * (density + EPS).log(), pull * z / deviation, pull * (z.square() / deviation - 1 / wide)


def _overlap_deltas(values: Tensor, slope: Tensor, *, corner: int) -> Tensor:
    """The deltas of x, y, w, h [R, 4], where x, y may be a corner."""
    centre, size = slope[:, :2], slope[:, 2:]
    return torch.cat([centre - corner * size / 2, size * values[:, 4:8:2].exp()], dim=1)
