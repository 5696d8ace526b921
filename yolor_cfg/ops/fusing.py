"""ASFF: the maps of several heads fused into one. Legend: N images, C channels, H W cells, S heads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def fuse_maps(own: Tensor, others: Sequence[Tensor], *, place: int) -> Tensor:
    """own and others [N, C + S, any, any] of S heads, own being the `place`-th -> [N, C, H, W] at its size.

    Each map is resized bilinearly and weighted, in each cell of `own`, by 2 / S of the sigmoid of one of the
    last S channels there (ASFF, arXiv 1911.09516, as in ultralytics/yolov3 models.py).
    """
    count = 1 + len(others)
    shares = own[:, -count:].sigmoid() * (2 / count)
    total = own[:, :-count] * shares[:, place, None]
    numbers = (number for number in range(count) if number != place)
    for number, other in zip(numbers, others, strict=True):
        resized = F.interpolate(other[:, :-count], own.shape[2:], mode="bilinear", align_corners=False)
        total = total + resized * shares[:, number, None]
    return total
