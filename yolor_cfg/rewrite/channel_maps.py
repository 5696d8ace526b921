"""Affine maps of channels and how they pass through modules: the building blocks of folding.

N images, C and D channels, H W cells. Everything here is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.ops.combining import Addition, Concatenate, WeightedAddition
from yolor_cfg.ops.dropblock import DropBlock
from yolor_cfg.ops.pooling import GlobalAvgPool, PoolLayer, max_pool2d
from yolor_cfg.ops.resampling import BlockSum, ColumnsFirst, RepeatUpsample


class Obstacle(Exception):
    """Why a map cannot be moved, as a message for the user."""


class ChannelMap(NamedTuple):
    """Each of D channels from one of C: scale * x[source] + shift, or just the shift where source is -1.

    `channels` is C; the three tensors have D elements.
    """

    source: Tensor
    scale: Tensor
    shift: Tensor
    channels: int

    @staticmethod
    def diagonal(scale: Tensor, shift: Tensor) -> ChannelMap:
        """Channel by channel: scale * x + shift."""
        return ChannelMap(torch.arange(len(scale)), scale, shift, len(scale))

    @staticmethod
    def identity(channels: int) -> ChannelMap:
        """The identity map."""
        ones = torch.ones(channels, dtype=torch.float64)
        return ChannelMap.diagonal(ones, torch.zeros_like(ones))

    @staticmethod
    def cat(maps: Sequence[ChannelMap]) -> ChannelMap:
        """The block-diagonal map for channels that are concatenated."""
        starts = [sum(one.channels for one in maps[:i]) for i in range(len(maps))]
        moved = [
            torch.where(one.source < 0, -1, one.source + start)
            for one, start in zip(maps, starts, strict=True)
        ]
        return ChannelMap(
            torch.cat(moved),
            torch.cat([one.scale for one in maps]),
            torch.cat([one.shift for one in maps]),
            sum(one.channels for one in maps),
        )

    @property
    def is_diagonal(self) -> bool:
        """True if every channel depends only on itself."""
        return len(self.source) == self.channels and torch.equal(self.source, torch.arange(self.channels))

    @property
    def has_shift(self) -> bool:
        """True if something is added."""
        return bool(self.shift.any())

    def narrow(self, start: int, count: int) -> ChannelMap:
        """The map of `count` channels from `start` on; only for diagonal maps."""
        end = start + count
        return ChannelMap.diagonal(self.scale[start:end], self.shift[start:end])

    def scale_shift(self, factor: float) -> ChannelMap:
        """The map with its shift multiplied by a factor."""
        return self._replace(shift=self.shift * factor)

    def expand_cells(self, cells: int) -> ChannelMap:
        """The map of flattened inputs with this many cells: each element is mapped like its channel."""
        source, scale, shift = (part.repeat_interleave(cells) for part in self[:3])
        cell = torch.arange(len(source)) % cells
        source = torch.where(source < 0, -1, source * cells + cell)
        return ChannelMap(source, scale, shift, self.channels * cells)

    def tile(self, times: int) -> ChannelMap:
        """The map repeated for concatenated copies of its input."""
        return ChannelMap.cat([self] * times)


def to_channel_map(matrix: Tensor, shift: Tensor) -> ChannelMap | None:
    """matrix [D, C] and shift [D] as a ChannelMap; None if an output mixes several channels."""
    used = matrix != 0
    if bool((used.sum(1) > 1).any()):
        return None
    outputs, channels = matrix.shape
    if outputs == channels and torch.equal(used, used & torch.eye(channels, dtype=torch.bool)):
        return ChannelMap.diagonal(matrix.diagonal().clone(), shift)
    source = torch.where(used.any(1), used.int().argmax(1), -1)
    return ChannelMap(source, matrix.sum(1), shift, channels)


# Downwards: which map of the output do maps of the inputs turn into?


@singledispatch
def propagate_down(module: nn.Module, maps: Sequence[ChannelMap]) -> ChannelMap | None:
    """The map M with module(map_0(x_0), map_1(x_1), ...) = M(module(x_0, x_1, ...)); None for modules that no
    map passes through. Raises Obstacle if only these maps cannot."""
    return None


@propagate_down.register(nn.Identity)
@propagate_down.register(nn.Dropout)
@propagate_down.register(DropBlock)
@propagate_down.register(GlobalAvgPool)
def _(module: nn.Module, maps: Sequence[ChannelMap]) -> ChannelMap:
    return maps[0]


@propagate_down.register
def _(module: Concatenate, maps: Sequence[ChannelMap]) -> ChannelMap:
    groups, number = module.part
    if groups == 1:
        return ChannelMap.cat(maps)
    if not all(one.is_diagonal for one in maps):
        raise Obstacle("a route takes only part of the channels")
    return ChannelMap.cat(
        [one.narrow(number * (one.channels // groups), one.channels // groups) for one in maps]
    )


@propagate_down.register
def _(module: ColumnsFirst, maps: Sequence[ChannelMap]) -> ChannelMap:
    return maps[0].tile(4)


@propagate_down.register
def _(module: RepeatUpsample, maps: Sequence[ChannelMap]) -> ChannelMap:
    return maps[0].scale_shift(module.scale)


@propagate_down.register
def _(module: BlockSum, maps: Sequence[ChannelMap]) -> ChannelMap:
    return maps[0].scale_shift(module.scale * module.stride**2)


@propagate_down.register
def _(module: PoolLayer, maps: Sequence[ChannelMap]) -> ChannelMap:
    if module.function is not max_pool2d or bool((maps[0].scale < 0).any()):
        raise Obstacle("a pooling layer is in between")
    return maps[0]


@propagate_down.register
def _(module: Addition, maps: Sequence[ChannelMap]) -> ChannelMap:
    return _propagate_sum(module, maps, torch.ones(len(maps), 1, dtype=torch.float64))


@propagate_down.register
def _(module: WeightedAddition, maps: Sequence[ChannelMap]) -> ChannelMap:
    shares = module.shares(module.w.detach().double().cpu())
    return _propagate_sum(module, maps, shares.reshape(len(maps), -1))


def _propagate_sum(module: Addition, maps: Sequence[ChannelMap], shares: Tensor) -> ChannelMap:
    """shares [S, C or 1]. The first input sets the number of channels; extra channels are ignored."""
    if module.sum_of.activation != "linear":
        raise Obstacle("an activation is in between")
    first = maps[0]
    shift = torch.zeros_like(first.shift)
    for one, share in zip(maps, shares.expand(-1, len(shift)), strict=True):
        count = min(len(one.scale), len(shift))
        if not one.is_diagonal or not torch.equal(one.scale[:count], first.scale[:count]):
            raise Obstacle("a sum has other terms that are not scaled")
        shift[:count] += share[:count] * one.shift[:count]
    return ChannelMap.diagonal(first.scale, shift)


# Upwards: which maps of the inputs give this map of the output?


@singledispatch
def propagate_up(module: nn.Module, out: ChannelMap, channels: Sequence[int]) -> list[ChannelMap] | None:
    """Maps with module(map_0(x_0), ...) = out(module(x_0, ...)) for inputs with these channel counts and a
    diagonal `out`; None for modules that no map passes through upwards. Raises Obstacle."""
    return None


@propagate_up.register(nn.Identity)
@propagate_up.register(nn.Dropout)
@propagate_up.register(DropBlock)
@propagate_up.register(GlobalAvgPool)
def _(module: nn.Module, out: ChannelMap, channels: Sequence[int]) -> list[ChannelMap]:
    return [out]


@propagate_up.register
def _(module: Concatenate, out: ChannelMap, channels: Sequence[int]) -> list[ChannelMap]:
    if module.part.groups > 1:
        raise Obstacle("a route takes only part of the channels")
    return [out.narrow(sum(channels[:i]), count) for i, count in enumerate(channels)]


@propagate_up.register
def _(module: RepeatUpsample, out: ChannelMap, channels: Sequence[int]) -> list[ChannelMap]:
    if module.scale == 0:
        raise Obstacle("an upsampling layer with scale 0 is in between")
    return [out.scale_shift(1 / module.scale)]


@propagate_up.register
def _(module: Addition, out: ChannelMap, channels: Sequence[int]) -> list[ChannelMap]:
    if module.sum_of.activation != "linear" or type(module) is not Addition or len(set(channels)) > 1:
        raise Obstacle("a sum of unlike terms is in between")
    others = ChannelMap.diagonal(out.scale, torch.zeros_like(out.shift))
    return [out] + [others] * (len(channels) - 1)
