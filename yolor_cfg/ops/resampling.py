"""Enlarges, shrinks and reorders maps. Legend: N images, C channels, H W cells, s the stride."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.pnnx import is_for_pnnx


def space_to_depth(x: Tensor, stride: int) -> Tensor:
    """[N, C, H, W] -> [N, s*s*C, H/s, W/s]: all C channels at offset (dy, dx) = (0, 0), then (0, 1), ..."""
    N, C, H, W = x.shape
    if is_for_pnnx():  # it converts no tensors of six axes
        pixels = F.pixel_unshuffle(x, stride)
        offsets = pixels.reshape(N, C, stride**2, H // stride, W // stride).transpose(1, 2)
        return offsets.reshape(N, C * stride**2, H // stride, W // stride)
    cells = x.reshape(N, C, H // stride, stride, W // stride, stride)
    return cells.permute(0, 3, 5, 1, 2, 4).reshape(N, C * stride**2, H // stride, W // stride)


def depth_to_space(x: Tensor, stride: int) -> Tensor:
    """[N, s*s*C, H, W] -> [N, C, s*H, s*W]: the inverse of `space_to_depth`."""
    N, C, H, W = x.shape
    if is_for_pnnx():  # four axes: of five behind a reshape pnnx makes a wrong ShuffleChannel
        pixels = x.reshape(N, stride**2, C // stride**2, H * W).transpose(1, 2)
        return F.pixel_shuffle(pixels.reshape(N, C, H, W), stride)
    cells = x.reshape(N, stride, stride, C // stride**2, H, W)
    return cells.permute(0, 3, 4, 1, 5, 2).reshape(N, C // stride**2, H * stride, W * stride)


def _pixels_of_blocks(x: Tensor) -> Sequence[Tensor]:
    """[N, C, H, W] -> the pixels (dy, dx) = 00, 01, 10, 11 of all 2x2 blocks, each [N, C, H/2, W/2].

    In exported files without slices with steps, which ncnn does not have.
    """
    if is_for_pnnx() or torch.compiler.is_exporting():
        return space_to_depth(x, 2).chunk(4, dim=1)
    return [x[:, :, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]


def space_to_depth_by_columns(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 4*C, H/2, W/2]: like `space_to_depth`, (dy, dx) in the order 00, 10, 01, 11."""
    a, b, c, d = _pixels_of_blocks(x)
    return torch.cat([a, c, b, d], dim=1)


def darknet_reorg(x: Tensor, stride: int) -> Tensor:
    """[N, C, H, W] -> [N, s*s*C, H/s, W/s] as in YOLOv2; C % (s*s) == 0.

    It reinterprets the data as a map that is s times larger with s*s times fewer channels, reorders that,
    and reinterprets the result as the small map.
    """
    N, C, H, W = x.shape
    seen_as = x.reshape(N, C // stride**2, H * stride, W * stride)
    return space_to_depth(seen_as, stride).reshape(N, C * stride**2, H // stride, W // stride)


def reorg3d_reverse(x: Tensor, stride: int) -> Tensor:
    """[N, C, H, W] -> [N, C/(s*s), s*H, s*W] as in Darknet; C % s**4 == 0.

    It reinterprets the data as a map of the output's size and applies depth to space to that: this is not the
    inverse of `space_to_depth`.
    """
    N, C, H, W = x.shape
    large = (N, C // stride**2, H * stride, W * stride)
    return depth_to_space(x.reshape(large), stride).reshape(large)


def wavelet_transform(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 4*C, H/2, W/2]: means of 2x2 blocks, then three differences per channel.

    They are upper - lower, left - right, one diagonal - the other, each divided by 4 and shifted by 0.5.
    """
    a, b, c, d = _pixels_of_blocks(x)
    details = torch.stack([a + b - c - d, a - b + c - d, a - b - c + d], dim=2)  # [N, C, 3, H/2, W/2]
    return torch.cat([(a + b + c + d) / 4, details.flatten(1, 2) / 4 + 0.5], dim=1)


class Reorder(nn.Module):
    """One of the functions above with its stride."""

    def __init__(self, function: Callable[[Tensor, int], Tensor], stride: int) -> None:
        super().__init__()
        self.function, self.stride = function, stride

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C', H', W'] with the same values in another order."""
        return self.function(x, self.stride)


class ColumnsFirst(nn.Module):
    """`space_to_depth_by_columns`."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, 4*C, H/2, W/2]."""
        return space_to_depth_by_columns(x)


class CellOrder(nn.Module):
    """The numbers of each cell one after the other as a map of another shape, or back with `reverse`."""

    def __init__(self, shape: tuple[int, int, int], *, reverse: bool) -> None:
        super().__init__()
        self.shape, self.reverse = tuple(shape), reverse

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, *shape], as many numbers."""
        N, C, H, W = x.shape
        if self.reverse:
            return x.reshape(N, H * W, C).transpose(1, 2).reshape(N, *self.shape)
        return x.permute(0, 2, 3, 1).reshape(N, *self.shape)


class ExtraZeros(nn.Module):
    """The numbers of a map and `count` zeros after them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C*H*W + count, 1, 1]."""
        return F.pad(x.flatten(1), (0, self.count))[:, :, None, None]


class Wavelets(nn.Module):
    """`wavelet_transform`."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, 4*C, H/2, W/2]."""
        return wavelet_transform(x)


EXACT_STRIDES = 40
"""Up to here torch's nearest mode, which multiplies by 1 / stride in float32, finds the right pixel."""


class RepeatUpsample(nn.Module):
    """Repeats each pixel `stride` times along both axes, times `scale`."""

    def __init__(self, stride: int, scale: float) -> None:
        super().__init__()
        self.stride, self.scale = stride, scale

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, s*H, s*W]."""
        x = x if self.scale == 1 else x * self.scale
        if self.stride > EXACT_STRIDES:
            return x.repeat_interleave(self.stride, 2).repeat_interleave(self.stride, 3)
        return F.interpolate(x, scale_factor=float(self.stride), mode="nearest")


class BlockSum(nn.Module):
    """The sum (not the mean) of each block of `stride` x `stride` pixels, times `scale`.

    Where the blocks leave a rest, C Darknet (upsample_cpu) takes the numbers for those of a map without it.
    """

    def __init__(self, stride: int, scale: float) -> None:
        super().__init__()
        self.stride, self.scale = stride, scale

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, H/s, W/s]."""
        N, C, H, W = x.shape
        height, width = (length // self.stride * self.stride for length in (H, W))
        if (height, width) != (H, W):
            x = x.flatten(1)[:, : C * height * width].reshape(N, C, height, width)
        total = F.avg_pool2d(x, self.stride, divisor_override=1)
        return total if self.scale == 1 else total * self.scale


class CenterCrop(nn.Module):
    """The centre of the map, then scale * x + shift."""

    def __init__(self, size: tuple[int, int], scale: float, shift: float) -> None:
        super().__init__()
        self.size, self.scale, self.shift = size, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, height, width]."""
        height, width = self.size
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        return x[:, :, top : top + height, left : left + width] * self.scale + self.shift
