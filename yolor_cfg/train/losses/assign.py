"""Which predictions learn which object in C Darknet's [yolo] and [Gaussian_yolo].

C Darknet writes its deltas one by one, cell by cell and then object by object; here each such write is a row,
in that order.

Legend: N images, A anchors, H W cells, P = N*A*H*W predictions, T objects, R rows, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.boxes import iou_matrix, to_xyxy
from yolor_cfg.ops.iou_losses import OVERLAPS
from yolor_cfg.sections.heads import AnchorHeadSection, anchor_pairs
from yolor_cfg.train.losses.base import (
    GridLayer,
    HeadKeys,
    HeadOutput,
    ObjectKeys,
    first_occurrences,
    last_occurrences,
)

AnchorOutput = HeadOutput[AnchorHeadSection, GridLayer]
LIKELY = 0.25  # `ignore_thresh` applies only to predictions with a class above this


class Truths(NamedTuple):
    """The objects of a batch, sorted by image: `image` [T], `boxes` [T, 4] as fractions, `classes` [T]."""

    image: Tensor
    boxes: Tensor
    classes: Tensor

    @staticmethod
    def from_targets(targets: Tensor, section: ObjectKeys) -> Truths:
        """The targets [T, 6] that the section can learn: valid class ids, sizes above 0, the first `max`
        of each image (C Darknet keeps no more)."""
        image, classes = targets[:, :2].long().unbind(1)
        known = (classes >= 0) & (classes < section.classes) & (targets[:, 4:] > 0).all(1)
        order = image.argsort(stable=True)
        order = order[known[order]]
        ranks = torch.arange(len(order), device=order.device)
        starts = torch.searchsorted(image[order], image[order])
        order = order[ranks - starts < section.max]
        return Truths(image[order], targets[order, 2:], classes[order])


class BestTruth(NamedTuple):
    """The object with the largest IoU for each prediction, all [P]: the IoU (0: no overlap) and its index."""

    overlap: Tensor
    truth: Tensor

    @staticmethod
    def from_boxes(boxes: Tensor, truths: Truths) -> BestTruth:
        """boxes [N, A*H*W, 4] as fractions."""
        overlap, truth = boxes.new_zeros(boxes.shape[:2]), truths.image.new_zeros(boxes.shape[:2])
        for image in range(len(boxes)):
            mine = (truths.image == image).nonzero()[:, 0]
            if len(mine):
                theirs = iou_matrix(to_xyxy(boxes[image]), to_xyxy(truths.boxes[mine]))
                overlap[image], best = theirs.max(dim=1)
                truth[image] = mine[best]
        return BestTruth(overlap.flatten(), truth.flatten())


class Assignments(NamedTuple):
    """Writes, in order: indices of the prediction and of the object [R]."""

    prediction: Tensor
    truth: Tensor

    @staticmethod
    def cat(*parts: Assignments) -> Assignments:
        return Assignments(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def last_writes(self) -> Assignments:
        """The last write of each prediction."""
        rows = last_occurrences(self.prediction)
        return Assignments(self.prediction[rows], self.truth[rows])


def assign_anchors(head: AnchorOutput, truths: Truths, *, corner: int = 0) -> Assignments:
    """Each object assigned in the cell of its centre (left top with `corner` 1, right bottom with -1) to
    the anchor with the largest IoU and to those above `iou_thresh`, as far as they belong to this head."""
    section = head.section
    anchors, slots, columns = _anchors(head, truths.boxes)
    _, count, height, width = head.raw.shape[:4]
    sizes = torch.cat([torch.zeros_like(truths.boxes[:, :2]), truths.boxes[:, 2:]], dim=1)[:, None]
    taken = torch.zeros(len(truths.image), len(anchors), dtype=torch.bool, device=slots.device)
    taken.scatter_(1, OVERLAPS["iou"](anchors, sizes).argmax(1, keepdim=True), True)
    if section.iou_thresh < 1:
        taken |= OVERLAPS[section.iou_thresh_kind](anchors, sizes) > section.iou_thresh
    truth, member = taken[:, columns].nonzero(as_tuple=True)
    point = truths.boxes[truth, :2] - corner * truths.boxes[truth, 2:] / 2
    cell = (point * point.new_tensor([width, height])).long().clamp(min=0)
    column, row = torch.minimum(cell, cell.new_tensor([width - 1, height - 1])).unbind(1)
    place = ((truths.image[truth] * count + slots[member]) * height + row) * width + column
    return Assignments(place, truth)


def _anchors(head: AnchorOutput, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All anchors of the network as boxes at the origin [num, 4], fractions of the input; this head's
    slots, and the anchors in them (duplicates in `mask` are ignored)."""
    section = head.section
    known = max(section.num, 1 + max(section.mask))
    sizes = like.new_tensor(anchor_pairs(section.anchors, known)) / net_size(head, like)
    firsts = {anchor: slot for slot, anchor in reversed(list(enumerate(section.mask)))}
    slots = torch.tensor(list(firsts.values()), device=like.device)
    columns = torch.tensor(list(firsts), device=like.device)
    return torch.cat([torch.zeros_like(sizes), sizes], dim=1), slots, columns


def net_size(head: HeadOutput[HeadKeys, GridLayer], like: Tensor) -> Tensor:
    """Width and height [2] of the input in pixels."""
    across, down = head.layer.grid.stride
    return like.new_tensor([across * head.raw.shape[3], down * head.raw.shape[2]])


def predicted_boxes(head: HeadOutput[HeadKeys, GridLayer]) -> Tensor:
    """The predicted boxes [N, A*H*W, 4] as fractions of the image; call under no_grad."""
    boxes: Tensor = head.layer.decode(head.raw)[0]
    return boxes / net_size(head, boxes).repeat(2)


def class_multipliers(section: AnchorHeadSection, like: Tensor) -> Tensor:
    """The weight of each class [K]: the largest count in `counters_per_class` over its own."""
    if not section.counters_per_class:
        return like.new_ones(section.classes)
    counts = [max(count, 1) for count in section.counters_per_class]
    multipliers: Tensor = (max(counts) / like.new_tensor(counts)).clamp(max=section.max_delta)
    return multipliers


class ClassWrites(NamedTuple):
    """Class writes, in order, all [R]: the first at a prediction sets all other classes to 0, each later
    one only sets its own class to its `target`; `overwrites` marks first writes that do this as well."""

    prediction: Tensor
    classes: Tensor
    target: Tensor
    overwrites: Tensor


class ClassTargets(NamedTuple):
    """The class targets [U, K] of the predictions [U], and their weights [U, K]."""

    prediction: Tensor
    target: Tensor
    weight: Tensor


def merge_class_writes(
    section: AnchorHeadSection, scores: Tensor, writes: ClassWrites, *, focal: bool
) -> ClassTargets:
    """Merge the class writes of a head whose class probabilities are `scores` [P, K].

    As in C Darknet, `cls_normalizer` applies only with `counters_per_class`, and only to first writes.
    """
    first = first_occurrences(writes.prediction)
    place, chosen = writes.prediction[first], writes.classes[first]
    factors = class_multipliers(section, scores)
    yes = torch.zeros_like(scores[place])
    yes.scatter_(1, chosen[:, None], 1)
    if section.learns_plain_classes:
        wanted, weight = yes, torch.ones_like(yes)
    elif focal:
        wanted, weight = yes, focal_weight(scores[place, chosen])[:, None].repeat(1, section.classes)
    else:
        wanted = yes * (1 - section.label_smooth_eps) + section.label_smooth_eps / 2
        gain = factors * section.cls_normalizer if section.counters_per_class else factors
        weight = torch.where(yes > 0, gain, 1)
    later = writes.overwrites.clone()
    later |= torch.ones_like(later).index_fill(0, first, False)
    rows = later.nonzero()[:, 0]
    at = torch.searchsorted(place, writes.prediction[rows])
    last = last_occurrences(at * section.classes + writes.classes[rows])
    at, rows = at[last], rows[last]
    wanted[at, writes.classes[rows]] = writes.target[rows]
    balanced = writes.overwrites[rows] | (not section.learns_plain_classes)
    weight[at, writes.classes[rows]] = torch.where(balanced, factors[writes.classes[rows]], 1)
    return ClassTargets(place, wanted, weight)


def focal_weight(probability: Tensor) -> Tensor:
    """C Darknet's focal factor on all classes, from the probability of the true one (gamma 2, alpha .5; exact
    after a softmax)."""
    p = probability + 1e-15
    return -0.5 * (1 - p) * (2 * p * p.log() + p - 1)
