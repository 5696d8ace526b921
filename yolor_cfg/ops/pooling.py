"""Pooling with the windows of both dialects. Legend: N images, C channels, H W cells.

A window of `size` moves by `strides` (down, across); `padding` is the total of both borders of an axis; an
odd cell is at the right or the bottom.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.geometry import last_window_borders


class PoolWindow(NamedTuple):
    """The window of a pooling layer: outputs = (length + padding - size) // stride + 1 along each axis."""

    size: int
    strides: tuple[int, int]
    padding: int

    @property
    def borders(self) -> tuple[int, int]:
        """Padding before and after an axis."""
        return self.padding // 2, self.padding - self.padding // 2

    @property
    def is_symmetric(self) -> bool:
        """True if torch's own padding is equivalent."""
        return self.padding % 2 == 0 and self._can_torch_pad

    @property
    def is_ceil_mode(self) -> bool:
        """True if torch's own padding with ceil_mode is equivalent: odd padding at stride 2."""
        last_starts_inside = self.padding // 2 + 1 < self.size
        if torch.compiler.is_exporting():
            return False  # other engines take it otherwise, or their last row is wrong
        return self.padding % 2 == 1 and self.strides == (2, 2) and self._can_torch_pad and last_starts_inside

    @property
    def _can_torch_pad(self) -> bool:
        return self.padding // 2 <= self.size // 2


def max_pool2d(x: Tensor, window: PoolWindow) -> Tensor:
    """The maximum of each window [N, C, H', W']; padding never counts."""
    if window.is_symmetric or window.is_ceil_mode:
        return F.max_pool2d(x, window.size, window.strides, window.borders[0], ceil_mode=window.is_ceil_mode)
    padded = F.pad(x, window.borders * 2, value=-math.inf)
    return F.max_pool2d(padded, window.size, window.strides)


def avg_pool2d(x: Tensor, window: PoolWindow) -> Tensor:
    """The mean of each window [N, C, H', W']; padding does not count."""
    if window.is_symmetric or window.is_ceil_mode:
        return F.avg_pool2d(
            x,
            window.size,
            window.strides,
            window.borders[0],
            ceil_mode=window.is_ceil_mode,
            count_include_pad=False,
        )
    inside = F.pad(torch.ones_like(x[:1, :1]), window.borders * 2)
    share = F.avg_pool2d(inside, window.size, window.strides)  # [1, 1, H', W'], the part inside the map
    return F.avg_pool2d(F.pad(x, window.borders * 2), window.size, window.strides) / share


def max_pool2d_zero_pad(x: Tensor, window: PoolWindow) -> Tensor:
    """The maximum of each window, with zero padding."""
    return F.max_pool2d(F.pad(x, window.borders * 2), window.size, window.strides)


def max_pool2d_same(x: Tensor, window: PoolWindow) -> Tensor:
    """The maximum of each window with TensorFlow's padding SAME: only what the last window needs, an odd cell
    at the right or the bottom."""
    (above, below), (left, right) = (
        last_window_borders(length, window.size, stride)
        for length, stride in zip(x.shape[2:], window.strides, strict=True)
    )
    return F.max_pool2d(F.pad(x, (left, right, above, below), value=-math.inf), window.size, window.strides)


def avg_pool2d_zero_pad(x: Tensor, window: PoolWindow) -> Tensor:
    """The mean of each window, with zero padding that counts."""
    if window.is_symmetric:
        return F.avg_pool2d(x, window.size, window.strides, window.borders[0])
    return F.avg_pool2d(F.pad(x, window.borders * 2), window.size, window.strides)


class PoolLayer(nn.Module):
    """One of the functions above with its window."""

    def __init__(self, function: Callable[[Tensor, PoolWindow], Tensor], window: PoolWindow) -> None:
        super().__init__()
        self.function, self.window = function, window

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, H', W']."""
        return self.function(x, self.window)


class DepthMaxPool(nn.Module):
    """The maximum of every `channels`-th channel: output g is the maximum over g, g + channels, ..."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, channels, H, W]."""
        missing = -x.shape[1] % self.channels
        x = F.pad(x, (0, 0, 0, 0, 0, missing), value=-math.inf) if missing else x
        groups: Tensor = x.unflatten(1, (-1, self.channels))
        return groups.amax(1)


def blur_pool(x: Tensor, size: int, strides: tuple[int, int]) -> Tensor:
    """Anti-aliasing before a stride: [N, C, H, W] -> [N, C, H', W'].

    Size 3 uses the kernel [1 2 1] x [1 2 1] / 16 and zero padding; size 2 is the mean, without padding.
    """
    # [1 2 1] / 4 is the mean of two neighbours, applied twice.
    if size == 3:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 2, 1)
    return F.avg_pool2d(x, 2, strides)


class Blur(nn.Module):
    """`blur_pool` as the last step of a section with antialiasing: 1 is size 3, 2 is size 2."""

    def __init__(self, size: int, strides: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.strides = size, strides

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, H', W']."""
        return blur_pool(x, self.size, self.strides)


class GlobalAvgPool(nn.Module):
    """The mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, 1, 1]."""
        return x.mean((2, 3), keepdim=True)
