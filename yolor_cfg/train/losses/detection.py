"""C Darknet's loss for [detection] (YOLOv1): squared errors; cross entropy for classes after a softmax, as
Darknet's delta there is the gradient before the softmax.

Legend: N images, C = side^2 cells, A boxes per cell, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.boxes import iou, to_xyxy
from yolor_cfg.ops.heads import DetectionHead
from yolor_cfg.sections.detection import DetectionSection
from yolor_cfg.train.losses.assign import Truths
from yolor_cfg.train.losses.base import HeadLoss, HeadOutput, LossInputs, first_occurrences

DetectionOutput = HeadOutput[DetectionSection, DetectionHead]
SMALL, FIRST, SECOND = 0.1, 0, 1  # `forced`: objects of a smaller area get the second box, others the first


class CellOutputs(NamedTuple):
    """The map cell by cell: classes [N*C, K], objectness [N*C, A], boxes [N*C, A, 4]."""

    classes: Tensor
    objectness: Tensor
    boxes: Tensor

    @staticmethod
    def from_raw(raw: Tensor, section: DetectionSection) -> CellOutputs:
        """raw [N, n, 1, 1]: the classes of all cells, then their objectness, then their boxes."""
        cells, num = section.side**2, section.num
        parts = torch.split(raw.flatten(1), [cells * section.classes, cells * num, cells * num * 4], dim=1)
        classes, objectness, boxes = (part.reshape(len(part) * cells, -1) for part in parts)
        return CellOutputs(classes, objectness, boxes.reshape(-1, num, 4))


class CellObjects(NamedTuple):
    """The object of each cell that has one [U]; of several, the first. `boxes` [U, 4]: centre within the
    cell, width and height as fractions of the image."""

    cell: Tensor
    boxes: Tensor
    classes: Tensor


def losses(inputs: LossInputs[DetectionSection, DetectionHead]) -> list[HeadLoss]:
    """The loss of each head, computed separately."""
    return [_compute_head_loss(head, inputs.targets) for head in inputs.heads]


def _compute_head_loss(head: DetectionOutput, targets: Tensor) -> HeadLoss:
    section = head.section
    cells = CellOutputs.from_raw(head.raw, section)
    objects = _assign_objects(section, targets.to(head.raw.dtype))
    boxes = cells.boxes[objects.cell]  # [U, A, 4]
    with torch.no_grad():
        overlap, chosen = _choose_boxes(section, boxes, objects.boxes)
    wanted = torch.zeros_like(cells.objectness)
    weight = torch.full_like(wanted, section.noobject_scale)
    wanted[objects.cell, chosen] = overlap if section.rescore else 1.0
    weight[objects.cell, chosen] = section.object_scale
    objectness = ((cells.objectness - wanted).square() * weight).sum() / 2
    if head.labeling is not None:
        scores = cells.classes[:, None].expand(-1, section.num, -1)
        weight = torch.where(
            wanted > 0, weight, weight * head.labeling.cell_weights(cells.objectness, scores)
        )
    aim = objects.boxes
    if section.sqrt:
        aim = torch.cat([aim[:, :2], aim[:, 2:].sqrt()], dim=1)
    mine = boxes.gather(1, chosen[:, None, None].expand(-1, 1, 4))[:, 0]
    box = (mine - aim).square().sum() / 2 * section.coord_scale
    return HeadLoss(box, objectness, _class_loss(head, cells, objects), len(objects.cell))


def _assign_objects(section: DetectionSection, targets: Tensor) -> CellObjects:
    truths, side = Truths.from_targets(targets, section), section.side
    inside = truths.boxes[:, :2] * side
    column, row = inside.long().clamp(0, side - 1).unbind(1)
    cell = (truths.image * side + row) * side + column
    first = first_occurrences(cell)
    centre = inside - torch.stack([column, row], dim=1)
    return CellObjects(
        cell[first], torch.cat([centre, truths.boxes[:, 2:]], dim=1)[first], truths.classes[first]
    )


def _choose_boxes(section: DetectionSection, boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The IoU of each object [U] with its box, and the index of that box: the one with the largest IoU,
    or, if none overlaps, the nearest by all four numbers."""
    scale = boxes.new_tensor([1 / section.side, 1 / section.side, 1, 1])
    size = boxes[..., 2:].square() if section.sqrt else boxes[..., 2:]
    ours, theirs = torch.cat([boxes[..., :2], size], dim=-1) * scale, (truth * scale)[:, None]
    overlap = iou(to_xyxy(ours), to_xyxy(theirs))  # [U, A]
    apart = (ours - theirs).square().sum(-1)
    chosen = torch.where(overlap.amax(1) > 0, overlap.argmax(1), apart.argmin(1))
    if section.forced:
        area = theirs[:, 0, 2:].prod(-1)
        chosen = torch.where(area < SMALL, SECOND, FIRST).clamp(max=section.num - 1)
    return overlap.gather(1, chosen[:, None])[:, 0], chosen


def _class_loss(head: DetectionOutput, cells: CellOutputs, objects: CellObjects) -> Tensor:
    scores, section = cells.classes[objects.cell], head.section  # [U, K]
    wanted = torch.zeros_like(scores).scatter_(1, objects.classes[:, None], 1)
    if head.labeling is not None and section.softmax:
        scores = head.labeling.mask_logits(
            scores.clamp(min=torch.finfo(scores.dtype).tiny).log(), wanted > 0
        ).softmax(1)
    elif head.labeling is not None:
        wanted = torch.where(head.labeling.class_mask(wanted > 0, scores), wanted, scores.detach())
    if section.softmax:
        right = scores.gather(1, objects.classes[:, None]).clamp(min=torch.finfo(scores.dtype).tiny)
        return -right.log().sum() * section.class_scale
    return (scores - wanted).square().sum() / 2 * section.class_scale
