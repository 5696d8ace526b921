"""C Darknet's loss for [yolo].

Legend: N images, A anchors, H W cells, P = N*A*H*W predictions, R rows, K classes.

C Darknet has no loss, only hand-written deltas, which it adds to the gradient of the map it reads. The loss
here is a number whose gradient is minus those deltas. Objectness, classes and `iou_loss=mse` are true losses
(cross entropies; squared errors with new_coords, where the logistic belongs to the convolution before;
overlaps used as objectness targets, and focal factors, are constants). The delta of an IoU loss is not the
gradient of anything: its value here is 1 - overlap, its gradient C Darknet's (ops.iou_losses.darknet_slopes),
times exp of the raw size without new_coords, and without the derivatives of the logistic of x, y, of strides
and of anchors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from yolor_cfg.ops.heads import YoloHead
from yolor_cfg.ops.iou_losses import OVERLAPS, darknet_slopes
from yolor_cfg.sections.heads import AnchorHeadSection
from yolor_cfg.sections.yolo import BoxHeadSection
from yolor_cfg.train.losses.assign import (
    LIKELY,
    AnchorOutput,
    Assignments,
    BestTruth,
    ClassTargets,
    ClassWrites,
    Truths,
    assign_anchors,
    class_multipliers,
    merge_class_writes,
    net_size,
    predicted_boxes,
)
from yolor_cfg.train.losses.base import (
    DeltaSelector,
    HeadLoss,
    HeadOutput,
    LossInputs,
    attach_gradient,
    first_occurrences,
    last_occurrences,
)

YoloOutput = HeadOutput[BoxHeadSection, YoloHead]


class ObjectnessTargets(NamedTuple):
    """The objectness targets [P], their weights [P], and the number of assigned objects."""

    target: Tensor
    weight: Tensor
    matches: int


class YoloAssignment(NamedTuple):
    """All assignments that precede the loss: predicted `boxes` [P, 4] as fractions, the `best` object of
    each, the `early` rows (best overlap above `truth_thresh`) and the `rows` of the objects' anchors."""

    truths: Truths
    boxes: Tensor
    best: BestTruth
    ignore_mask: Tensor  # [P] bool: above ignore_thresh, with a likely class
    early: Assignments
    rows: Assignments


def losses(inputs: LossInputs[BoxHeadSection, YoloHead]) -> list[HeadLoss]:
    """The loss of each head, computed separately."""
    rejection = inputs.rules.rejection
    if rejection is None:
        return [_compute_head_loss(head, inputs.targets) for head in inputs.heads]
    return [_reject_deltas(head, inputs.targets, rejection) for head in inputs.heads]


def _reject_deltas(head: YoloOutput, targets: Tensor, rejection: DeltaSelector) -> HeadLoss:
    """The loss whose gradient has no deltas but those that stay; its value is still that of all."""
    raw = head.raw.detach().requires_grad_()
    scale, plain = head.section.delta_normalizer, head.section.replace_values(delta_normalizer=1.0)
    with torch.enable_grad():
        loss = _compute_head_loss(head._replace(section=plain, raw=raw), targets)
        (gradient,) = torch.autograd.grad(loss.total, raw)
    stays = rejection.select(-gradient, values=raw.shape[-1])
    gradient = torch.where(stays, gradient, 0) * scale
    box, objectness, classes = (part.detach() * scale for part in loss[:3])
    return HeadLoss(attach_gradient(box, head.raw, gradient), objectness, classes, loss.matches)


def _compute_head_loss(head: YoloOutput, targets: Tensor) -> HeadLoss:
    section = head.section
    values = head.raw.flatten(0, 3)  # [P, 5 + K]
    with torch.no_grad():
        outputs = values if section.new_coords else values.sigmoid()
        plan = assign_targets(head, targets.to(values.dtype), outputs[:, 5:])
        confidence = _assign_objectness(section, outputs[:, 4], plan)
        classes = merge_class_writes(
            section, outputs[:, 5:], collect_class_writes(section, plan), focal=section.focal_loss
        )
        confidence, classes = spare_unlabeled(
            head, outputs[:, 4], outputs[:, 5:], confidence=confidence, classes=classes
        )
        share = _delta_scale(section, outputs, plan, confidence=confidence, classes=classes)
    boxes = Assignments.cat(plan.early, plan.rows)
    if section.learns_as_first:
        boxes = boxes.last_writes()
    loss = _mse_loss if section.iou_loss == "mse" else _iou_loss
    box = loss(head, values[boxes.prediction, :4], plan=plan, boxes=boxes, share=share)
    entropy = half_squared_error if section.new_coords else cross_entropy
    return combine_losses(head, box, confidence=confidence, classes=classes, entropy=entropy)


def spare_unlabeled(
    head: AnchorOutput,
    objectness: Tensor,
    scores: Tensor,
    *,
    confidence: ObjectnessTargets,
    classes: ClassTargets,
) -> tuple[ObjectnessTargets, ClassTargets]:
    """The targets without what is not known of images that are not labelled for all classes."""
    if head.labeling is None:
        return confidence, classes
    spared = head.labeling.cell_weights(objectness, scores)
    weight = torch.where(confidence.target > 0, confidence.weight, confidence.weight * spared)
    own = classes.target > head.section.label_smooth_eps / 2
    mask = head.labeling.class_mask(own, scores[classes.prediction])
    return confidence._replace(weight=weight), classes._replace(weight=classes.weight * mask)


def combine_losses(
    head: AnchorOutput,
    box: Tensor,
    *,
    confidence: ObjectnessTargets,
    classes: ClassTargets,
    entropy: Callable[[Tensor, Tensor], Tensor],
) -> HeadLoss:
    """The loss of a head from its box loss and from the targets of objectness and classes."""
    values, first = head.raw.flatten(0, 3), head.section.box_values
    objectness = (entropy(values[:, first - 1], confidence.target) * confidence.weight).sum()
    of_classes = (entropy(values[classes.prediction, first:], classes.target) * classes.weight).sum()
    scale = head.section.delta_normalizer
    return HeadLoss(box * scale, objectness * scale, of_classes * scale, confidence.matches)


def assign_targets(head: AnchorOutput, targets: Tensor, scores: Tensor, *, corner: int = 0) -> YoloAssignment:
    """Assign objects to predictions; scores [P, K] are the class probabilities."""
    section = head.section
    truths = Truths.from_targets(targets, section)
    boxes = predicted_boxes(head)
    best = BestTruth.from_boxes(boxes, truths)
    ignored = best.overlap > section.ignore_thresh
    if not section.learns_as_first:
        ignored &= (scores > LIKELY).any(1)
    early = (best.overlap > section.truth_thresh).nonzero()[:, 0]
    rows = assign_anchors(head, truths, corner=corner)
    return YoloAssignment(
        truths, boxes.flatten(0, 1), best, ignored, Assignments(early, best.truth[early]), rows
    )


def collect_class_writes(section: AnchorHeadSection, plan: YoloAssignment) -> ClassWrites:
    """The class writes of the rows; with `objectness_smooth` early rows aim at their overlap squared."""
    rows = Assignments.cat(plan.early, plan.rows)
    smoothing = 0 if section.learns_plain_classes else section.label_smooth_eps
    aim = plan.best.overlap.new_full(rows.prediction.shape, 1 - smoothing / 2)
    again = torch.zeros_like(aim, dtype=torch.bool)
    if section.objectness_smooth:
        early = len(plan.early.prediction)
        aim[:early] = plan.best.overlap[plan.early.prediction].square()
        again[:early] = True
    return ClassWrites(rows.prediction, plan.truths.classes[rows.truth], aim, again)


def background_objectness(
    section: AnchorHeadSection, plan: YoloAssignment, *, target: Tensor
) -> ObjectnessTargets:
    """The objectness targets before those of the objects' own predictions: 0 by default; for ignored
    predictions `target` [P] with `objectness_smooth`, else weight 0; for early rows 1, or with
    `objectness_smooth` the overlap squared."""
    overlap, smooth = plan.best.overlap, section.objectness_smooth
    wanted, weight = torch.zeros_like(overlap), torch.full_like(overlap, section.obj_normalizer)
    if smooth:
        wanted = torch.where(plan.ignore_mask, target, wanted)
    else:
        weight = torch.where(plan.ignore_mask, 0, weight)
    early = plan.early.prediction
    wanted[early] = overlap[early].square() if smooth else 1.0
    weight[early] = section.obj_normalizer
    return ObjectnessTargets(wanted, weight, len(plan.rows.prediction))


def _assign_objectness(
    section: AnchorHeadSection, objectness: Tensor, plan: YoloAssignment
) -> ObjectnessTargets:
    wanted, weight, count = background_objectness(section, plan, target=plan.best.overlap)
    rows, smooth = plan.rows, section.objectness_smooth
    chosen = first_occurrences(rows.prediction) if smooth else last_occurrences(rows.prediction)
    place, truth = rows.prediction[chosen], rows.truth[chosen]
    factor = class_multipliers(section, objectness)[plan.truths.classes[truth]] * section.obj_normalizer
    if smooth:  # C Darknet skips predictions that already have a delta
        untouched = weight[place] * (wanted[place] - objectness[place]) == 0
        place, factor = place[untouched], factor[untouched]
    wanted[place], weight[place] = 1.0, factor
    return ObjectnessTargets(wanted, weight, count)


def _delta_scale(
    section: AnchorHeadSection,
    outputs: Tensor,
    plan: YoloAssignment,
    *,
    confidence: ObjectnessTargets,
    classes: ClassTargets,
) -> Tensor:
    """The factor of each prediction [P], one over its number of positive classes: C Darknet averages like
    this if `iou_thresh` lets one prediction have several objects."""
    if section.iou_thresh >= 1:
        return torch.ones_like(plan.best.overlap)
    touched = confidence.weight * (confidence.target - outputs[:, 4]) != 0
    return torch.where(touched, inverse_class_counts(outputs[:, 5:], classes), 1)


def inverse_class_counts(scores: Tensor, classes: ClassTargets) -> Tensor:
    """One over the number of classes with a positive delta [P]; 1 if there are none."""
    raised = ((classes.target - scores[classes.prediction]) * classes.weight > 0).sum(1)
    share = torch.ones_like(scores[:, 0])
    share[classes.prediction] = 1 / raised.clamp(min=1).to(share.dtype)
    return share


def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross entropies; the gradient is probability - wanted."""
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def half_squared_error(values: Tensor, wanted: Tensor) -> Tensor:
    """Half squared errors; the gradient is value - wanted."""
    return (values - wanted).square() / 2


def row_weights(
    section: AnchorHeadSection, plan: YoloAssignment, boxes: Assignments, *, share: Tensor
) -> Tensor:
    """The weight of the box of each row [R]."""
    factors = class_multipliers(section, share)[plan.truths.classes[boxes.truth]]
    weights: Tensor = section.iou_normalizer * factors * share[boxes.prediction]
    return weights


class BoxTargets(NamedTuple):
    """The targets of x, y (in cells, from the corner of the cell) and of w, h (log of the ratio to the
    anchor) of each row, [R, 2] each."""

    center: Tensor
    size: Tensor

    @staticmethod
    def from_assignments(
        head: AnchorOutput, plan: YoloAssignment, boxes: Assignments, *, corner: int = 0
    ) -> BoxTargets:
        """`corner`: x, y are the centre (0), the left top (1) or the right bottom (-1)."""
        _, anchors, height, width = head.raw.shape[:4]
        truth = plan.truths.boxes[boxes.truth]
        point = truth[:, :2] - corner * truth[:, 2:] / 2
        cell = torch.stack([boxes.prediction % width, boxes.prediction // width % height], dim=1)
        slot = boxes.prediction // (width * height) % anchors
        pixels = truth[:, 2:] * net_size(head, truth)
        factor = pixels / pixels.new_tensor(head.layer.grid.anchors)[slot]
        return BoxTargets(point * point.new_tensor([width, height]) - cell, factor.log())


def _mse_loss(
    head: YoloOutput, values: Tensor, *, plan: YoloAssignment, boxes: Assignments, share: Tensor
) -> Tensor:
    """The loss of values [R, 4]. C Darknet's delta is the plain difference, which after a logistic is the
    gradient of a cross entropy (here minus its minimum)."""
    section, spread = head.section, head.section.scale_x_y
    aims = BoxTargets.from_assignments(head, plan, boxes)
    centre = (aims.center + (spread - 1) / 2) / spread  # the target of the logistic
    if section.new_coords:
        of_centre = half_squared_error(values[:, :2], centre) * spread
    else:
        floor = torch.special.entr(centre.clamp(0, 1)) + torch.special.entr((1 - centre).clamp(0, 1))
        of_centre = (cross_entropy(values[:, :2], centre) - floor) * spread
    size = (aims.size / 2).exp() / 2 if section.learns_roots else aims.size
    truth = plan.truths.boxes[boxes.truth]
    weight = 2 - truth[:, 2] * truth[:, 3]
    if not section.learns_as_first:
        weight = weight * row_weights(section, plan, boxes, share=share)
    both = torch.cat([of_centre, half_squared_error(values[:, 2:], size)], dim=1)
    return (both * weight[:, None]).sum()


def _iou_loss(
    head: YoloOutput, values: Tensor, *, plan: YoloAssignment, boxes: Assignments, share: Tensor
) -> Tensor:
    """The loss of values [R, 4]: 1 - overlap; its gradient: C Darknet's deltas, limited by `max_delta`."""
    section = head.section
    pred, truth = plan.boxes[boxes.prediction], plan.truths.boxes[boxes.truth]
    full = row_weights(section, plan, boxes, share=torch.ones_like(share))
    kind = "iou" if section.learns_as_first and section.iou_loss != "giou" else section.iou_loss
    delta = slopes(pred, truth, kind, is_first=section.learns_as_first)
    if section.learns_exponents:
        delta = torch.cat([delta[:, :2], delta[:, 2:] * values.detach()[:, 2:].exp()], dim=1)
    delta = clip_deltas(delta * full[:, None], section.max_delta) * share[boxes.prediction, None]
    overlap = OVERLAPS[kind](pred, truth)
    return attach_gradient(((1 - overlap) * full * share[boxes.prediction]).sum(), values, -delta)


def slopes(pred: Tensor, truth: Tensor, kind: str, *, is_first: bool = False) -> Tensor:
    """C Darknet's IoU deltas [R, 4]; a width or height of 0 counts as that of the whole image."""
    size = torch.where(pred[:, 2:] == 0, 1, pred[:, 2:])
    return darknet_slopes(torch.cat([pred[:, :2], size], dim=1), truth, kind, is_first=is_first)


def clip_deltas(delta: Tensor, most: float) -> Tensor:
    """Deltas clipped to +-most; NaN and infinite ones become 0, as in C Darknet."""
    return torch.where(torch.isfinite(delta), delta, 0).clamp(-most, most)
