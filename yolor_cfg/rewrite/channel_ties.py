"""Which channels of a network hang together: those that one convolution makes, and all that carry them on.

A channel can go if its values only reach convolutions, through what leaves each channel to itself and a
channel of zeros at zero. Channels that are added to each other can only go together.
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
from yolor_cfg.ops.combining import Addition, Concatenate
from yolor_cfg.ops.dropblock import DropBlock
from yolor_cfg.ops.pooling import GlobalAvgPool, PoolLayer
from yolor_cfg.ops.resampling import RepeatUpsample

Channels = list[int]
"""The numbers of the channels of a map, one for each; equal numbers or tied ones are the same channel."""


class Filter(NamedTuple):
    """The filter of a convolution that makes a channel: the number of the layer, and its row there."""

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
        if is_plain_convolution(module) and node.index not in lenders:
            can_go = "filters" in node.section.lines and keeps_zero(str(module.activation))
            channels = ties.add(node.shape.channels, layer=node.index if can_go else None)
        else:
            channels = _pass_on(node, module, ties)
        ties.channels[node.index] = channels
    for index in graph.outputs:
        ties.fix(ties.channels[index])
    return ties


def _pass_on(node: Node, module: nn.Module, ties: ChannelTies) -> Channels:
    """The channels of a layer that makes none by filters; what it reads is fixed if it changes that."""
    inputs = [ties.channels[source] for source in node.sources]
    followed = follow(module, inputs, ties)
    if followed is not None:
        return followed
    for one in inputs:
        ties.fix(one)
    return ties.add(node.shape.channels)


def is_plain_convolution(module: nn.Module) -> bool:
    """Whether every filter reads all channels, as they are, by weights of its own."""
    if type(module) is not ConvBlock or module.focus:
        return False
    convolution = getattr(module, module.conv_name)
    return type(convolution) is nn.Conv2d and convolution.groups == 1


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
    if module.is_flat or module.part.groups > 1:  # the parts have to stay equal
        return None
    return [channel for channels in inputs for channel in channels]


@follow.register
def _(module: Addition, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    is_plain = type(module) is Addition and keeps_zero(module.sum_of.activation)
    if not is_plain or len({len(channels) for channels in inputs}) > 1:
        return None
    for other in inputs[1:]:
        ties.tie(inputs[0], other)
    return inputs[0]
