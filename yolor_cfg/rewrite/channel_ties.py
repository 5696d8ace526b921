"""Which channels of a network hang together: those that one convolution makes, and all that carry them on.

A channel can go if its values only reach convolutions, through what leaves each channel to itself and a
channel of zeros at zero. Channels that are added to each other can only go together, and so can those of a
depthwise convolution with those that it reads, those that a [route] with groups divides, place by place, and
implicit knowledge with the channels that it is added to or multiplied by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import nn

from yolor_cfg.graph import Node
from yolor_cfg.model import Network
from yolor_cfg.ops.activations import activate
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.combining import Addition, ChannelGroup, Concatenate
from yolor_cfg.ops.dropblock import DropBlock
from yolor_cfg.ops.implicit import ImplicitTensor, VectorCombine, control, select, shift
from yolor_cfg.ops.pooling import GlobalAvgPool, PoolLayer
from yolor_cfg.ops.resampling import RepeatUpsample

Channels = list[int]
"""The numbers of the channels of a map, one for each; equal numbers or tied ones are the same channel."""
PER_CHANNEL = (shift, control, select)
"""What changes each channel of a map by one value of a vector, and gives 0 for a channel and a value of 0."""


class Filter(NamedTuple):
    """What makes a channel, a filter of a convolution or an implicit value: the number of the layer, and its
    row there."""

    layer: int
    row: int


TiedFilters = dict[int, list[Filter]]
"""Filters of channels that go together, by a number that stands for these."""


class ChannelTies:
    """The channels of a network: which are tied, which are fixed, and the filters that make them."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._fixed: set[int] = set()
        self._filters: dict[int, Filter] = {}
        self.channels: dict[int, Channels] = {}
        """The channels of each layer; those of the image are under -1."""

    def add(self, count: int, *, layer: int | None = None) -> Channels:
        """New channels: those of the filters of a layer, else fixed ones."""
        start = len(self._parents)
        new = list(range(start, start + count))
        self._parents += new
        if layer is None:
            self.fix(new)
        else:
            self._filters |= {number: Filter(layer, row) for row, number in enumerate(new)}
        return new

    def fix(self, channels: Channels) -> None:
        """None of these can go."""
        self._fixed.update(channels)

    def tie(self, first: Channels, second: Channels) -> None:
        """Channel by channel, both go or neither does."""
        for one, other in zip(first, second, strict=True):
            self._parents[self.root(other)] = self.root(one)

    def root(self, channel: int) -> int:
        """The number that stands for all channels that are tied to this one."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def groups_of(self, layers: Collection[int]) -> TiedFilters:
        """The filters of each set of tied channels that can go, by its root; all of them are of these
        layers."""
        others = {channel for channel, made in self._filters.items() if made.layer not in layers}
        fixed = {self.root(channel) for channel in self._fixed | others}
        groups: TiedFilters = {}
        for channel, made in self._filters.items():
            if (root := self.root(channel)) not in fixed:
                groups.setdefault(root, []).append(made)
        return groups


def find_ties(network: Network) -> ChannelTies:
    """The channels of all layers of the network."""
    graph, ties = network.graph, ChannelTies()
    lenders = {node.section.weight_source() for node in graph.nodes}
    ties.channels[-1] = ties.add(graph.image.channels)
    for node, module in zip(graph.nodes, network.module_list, strict=True):
        if has_rows(module) and node.index not in lenders:
            channels = _add_rows(node, module, ties)
        else:
            channels = _pass_on(node, module, ties)
        ties.channels[node.index] = channels
    for index in graph.outputs:
        ties.fix(ties.channels[index])
    return ties


def _add_rows(node: Node, module: nn.Module, ties: ChannelTies) -> Channels:
    """New channels, one for each row of the tensors of a layer."""
    can_go = "filters" in node.section.lines and keeps_zero(str(getattr(module, "activation", "linear")))
    channels = ties.add(node.shape.channels, layer=node.index if can_go else None)
    if is_depthwise(module):
        ties.tie(ties.channels[node.sources[0]], channels)
    return channels


def _pass_on(node: Node, module: nn.Module, ties: ChannelTies) -> Channels:
    """The channels of a layer that makes none by filters; what it reads is fixed if it changes that."""
    inputs = [ties.channels[source] for source in node.sources]
    followed = follow(module, inputs, ties)
    if followed is not None:
        return followed
    for one in inputs:
        ties.fix(one)
    return ties.add(node.shape.channels)


def has_rows(module: nn.Module) -> bool:
    """Whether each channel has rows of its own in the tensors of a layer: filters or implicit values."""
    return is_plain_convolution(module) or is_depthwise(module) or is_vector(module)


def is_plain_convolution(module: nn.Module) -> bool:
    """Whether every filter reads all channels, as they are, by weights of its own."""
    convolution = _convolution_of(module)
    return convolution is not None and convolution.groups == 1


def is_depthwise(module: nn.Module) -> bool:
    """Whether every filter reads the one channel in its place."""
    convolution = _convolution_of(module)
    if convolution is None or convolution.groups == 1:
        return False
    return convolution.groups == convolution.in_channels == convolution.out_channels


def _convolution_of(module: nn.Module) -> nn.Conv2d | None:
    """The convolution of a layer that reads its input as it is, by weights of its own."""
    if type(module) is not ConvBlock or module.focus:
        return None
    convolution = getattr(module, module.conv_name)
    return convolution if type(convolution) is nn.Conv2d else None


def is_vector(module: nn.Module) -> bool:
    """Whether it is implicit knowledge with one value of its own for each channel."""
    return type(module) is ImplicitTensor and module.link is None and module.implicit[0, 0].numel() == 1


def keeps_zero(activation: str) -> bool:
    """Whether a channel of zeros stays one, whatever the others are."""
    values = torch.tensor([[0.0, 1.0], [0.0, -5.0]])[:, :, None, None]  # [2, 2, 1, 1]
    return not activate(values, activation)[:, 0].any()


@singledispatch
def follow(module: nn.Module, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    """The channels that a module gives, of those that it reads; None where it mixes or changes them."""
    return None


@follow.register(nn.Identity)
@follow.register(nn.Dropout)
@follow.register(DropBlock)
@follow.register(GlobalAvgPool)
@follow.register(PoolLayer)
@follow.register(RepeatUpsample)
def _(module: nn.Module, inputs: Sequence[Channels], ties: ChannelTies) -> Channels:
    return inputs[0]


@follow.register
def _(module: Concatenate, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    if module.is_flat:
        return None
    parts = [_take_group(channels, module.part, ties) for channels in inputs]
    return [channel for channels in parts for channel in channels]


def _take_group(channels: Channels, part: ChannelGroup, ties: ChannelTies) -> Channels:
    """One of equal groups of channels; place by place they go together, so that they stay equal."""
    size = len(channels) // part.groups
    groups = [channels[start : start + size] for start in range(0, size * part.groups, size)]
    for other in groups[1:]:
        ties.tie(groups[0], other)
    ties.fix(channels[size * part.groups :])
    return groups[part.number]


@follow.register
def _(module: Addition, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    is_plain = type(module) is Addition and keeps_zero(module.sum_of.activation)
    if not is_plain or len({len(channels) for channels in inputs}) > 1:
        return None
    for other in inputs[1:]:
        ties.tie(inputs[0], other)
    return inputs[0]


@follow.register
def _(module: VectorCombine, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    x, z = inputs
    if module.combine not in PER_CHANNEL or module.placing is not None or len(x) != len(z):
        return None
    ties.tie(x, z)
    return x
