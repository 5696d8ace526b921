"""Attention as several forks have it: a factor for each channel, or for each pixel, from the map itself.

N images, C channels, H W cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def build_gate(channels: int, hidden: int, *, bend: nn.Module, gate: nn.Module) -> ChannelGate:
    """A ChannelGate with `hidden` numbers between its two matrices."""
    shrink = nn.Linear(channels, hidden, bias=False)
    return ChannelGate(nn.Sequential(shrink, bend, nn.Linear(hidden, channels, bias=False), gate))


class ChannelGate(nn.Module):
    """x times a factor for each channel, which `fc` [N, C] -> [N, C] computes of the means."""

    def __init__(self, fc: nn.Sequential) -> None:
        super().__init__()
        self.fc = fc

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size."""
        factors: Tensor = self.fc(x.mean((2, 3)))
        return x * factors[:, :, None, None]


class ChannelAttention(nn.Module):
    """The factors of the channels: sigmoid of the same small network of their means and of their maxima."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.shared_MLP = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, 1, 1]."""
        total: Tensor = self.shared_MLP(x.mean((2, 3))) + self.shared_MLP(x.amax((2, 3)))
        return total.sigmoid()[:, :, None, None]


class SpatialAttention(nn.Module):
    """The factors of the pixels: sigmoid of a convolution of the mean and the maximum over the channels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(2, 1, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, 1, H, W]."""
        maps: Tensor = self.conv2d(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1))
        return maps.sigmoid()


class BlockAttention(nn.Module):
    """CBAM (arXiv 1807.06521): the channels are weighted first, then the pixels of the result."""

    def __init__(self, channels: int, hidden: int, size: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels, hidden)
        self.spatial_attention = SpatialAttention(size)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size."""
        weighted = x * self.channel_attention(x)
        result: Tensor = weighted * self.spatial_attention(weighted)
        return result
