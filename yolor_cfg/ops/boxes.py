"""Boxes as tensors: two formats, overlap and distance. Legend: A, B boxes."""

from __future__ import annotations

import torch
from torch import Tensor


def to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """Corners [..., 4] (left, top, right, bottom) of boxes given as centre and size [..., 4]."""
    centre, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def to_xywh(boxes_xyxy: Tensor) -> Tensor:
    """Centre and size [..., 4] of boxes given by their corners [..., 4]."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Intersection over union [...] of pairs of boxes [..., 4], which broadcast; empty boxes give 0."""
    left, top, right, bottom = first_xyxy.unbind(-1)
    left2, top2, right2, bottom2 = second_xyxy.unbind(-1)
    width = (torch.minimum(right, right2) - torch.maximum(left, left2)).clamp(min=0)
    height = (torch.minimum(bottom, bottom2) - torch.maximum(top, top2)).clamp(min=0)
    shared = width * height
    union = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - shared
    return torch.where(shared > 0, shared / union, 0)


def iou_matrix(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Intersection over union [A, B] of every box in [A, 4] with every box in [B, 4]."""
    return iou(first_xyxy[:, None], second_xyxy[None])


def distance_term(first_xyxy: Tensor, second_xyxy: Tensor, *, exponent: float) -> Tensor:
    """(d / c) ** exponent [...]: d squared centre distance, c squared diagonal of the enclosing box.

    This is what DIoU subtracts from the IoU. Leading dimensions broadcast; two equal points give 0.
    """
    apart = (first_xyxy[..., :2] + first_xyxy[..., 2:] - second_xyxy[..., :2] - second_xyxy[..., 2:]) / 2
    low = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    diagonal = (high - low).square().sum(-1)
    return torch.where(diagonal > 0, apart.square().sum(-1) / diagonal, 0).pow(exponent)
