"""C Darknet's loss of [yolo]. Legend: N images, A anchors, H W cells, P = N*A*H*W predictions, R rows,
K classes.

C Darknet has no loss but deltas, written by hand, which it adds to the gradient of the map it reads. The loss
here is a number whose gradient is minus those deltas. Objectness, classes and `iou_loss=mse` are true losses
(cross entropies; squared errors behind new_coords, where the logistic belongs to the convolution before;
overlaps that objectness learns, and focal factors, are constants). The delta of an overlap is no gradient of
anything: its value here is 1 - overlap, its gradient C Darknet's (ops.iou_losses.darknet_slopes), times exp
of the raw size without new_coords, and without the logistic of x, y, strides and anchors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from yolor_cfg.ops.iou_losses import OVERLAPS, darknet_slopes
from yolor_cfg.train.losses.assign import (
    LIKELY,
    Best,
    ClassTargets,
    ClassWrites,
    Rows,
    Truths,
    anchor_rows,
    class_targets,
    fractions,
    multipliers,
    net_size,
)
from yolor_cfg.train.losses.base import HeadLoss, HeadOutput, LossInputs, first_of_each, last_of_each, steered


class Confidence(NamedTuple):
    """What objectness learns [P], how much it counts [P], and how many objects taught it."""

    wanted: Tensor
    weight: Tensor
    rows: int


class Plan(NamedTuple):
    """Everything that is decided before a loss is computed: predicted `boxes` [P, 4] as fractions, `best`,
    the `early` rows (best overlap above `truth_thresh`) and the `rows` of the objects' anchors."""

    truths: Truths
    boxes: Tensor
    best: Best
    spared: Tensor  # [P] bool: above ignore_thresh, with a likely class
    early: Rows
    rows: Rows


def losses(inputs: LossInputs) -> list[HeadLoss]:
    """The loss of each head by itself."""
    return [_head_loss(head, inputs.targets) for head in inputs.heads]


def _head_loss(head: HeadOutput, targets: Tensor) -> HeadLoss:
    section = head.section
    values = head.raw.flatten(0, 3)  # [P, 5 + K]
    with torch.no_grad():
        outputs = values if section.new_coords else values.sigmoid()
        plan = planned(head, targets.to(values.dtype), outputs[:, 5:])
        confidence = _confidence(section, outputs[:, 4], plan)
        classes = class_targets(
            section, outputs[:, 5:], class_writes(section, plan), focal=section.focal_loss
        )
        share = _share(section, outputs, plan, confidence=confidence, classes=classes)
    boxes = Rows.joined(plan.early, plan.rows)
    loss = _squares if section.iou_loss == "mse" else _overlaps
    box = loss(head, values[boxes.place, :4], plan=plan, boxes=boxes, share=share)
    entropy = squared if section.new_coords else cross_entropy
    return joined(head, box, confidence=confidence, classes=classes, entropy=entropy)


def joined(
    head: HeadOutput,
    box: Tensor,
    *,
    confidence: Confidence,
    classes: ClassTargets,
    entropy: Callable[[Tensor, Tensor], Tensor],
) -> HeadLoss:
    """The loss of a head from that of its boxes and from what objectness and classes learn."""
    values, first = head.raw.flatten(0, 3), head.section.box_values
    objectness = (entropy(values[:, first - 1], confidence.wanted) * confidence.weight).sum()
    of_classes = (entropy(values[classes.place, first:], classes.wanted) * classes.weight).sum()
    scale = head.section.delta_normalizer
    return HeadLoss(box * scale, objectness * scale, of_classes * scale, confidence.rows)


def planned(head: HeadOutput, targets: Tensor, scores: Tensor, *, corner: int = 0) -> Plan:
    """Decide who learns what; scores [P, K] are the class probabilities."""
    section = head.section
    truths = Truths.of(targets, section)
    boxes = fractions(head)
    best = Best.of(boxes, truths)
    spared = (scores > LIKELY).any(1) & (best.overlap > section.ignore_thresh)
    early = (best.overlap > section.truth_thresh).nonzero()[:, 0]
    rows = anchor_rows(head, truths, corner=corner)
    return Plan(truths, boxes.flatten(0, 1), best, spared, Rows(early, best.truth[early]), rows)


def class_writes(section: Any, plan: Plan) -> ClassWrites:
    """The classes of the rows; `objectness_smooth` aims early ones at the square of their overlap."""
    rows = Rows.joined(plan.early, plan.rows)
    aim = plan.best.overlap.new_full(rows.place.shape, 1 - section.label_smooth_eps / 2)
    again = torch.zeros_like(aim, dtype=torch.bool)
    if section.objectness_smooth:
        early = len(plan.early.place)
        aim[:early] = plan.best.overlap[plan.early.place].square()
        again[:early] = True
    return ClassWrites(rows.place, plan.truths.classes[rows.truth], aim, again)


def background(section: Any, plan: Plan, *, aim: Tensor) -> Confidence:
    """What objectness learns before the objects' own predictions are told: that there is nothing; where
    spared its `aim` [P] with `objectness_smooth`, else nothing at all; where early that there is an object.
    """
    overlap, smooth = plan.best.overlap, section.objectness_smooth
    wanted, weight = torch.zeros_like(overlap), torch.full_like(overlap, section.obj_normalizer)
    if smooth:
        wanted = torch.where(plan.spared, aim, wanted)
    else:
        weight = torch.where(plan.spared, 0, weight)
    early = plan.early.place
    wanted[early] = overlap[early].square() if smooth else 1.0
    weight[early] = section.obj_normalizer
    return Confidence(wanted, weight, len(plan.rows.place))


def _confidence(section: Any, objectness: Tensor, plan: Plan) -> Confidence:
    wanted, weight, count = background(section, plan, aim=plan.best.overlap)
    rows, smooth = plan.rows, section.objectness_smooth
    chosen = first_of_each(rows.place) if smooth else last_of_each(rows.place)
    place, truth = rows.place[chosen], rows.truth[chosen]
    factor = multipliers(section, objectness)[plan.truths.classes[truth]] * section.obj_normalizer
    if smooth:  # C Darknet leaves alone what has any delta by now
        untouched = weight[place] * (wanted[place] - objectness[place]) == 0
        place, factor = place[untouched], factor[untouched]
    wanted[place], weight[place] = 1.0, factor
    return Confidence(wanted, weight, count)


def _share(
    section: Any, outputs: Tensor, plan: Plan, *, confidence: Confidence, classes: ClassTargets
) -> Tensor:
    """One over how many classes each prediction [P] is pulled up for: C Darknet averages so when
    `iou_thresh` lets several objects meet in one."""
    if section.iou_thresh >= 1:
        return torch.ones_like(plan.best.overlap)
    touched = confidence.weight * (confidence.wanted - outputs[:, 4]) != 0
    return torch.where(touched, pulled_up(outputs[:, 5:], classes), 1)


def pulled_up(scores: Tensor, classes: ClassTargets) -> Tensor:
    """One over the number of classes [P] whose delta is positive; 1 where none is."""
    raised = ((classes.wanted - scores[classes.place]) * classes.weight > 0).sum(1)
    share = torch.ones_like(scores[:, 0])
    share[classes.place] = 1 / raised.clamp(min=1).to(share.dtype)
    return share


def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross entropies; the gradient is probability - wanted."""
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def squared(values: Tensor, wanted: Tensor) -> Tensor:
    """Half squared errors; the gradient is value - wanted."""
    return (values - wanted).square() / 2


def row_weights(section: Any, plan: Plan, boxes: Rows, *, share: Tensor) -> Tensor:
    """How much the box of each row counts [R]."""
    factors = multipliers(section, share)[plan.truths.classes[boxes.truth]]
    return section.iou_normalizer * factors * share[boxes.place]


class Aims(NamedTuple):
    """What x, y (in cells, from the cell's corner) and w, h (logarithms in anchors) of each row are to
    become, [R, 2] each."""

    centre: Tensor
    size: Tensor

    @staticmethod
    def of(head: HeadOutput, plan: Plan, boxes: Rows, *, corner: int = 0) -> Aims:
        """`corner`: 0 x, y are the centre, 1 the left top, -1 the right bottom."""
        _, anchors, height, width = head.raw.shape[:4]
        truth = plan.truths.boxes[boxes.truth]
        point = truth[:, :2] - corner * truth[:, 2:] / 2
        cell = torch.stack([boxes.place % width, boxes.place // width % height], dim=1)
        slot = boxes.place // (width * height) % anchors
        pixels = truth[:, 2:] * net_size(head, truth)
        factor = pixels / pixels.new_tensor(head.grid.anchors)[slot]
        return Aims(point * point.new_tensor([width, height]) - cell, factor.log())


def _squares(head: HeadOutput, values: Tensor, *, plan: Plan, boxes: Rows, share: Tensor) -> Tensor:
    """values [R, 4]. C Darknet's delta is the plain difference, which behind a logistic is the slope of a
    cross entropy (its smallest value is taken off)."""
    section, spread = head.section, head.section.scale_x_y
    aims = Aims.of(head, plan, boxes)
    centre = (aims.centre + (spread - 1) / 2) / spread  # where the logistic has to go
    if section.new_coords:
        of_centre = squared(values[:, :2], centre) * spread
        size = (aims.size / 2).exp() / 2
    else:
        floor = torch.special.entr(centre.clamp(0, 1)) + torch.special.entr((1 - centre).clamp(0, 1))
        of_centre = (cross_entropy(values[:, :2], centre) - floor) * spread
        size = aims.size
    truth = plan.truths.boxes[boxes.truth]
    weight = row_weights(section, plan, boxes, share=share) * (2 - truth[:, 2] * truth[:, 3])
    both = torch.cat([of_centre, squared(values[:, 2:], size)], dim=1)
    return (both * weight[:, None]).sum()


def _overlaps(head: HeadOutput, values: Tensor, *, plan: Plan, boxes: Rows, share: Tensor) -> Tensor:
    """values [R, 4]. 1 - overlap, with C Darknet's deltas for a gradient, each bounded by `max_delta`."""
    section = head.section
    pred, truth = plan.boxes[boxes.place], plan.truths.boxes[boxes.truth]
    full = row_weights(section, plan, boxes, share=torch.ones_like(share))
    delta = slopes(pred, truth, section.iou_loss)
    if not section.new_coords:
        delta = torch.cat([delta[:, :2], delta[:, 2:] * values.detach()[:, 2:].exp()], dim=1)
    delta = bounded(delta * full[:, None], section.max_delta) * share[boxes.place, None]
    overlap = OVERLAPS[section.iou_loss](pred, truth)
    return steered(((1 - overlap) * full * share[boxes.place]).sum(), values, -delta)


def slopes(pred: Tensor, truth: Tensor, kind: str) -> Tensor:
    """C Darknet's slopes [R, 4]; a prediction without width or height counts as one of the whole image."""
    size = torch.where(pred[:, 2:] == 0, 1, pred[:, 2:])
    return darknet_slopes(torch.cat([pred[:, :2], size], dim=1), truth, kind)


def bounded(delta: Tensor, most: float) -> Tensor:
    """Deltas within +-most; what is no number or infinite is 0, as in C Darknet."""
    return torch.where(torch.isfinite(delta), delta, 0).clamp(-most, most)
