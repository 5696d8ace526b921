"""C Darknet's DropBlock: in training a square block of a channel is zero, and the rest grows.

Legend: N images, C channels, H W size of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RISE = 0.85  # of the training, in which blocks and their probability grow


class DropBlock(nn.Module):
    """By dropout_layer_kernels.cu. `pixels` is the side of a block, or `part` of the
    shorter side of the map where `pixels` is 0; at most the map. `progress` is how far training has come."""

    def __init__(self, probability: float, pixels: int, *, part: float = 0.0) -> None:
        super().__init__()
        self.probability, self.pixels, self.part = probability, pixels, part
        self.progress = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size."""
        if not self.training:
            return x
        share = min(self.progress / RISE, 1.0)
        shortest = min(x.shape[-2:])
        whole = self.pixels or self.part * shortest
        side = min(max(int(whole * share), 1), shortest)
        chance = self.probability * share / side**2
        draws = torch.rand((*x.shape[:2], x.shape[2] * x.shape[3]), device=x.device)
        least, place = draws.min(-1)  # [N, C]: where the block of a channel begins, if it has one
        drawn = least < chance
        rows = _find_span(place // x.shape[3], side, whole=x.shape[2])  # [N, C, H]
        columns = _find_span(place % x.shape[3], side, whole=x.shape[3])  # [N, C, W]
        dropped = drawn[..., None, None] & rows[..., :, None] & columns[..., None, :]
        lost = drawn.float().mean(1)[:, None, None, None] * side**2 / draws.shape[-1]
        return x * (~dropped / (1 - lost).clamp(min=1e-6)).to(x.dtype)


def _find_span(start: Tensor, side: int, *, whole: int) -> Tensor:
    """Which of the `whole` places the blocks cover; one that would leave the map begins as far from the other
    end as it would have left it by C's rule."""
    last = whole - side
    start = torch.where(start > last, (start - last).clamp(max=last), start)[..., None]
    places = torch.arange(whole, device=start.device)
    return (places >= start) & (places < start + side)
