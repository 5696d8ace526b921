"""C Darknet's loss for [region] (YOLOv2).

Legend: N images, A anchors, H W cells, P = N*A*H*W predictions, U those with an object, K classes.

All of it is a true loss: squared errors after the logistic for x, y and objectness, squared errors of raw w,
h; cross entropy for classes after a softmax (one per group on the path to the root of a tree), squared errors
for raw classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.boxes import iou, to_xyxy
from yolor_cfg.ops.class_tree import ClassTree
from yolor_cfg.ops.heads import RegionHead
from yolor_cfg.sections.region import RegionSection
from yolor_cfg.train.losses.assign import Assignments, BestTruth, Truths, focal_weight, predicted_boxes
from yolor_cfg.train.losses.base import HeadLoss, HeadOutput, LossInputs, LossRules, last_occurrences

RegionOutput = HeadOutput[RegionSection, RegionHead]
FIRST_IMAGES, PRIOR_SCALE = 12800, 0.01  # for that many images every prediction also learns its anchor


class RegionAssignment(NamedTuple):
    """The objects, the predicted `boxes` [P, 4] as fractions, the object that each overlaps most, and the
    `rows` that count: of several objects at one prediction, the last; `all_rows` has them all."""

    truths: Truths
    boxes: Tensor
    best: BestTruth
    rows: Assignments
    all_rows: Assignments


def losses(inputs: LossInputs[RegionSection, RegionHead]) -> list[HeadLoss]:
    """The loss of each head, computed separately."""
    return [_compute_head_loss(head, inputs) for head in inputs.heads]


def _compute_head_loss(head: RegionOutput, inputs: LossInputs[RegionSection, RegionHead]) -> HeadLoss:
    head = _drop_spare_values(head)
    values = head.raw.flatten(0, 3)  # [P, 5 + K]
    with torch.no_grad():
        truths = Truths.from_targets(inputs.targets.to(values.dtype), head.section)
        boxes = predicted_boxes(head)
        every = _assign_anchors(head, truths, boxes.flatten(0, 1))
        last = last_occurrences(every.prediction)
        rows = Assignments(every.prediction[last], every.truth[last])
        plan = RegionAssignment(truths, boxes.flatten(0, 1), BestTruth.from_boxes(boxes, truths), rows, every)
    return HeadLoss(
        _box_loss(head, values, plan, rules=inputs.rules),
        _objectness_loss(head, values, plan),
        _class_loss(head, values, plan),
        len(every.prediction),
    )


def _drop_spare_values(head: RegionOutput) -> RegionOutput:
    """The head as if `coords` were 4: forward_region_layer in region_layer.c reads and writes the first
    values of each box, with its classes right behind the objectness."""
    grid, rules = head.layer.grid, head.layer.rules
    if not rules.spare:
        return head
    return head._replace(raw=head.raw[..., : -rules.spare], layer=RegionHead(grid, rules._replace(spare=0)))


def _assign_anchors(head: RegionOutput, truths: Truths, boxes: Tensor) -> Assignments:
    """Each object assigned to the anchor in its cell whose size (as predicted, or with `bias_match` the
    anchor's own) has the largest IoU with it."""
    _, anchors, height, width = head.raw.shape[:4]
    cells = truths.boxes.new_tensor([width, height])
    column, row = torch.minimum((truths.boxes[:, :2] * cells).long().clamp(min=0), cells.long() - 1).unbind(1)
    slots = torch.arange(anchors, device=column.device)
    places = ((truths.image[:, None] * anchors + slots) * height + row[:, None]) * width + column[:, None]
    sizes = boxes[places, 2:]  # [T, A, 2]
    if head.section.bias_match:
        sizes = (sizes.new_tensor(head.layer.grid.anchors) / cells).expand_as(sizes)
    shapes = [torch.cat([-size / 2, size / 2], dim=-1) for size in (sizes, truths.boxes[:, None, 2:])]
    best = iou(*shapes).argmax(1)
    return Assignments(places.gather(1, best[:, None])[:, 0], torch.arange(len(best), device=best.device))


def _box_loss(head: RegionOutput, values: Tensor, plan: RegionAssignment, *, rules: LossRules) -> Tensor:
    place, truth = plan.rows
    _, anchors, height, width = head.raw.shape[:4]
    wanted = torch.zeros_like(values[:, :4])
    wanted[:, :2] = 0.5
    weight = torch.full_like(values[:, 0], PRIOR_SCALE if rules.seen < FIRST_IMAGES else 0.0)
    boxes = plan.truths.boxes[truth] * wanted.new_tensor([width, height, width, height])
    sizes = wanted.new_tensor(head.layer.grid.anchors)[place // (width * height) % anchors]
    cell = torch.stack([place % width, place // width % height], dim=1)
    wanted[place] = torch.cat([boxes[:, :2] - cell, (boxes[:, 2:] / sizes).log()], dim=1)
    weight[place] = head.section.coord_scale
    got = torch.cat([values[:, :2].sigmoid(), values[:, 2:4]], dim=1)
    return ((got - wanted).square().sum(1) * weight).sum() / 2


def _objectness_loss(head: RegionOutput, values: Tensor, plan: RegionAssignment) -> Tensor:
    (place, truth), section = plan.rows, head.section
    objectness = values[:, 4].sigmoid()
    wanted = torch.zeros_like(objectness)
    weight = torch.full_like(objectness, section.noobject_scale)
    if section.classfix == -1:
        wanted = plan.best.overlap.clone()
    else:
        weight = torch.where(plan.best.overlap > section.thresh, 0, weight)
    if head.labeling is not None:
        weight = weight * head.labeling.cell_weights(objectness, _class_scores(head, values[:, 5:]))
    overlap = iou(to_xyxy(plan.boxes[place]), to_xyxy(plan.truths.boxes[truth]))
    wanted[place] = overlap if section.rescore else 1.0
    weight[place] = section.object_scale
    return ((objectness - wanted).square() * weight).sum() / 2


def _class_scores(head: RegionOutput, values: Tensor) -> Tensor:
    """The probabilities of the classes; in a tree, conditional on the parent."""
    tree = head.layer.rules.tree
    return _log_probabilities(values, tree).exp() if head.section.softmax or tree else values


class WeightedClassWrites(NamedTuple):
    """Class writes, in order: the prediction, the class id and the weight of each [R]."""

    prediction: Tensor
    classes: Tensor
    weight: Tensor


def _collect_class_writes(
    section: RegionSection, objectness: Tensor, plan: RegionAssignment
) -> WeightedClassWrites:
    """With `classfix` above 0, all predictions that overlap an object learn its class, before the predictions
    assigned to objects do."""
    rows = plan.all_rows
    scale = torch.full_like(rows.prediction, section.class_scale, dtype=objectness.dtype)
    writes = WeightedClassWrites(rows.prediction, plan.truths.classes[rows.truth], scale)
    if section.classfix <= 0:
        return writes
    place = (plan.best.overlap > section.thresh).nonzero()[:, 0]
    weight = torch.full_like(objectness[place], section.class_scale)
    if section.classfix == 2:
        weight = weight * objectness[place]
    before = WeightedClassWrites(place, plan.truths.classes[plan.best.truth[place]], weight)
    return WeightedClassWrites(*(torch.cat(both) for both in zip(before, writes, strict=True)))


def _class_loss(head: RegionOutput, values: Tensor, plan: RegionAssignment) -> Tensor:
    section, rules = head.section, head.layer.rules
    writes = _collect_class_writes(section, values[:, 4].detach().sigmoid(), plan)
    chain, covered = _class_paths(section.classes, rules.tree, like=values)
    # The last write of each number: for every class, the last row that covers it, as one key each.
    row, number = covered[writes.classes].nonzero(as_tuple=True)
    last = last_occurrences(writes.prediction[row] * section.classes + number)
    row, number = row[last], number[last]
    place, wanted, weight = writes.prediction[row], chain[writes.classes[row], number], writes.weight[row]
    if section.focal_loss and rules.tree is None:
        probability = values[:, 5:].detach()
        probability = probability.softmax(1) if section.softmax else probability
        factor = focal_weight(probability[place, writes.classes[row]])
        weight = weight * torch.where(torch.isfinite(factor), factor, 0)
    if head.labeling is not None and not (section.softmax or rules.tree):
        weight = weight * head.labeling.class_mask(wanted > 0, values[place, 5 + number], number)
    if not (section.softmax or rules.tree):
        return ((values[place, 5 + number] - wanted).square() * weight).sum() / 2
    chosen = wanted > 0
    place, number, weight = place[chosen], number[chosen], weight[chosen]
    logits = values[place, 5:]
    if head.labeling is not None:
        own = chain[writes.classes[row[chosen]]] > 0
        logits = head.labeling.mask_logits(logits, own)
    logarithms = _log_probabilities(logits, rules.tree).gather(1, number[:, None])[:, 0]
    return -(logarithms * weight).sum()


def _class_paths(classes: int, tree: ClassTree | None, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """For each class [K, K]: 1 for itself and its ancestors; and which numbers are written when it is learned
    (those of the groups on its path to the root; all without a tree)."""
    chain = torch.eye(classes, dtype=like.dtype, device=like.device)
    if tree is None:
        return chain, torch.ones_like(chain, dtype=torch.bool)
    for below, above in tree.levels:
        chain[list(below)] = torch.maximum(chain[list(below)], chain[list(above)])
    lengths = torch.tensor(tree.runs, device=like.device)
    group = torch.repeat_interleave(torch.arange(len(lengths), device=like.device), lengths)
    same = (group[:, None] == group[None]).to(like.dtype)
    return chain, chain @ same > 0


def _log_probabilities(logits: Tensor, tree: ClassTree | None) -> Tensor:
    """Log probabilities [U, K]; in a tree, conditional on the parent."""
    runs = tree.runs if tree is not None else (logits.shape[1],)
    return torch.cat([run.log_softmax(1) for run in torch.split(logits, list(runs), dim=1)], dim=1)
