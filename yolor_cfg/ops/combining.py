"""Combines several values into one. Legend: N images, C channels, H W cells, S sources.

A value that does not depend on the image may have N = 1; it is then broadcast over the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate_

DARKNET_EPSILON = 1e-4
"""What C Darknet adds to the denominator when it normalises the weights of a shortcut (shortcut_layer.c)."""


def cat_channels(parts: Sequence[Tensor]) -> Tensor:
    """The parts concatenated along the channels; parts with N = 1 are expanded to the batch."""
    images = max(part.shape[0] for part in parts)
    spread = [part if part.shape[0] == images else part.expand(images, -1, -1, -1) for part in parts]
    return torch.cat(spread, dim=1)


def add_shortcut(total: Tensor, source: Tensor, *, fresh: bool) -> Tensor:
    """total + source [N, C, H, W], with the C of `total`: missing channels are zeros, extra ones ignored.

    A `fresh` total is not read again and is overwritten if gradients are disabled.
    """
    missing = total.shape[1] - source.shape[1]
    source = F.pad(source, (0, 0, 0, 0, 0, missing)) if missing else source  # a negative pad crops
    if fresh and not torch.is_grad_enabled() and total.shape == source.shape:
        return total.add_(source)
    return total + source


def relu_shares(weights: Tensor) -> Tensor:
    """weights [S, ...] -> relu, divided by the sum over the sources (plus the epsilon)."""
    positive = weights.clamp(min=0)
    return positive / (DARKNET_EPSILON + positive.sum(0))


def softmax_shares(weights: Tensor) -> Tensor:
    """weights [S, ...] -> softmax over the sources, with Darknet's epsilon in the denominator."""
    grown = (weights - weights.amax(0)).exp()
    return grown / (DARKNET_EPSILON + grown.sum(0))


def sigmoid_shares(weights: Tensor) -> Tensor:
    """weights [S, ...] -> sigmoid x 2 / S: weights of 0, the initial value, give 1 / S."""
    return weights.sigmoid() * (2 / weights.shape[0])


class ChannelGroup(NamedTuple):
    """Which channels of each source to take: the `number`-th of `groups` equal groups."""

    groups: int = 1
    number: int = 0

    def take(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C/groups, H, W], a view."""
        count = x.shape[1] // self.groups
        return x if self.groups == 1 else x[:, self.number * count : (self.number + 1) * count]


class Concatenate(nn.Module):
    """Concatenates the inputs, or one group of channels of each; the last `detached` get no gradient. With
    `is_flat` the inputs differ in size and become one vector."""

    def __init__(self, part: ChannelGroup, detached: int, *, is_flat: bool = False) -> None:
        super().__init__()
        self.part, self.detached, self.is_flat = part, detached, is_flat

    def forward(self, *inputs: Tensor) -> Tensor:
        """inputs [N, C_i, H, W] -> [N, sum of C_i / groups, H, W]; a single input is returned unchanged."""
        learning = len(inputs) - self.detached
        parts = [self.part.take(x if i < learning else x.detach()) for i, x in enumerate(inputs)]
        if self.is_flat:
            parts = [part.reshape(part.shape[0], -1, 1, 1) for part in parts]
        return parts[0] if len(parts) == 1 else cat_channels(parts)


class ShortcutOptions(NamedTuple):
    """How a shortcut adds: the activation of the sum, and for each source the step between its pixels."""

    activation: str
    steps: tuple[int, ...]

    def subsample(self, sources: Sequence[Tensor]) -> list[Tensor]:
        """The sources [N, C, H*step, W*step] -> [N, C, H, W] each."""
        pairs = zip(sources, self.steps, strict=True)
        return [x if step == 1 else x[:, :, ::step, ::step] for x, step in pairs]


class Addition(nn.Module):
    """The sum of the input and its sources, then the activation; the input sets the number of channels."""

    def __init__(self, sum_of: ShortcutOptions) -> None:
        super().__init__()
        self.sum_of = sum_of

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        """x [N, C, H, W], sources [N, any, H, W] -> [N, C, H, W]."""
        return activate_(self.total(x, self.sum_of.subsample(sources)), self.sum_of.activation)

    def total(self, x: Tensor, sources: Sequence[Tensor]) -> Tensor:
        """The sum, always a new tensor."""
        for i, source in enumerate(sources):
            x = add_shortcut(x, source, fresh=i > 0)
        return x


class CommonPart(NamedTuple):
    """How the first Darknet adds two maps: alpha * x + beta * y where both have a cell; y gives every
    `y_step`-th of its own, x takes them at every `x_step`-th."""

    alpha: float
    beta: float
    y_step: int
    x_step: int

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x [N, C, H, W], y [N, any, any, any] -> [N, C, H, W]; x is not modified."""
        channels = min(x.shape[1], y.shape[1])
        taken = y[:, :channels, :: self.y_step, :: self.y_step]
        height = min(x.shape[2] // self.x_step, taken.shape[2])
        width = min(x.shape[3] // self.x_step, taken.shape[3])
        total = x.expand(max(x.shape[0], y.shape[0]), -1, -1, -1).clone()
        place = total[:, :channels, : height * self.x_step : self.x_step, : width * self.x_step : self.x_step]
        place.mul_(self.alpha).add_(self.beta * taken[:, :, :height, :width])
        return total


class CommonAddition(nn.Module):
    """The sum of a CommonPart, then the activation."""

    def __init__(self, common: CommonPart, activation: str) -> None:
        super().__init__()
        self.common, self.activation = common, activation

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x [N, C, H, W], y [N, any, any, any] -> [N, C, H, W]."""
        return activate_(self.common.add(x, y), self.activation)


class WeightedAddition(Addition):
    """Like Addition, with a learned weight per input (and channel): `w` [S] or [S, C], the input first."""

    def __init__(self, sum_of: ShortcutOptions, weights: Tensor, shares: Callable[[Tensor], Tensor]) -> None:
        super().__init__(sum_of)
        self.w = nn.Parameter(weights)
        self.shares = shares

    def total(self, x: Tensor, sources: Sequence[Tensor]) -> Tensor:
        """The weighted sum; a source with fewer channels than the input uses the first weights."""
        shares = self.shares(self.w).reshape(len(self.w), -1, 1, 1)  # [S, 1 or C, 1, 1]
        total = x * shares[0]
        for share, source in zip(shares[1:], sources, strict=True):
            count = min(source.shape[1], total.shape[1])
            total = add_shortcut(total, source[:, :count] * share[:count], fresh=True)
        return total


class Multiply(nn.Module):
    """The broadcast product of both inputs, then the activation."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y [N, C or 1, H or 1, W or 1] -> [N, C, H, W]."""
        return activate_(x * y, self.activation)
