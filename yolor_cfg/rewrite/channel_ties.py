"""Which channels of a network hang together: those that one convolution makes, and all that carry them on.

A channel can go if its values only reach convolutions, through what leaves each channel to itself and a
channel of zeros at zero. Channels that are added to each other can only go together, and so can those that
are multiplied by each other, those of a depthwise convolution with those that it reads, those that a [route]
with groups divides, place by place, and implicit knowledge with the channels that it is added to or
multiplied by. A product is zero where one of its factors is: the others go with it, whatever they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import nn

from yolor_cfg.graph import Node
from yolor_cfg.model import Network
from yolor_cfg.ops.activations import activate
from yolor_cfg.ops.blocks import ActivationLayer, ConvBlock, SharedConvBlock
from yolor_cfg.ops.combining import Addition, ChannelGroup, Concatenate, Multiply
from yolor_cfg.ops.dropblock import DropBlock
from yolor_cfg.ops.implicit import ImplicitTensor, VectorCombine, control, select, shift
from yolor_cfg.ops.pooling import Blur, GlobalAvgPool, PoolLayer
from yolor_cfg.ops.resampling import ColumnsFirst, Reorder, RepeatUpsample, space_to_depth

Channels = list[int]
"""The numbers of the channels of a map, one for each; equal numbers or tied ones are the same channel."""
UNSCORED = "they have no batch norm, by which --by bn goes"
SHARED = "a layer with shared weights needs them"
SCALING = (control, select)
"""What multiplies each channel of a map by one value of a vector."""


class Filter(NamedTuple):
    """What makes a channel, a filter of a convolution or an implicit value: the number of the layer, and its
    row there."""

    layer: int
    row: int


class Hold(NamedTuple):
    """Why channels stay: the number of the layer that needs them, and the reason in words."""

    layer: int
    reason: str


class TiedFilters(NamedTuple):
    """Filters that go together, by the number that stands for their channels: how much they matter, and why
    they stay (None: they can go)."""

    root: int
    filters: list[Filter]
    worth: float = 0.0
    cause: Hold | None = None


RowScores = Mapping[int, Sequence[float]]
"""How much each row of a layer matters, for the layers where that can be told."""


class ChannelTies:
    """The channels of a network: which are tied, which are fixed, and what makes them."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._fixed: dict[int, Hold] = {}
        self._filters: dict[int, Filter] = {}
        self._restless: dict[int, Hold] = {}  # by layer: its filters cannot be silent
        self._products: dict[int, Channels] = {}  # with the factors that can make it zero
        self._factors: set[int] = set()
        self._read: set[int] = set()
        self.channels: dict[int, Channels] = {}
        """The channels of each layer; those of the image are under -1."""
        self.layer = -1
        """The layer that is looked at: it makes new filters, and is the cause of what is fixed."""

    def add(self, count: int) -> Channels:
        """New channels."""
        start = len(self._parents)
        new = list(range(start, start + count))
        self._parents += new
        return new

    def add_filters(self, count: int) -> Channels:
        """New channels that the filters of the layer make."""
        new = self.add(count)
        self._filters |= {number: Filter(self.layer, row) for row, number in enumerate(new)}
        return new

    def fix(self, channels: Channels, reason: str) -> None:
        """None of these can go."""
        for channel in channels:
            self._fixed.setdefault(channel, Hold(self.layer, reason))

    def set_restless(self, reason: str) -> None:
        """The filters of the layer never give zeros: they go as factors alone."""
        self._restless[self.layer] = Hold(self.layer, reason)

    def read(self, channels: Channels) -> None:
        """Something goes by these, and not only as factors."""
        self._read.update(channels)

    def tie(self, first: Channels, second: Channels) -> None:
        """Channel by channel, both go or neither does."""
        for one, other in zip(first, second, strict=True):
            self._parents[self.root(other)] = self.root(one)

    def multiply(self, x: Channels, y: Channels, *, either: bool) -> Channels:
        """The products of channels: zero where x is, with `either` also where y is."""
        products = self.add(len(x))
        for factors, product in zip(zip(x, y, strict=True), products, strict=True):
            self._products[product] = list(factors if either else factors[:1])
            self._factors.update(factors)
        for factor in (x, y):
            self.tie(factor, products)
        return products

    def root(self, channel: int) -> int:
        """The number that stands for all channels that are tied to this one."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def groups_of(self, scores: RowScores) -> list[TiedFilters]:
        """The filters of each set of tied channels. They matter as the channel of them that matters most, a
        product as the factor that matters least; what is read as a factor alone has no say."""
        groups: dict[int, TiedFilters] = {}
        for channel, made in self._filters.items():
            root = self.root(channel)
            groups.setdefault(root, TiedFilters(root, [])).filters.append(made)
        mere_factors = self._factors - self._read
        for channel, worth in self._worths(scores).items():
            root = self.root(channel)
            if root in groups and channel not in mere_factors and worth > groups[root].worth:
                cause = self._find_hold(channel) if math.isinf(worth) else None
                groups[root] = groups[root]._replace(worth=worth, cause=cause)
        for channel, cause in reversed(self._fixed.items()):
            if (root := self.root(channel)) in groups:
                groups[root] = groups[root]._replace(cause=cause)
        return list(groups.values())

    def _worths(self, scores: RowScores) -> dict[int, float]:
        """How much each filter and product matters; infinite where it cannot be zero, or nothing is told."""
        worths = {
            channel: scores[layer][row] if layer in scores and layer not in self._restless else math.inf
            for channel, (layer, row) in self._filters.items()
        }
        for product, factors in self._products.items():  # each after its factors
            worths[product] = min(worths.get(factor, math.inf) for factor in factors)
        return worths

    def _find_hold(self, channel: int) -> Hold:
        """Why this channel, which cannot be zero, stays."""
        while channel in self._products:
            channel = self._products[channel][0]
        if channel not in self._filters:
            return self._fixed[channel]
        layer = self._filters[channel].layer
        return self._restless.get(layer, Hold(layer, UNSCORED))


def find_ties(network: Network) -> ChannelTies:
    """The channels of all layers of the network."""
    graph, ties = network.graph, ChannelTies()
    lenders = {node.section.weight_source() for node in graph.nodes}
    ties.channels[-1] = ties.add(graph.image.channels)
    ties.fix(ties.channels[-1], "the image has them")
    for node, module in zip(graph.nodes, network.module_list, strict=True):
        ties.layer = node.index
        if node.index in lenders:
            channels = _fix_around(node, module, ties, reason=SHARED)
        elif has_rows(module):
            channels = _add_rows(node, module, ties)
        else:
            channels = _pass_on(node, module, ties)
        ties.channels[node.index] = channels
    for ties.layer in graph.outputs:
        ties.fix(ties.channels[ties.layer], "the network gives them out")
    return ties


def _add_rows(node: Node, module: nn.Module, ties: ChannelTies) -> Channels:
    """New channels, one for each row of the tensors of a layer."""
    channels = ties.add_filters(node.shape.channels)
    if "filters" not in node.section.lines:
        ties.fix(channels, "their section has no line filters=")
    activation = str(getattr(module, "activation", "linear"))
    if not keeps_zero(activation):
        ties.set_restless(f"activation={activation} makes something of 0")
    for source in node.sources:
        ties.read(ties.channels[source])
    if is_depthwise(module):
        ties.tie(ties.channels[node.sources[0]], channels)
    return channels


def _pass_on(node: Node, module: nn.Module, ties: ChannelTies) -> Channels:
    """The channels of a layer that makes none by filters; what it reads is fixed if it changes that."""
    followed = follow(module, [ties.channels[source] for source in node.sources], ties)
    return _fix_around(node, module, ties, reason=_needs(node, module)) if followed is None else followed


def _fix_around(node: Node, module: nn.Module, ties: ChannelTies, *, reason: str) -> Channels:
    """The channels of a layer for which nothing can change, neither what it reads nor what it gives."""
    for source in node.sources:
        ties.fix(ties.channels[source], reason)
    add = ties.add_filters if isinstance(module, ConvBlock) else ties.add
    channels = add(node.shape.channels)
    ties.fix(channels, reason)
    return channels


def _needs(node: Node, module: nn.Module) -> str:
    """Why a layer that no channel passes through needs what it reads."""
    if isinstance(module, SharedConvBlock):
        return SHARED
    kind = f"[{node.section.type}]"
    convolution = getattr(module, module.conv_name) if type(module) is ConvBlock else None
    if isinstance(convolution, nn.Conv2d) and convolution.groups > 1:
        return f"{kind} with groups needs them"
    return f"{kind} needs them"


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
@follow.register(Blur)
@follow.register(RepeatUpsample)
def _(module: nn.Module, inputs: Sequence[Channels], ties: ChannelTies) -> Channels:
    return inputs[0]


@follow.register
def _(module: nn.Sequential, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    followed: Channels | None = inputs[0]
    for part in module:
        followed = None if followed is None else follow(part, [followed], ties)
    return followed


@follow.register
def _(module: ActivationLayer, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    return inputs[0] if keeps_zero(module.name) else None


@follow.register
def _(module: Reorder, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    return inputs[0] * module.stride**2 if module.function is space_to_depth else None


@follow.register
def _(module: ColumnsFirst, inputs: Sequence[Channels], ties: ChannelTies) -> Channels:
    return inputs[0] * 4


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
    ties.fix(channels[size * part.groups :], "a [route] with groups leaves them out")
    return groups[part.number]


@follow.register
def _(module: Addition, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    is_plain = type(module) is Addition and keeps_zero(module.sum_of.activation)
    if not is_plain or len({len(channels) for channels in inputs}) > 1:
        return None
    for channels in inputs:
        ties.read(channels)
        ties.tie(inputs[0], channels)
    return inputs[0]


@follow.register
def _(module: Multiply, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    scale, x = inputs
    if not keeps_zero(module.activation):
        return None
    if len(scale) == len(x):
        return ties.multiply(scale, x, either=True)
    ties.fix(scale, "they scale every channel of a map")
    return x


@follow.register
def _(module: VectorCombine, inputs: Sequence[Channels], ties: ChannelTies) -> Channels | None:
    x, z = inputs
    if module.placing is not None or len(x) != len(z):
        return None
    if module.combine in SCALING:
        return ties.multiply(x, z, either=False)
    if module.combine is not shift:
        return None
    ties.read(x)
    ties.read(z)
    ties.tie(x, z)
    return x
