"""Layers whose stored tensors are those of a bigger network, of which they compute a part (darkflow).

N images, C channels, H W cells. An index list names what stays; None stands for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate_
from yolor_cfg.ops.pnnx import take_indices

Indices = Sequence[int] | None


class Cut(NamedTuple):
    """Which inputs and outputs of the whole layer stay."""

    inputs: Indices = None
    outputs: Indices = None


class _CutLayer(nn.Module):
    """The index lists of a cut, and how to apply them to whole tensors."""

    def __init__(self, cut: Cut, activation: str = "linear") -> None:
        super().__init__()
        self.activation, self.cut = activation, cut

    def cut_weight(self, weight: Tensor) -> Tensor:
        """The part [outputs, inputs, ...] of a whole weight."""
        return _take(_take(weight, self.cut.outputs, 0), self.cut.inputs, 1)

    def cut_outputs(self, values: Tensor, axis: int = 0) -> Tensor:
        """The outputs that stay, along an axis."""
        return _take(values, self.cut.outputs, axis)


def _take(values: Tensor, numbers: Indices, axis: int) -> Tensor:
    return values if numbers is None else take_indices(values, numbers, axis)


class CutConv(_CutLayer):
    """A convolution with some of its filters and of their channels; the child Conv2d is the whole one."""

    def __init__(self, conv: nn.Conv2d, cut: Cut, activation: str) -> None:
        super().__init__(cut, activation)
        self.Conv2d = conv

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, outputs, H', W']."""
        conv = self.Conv2d
        assert conv.bias is not None
        weight, bias = self.cut_weight(conv.weight), self.cut_outputs(conv.bias)
        x = F.conv2d(x, weight, bias, conv.stride, conv.padding)
        return activate_(x, self.activation)


class CutLinear(_CutLayer):
    """A fully connected layer with some of its outputs and inputs; the child Linear is the whole one."""

    def __init__(self, linear: nn.Linear, cut: Cut, activation: str) -> None:
        super().__init__(cut, activation)
        self.Linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W], flattened -> [N, outputs, 1, 1]."""
        weight, bias = self.cut_weight(self.Linear.weight), self.cut_outputs(self.Linear.bias)
        return activate_(F.linear(x.flatten(1), weight, bias), self.activation)[:, :, None, None]


class CutBlock(_CutLayer):
    """A whole block of convolution and batch norm, of which some channels stay; its children are that of the
    block."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, cut: Cut) -> None:
        super().__init__(cut)
        self.Conv2d = conv
        self.BatchNorm2d = norm

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, outputs, H', W']."""
        x = self.Conv2d(x)
        if self.BatchNorm2d is not None:
            x = self.BatchNorm2d(x)
        return self.cut_outputs(x, 1)
