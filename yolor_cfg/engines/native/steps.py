"""Maps and the steps between them: what a network is lowered to.

Legend: N images, C channels, H W cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(eq=False)
class Map:
    """A value [N, C, H, W]. One with a host is some of the host's channels, from `first` on. `border` pixels
    of zeros lie around it, as many as its readers pad with; `wide` maps hold float32 in every precision."""

    channels: int
    height: int
    width: int
    host: Map | None = None
    first: int = 0
    border: int = 0
    wide: bool = False
    is_image: bool = False

    @property
    def root(self) -> Map:
        """The map with memory of its own that this one is a part of."""
        return self if self.host is None else self.host.root

    @property
    def offset(self) -> int:
        """Its first channel in the root."""
        return 0 if self.host is None else self.host.offset + self.first

    @property
    def area(self) -> int:
        """Its number of cells."""
        return self.height * self.width


class Window(NamedTuple):
    """A kernel that moves over a map; pairs are (down, across). For enlarging, `stride` is the factor."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1


class Filters(NamedTuple):
    """weight [K, C, h, w] and bias [K] of a convolution of one group, or of one group per channel
    (weight [C, 1, h, w])."""

    weight: Tensor
    bias: Tensor
    is_depthwise: bool = False


@dataclass(eq=False)
class Step:
    """An operation of the kernels by the name of its kind, or with `call` a function of torch on maps
    [N, C, H, W] in float32. out = second(activation(kind(source) + bias) + extra)."""

    kind: str
    sources: list[Map]
    out: Map
    window: Window = Window()
    filters: Filters | None = None
    activation: str = "linear"
    extra: Map | None = None
    second: str = "linear"
    call: Callable[..., Tensor] | None = None
    label: str = ""

    @property
    def reads(self) -> list[Map]:
        """Every map that the step reads."""
        return self.sources if self.extra is None else [*self.sources, self.extra]

    @property
    def macs(self) -> int:
        """Multiplications and additions by image, for the profile."""
        return self.filters.weight[0].numel() * self.out.channels * self.out.area if self.filters else 0


@dataclass
class Steps:
    """A network as steps. `results` are the maps that it returns, each with the module that gives a head's
    raw map its form, of one map or of several that it fuses (None: the map itself). `torch_steps` counts
    what no kernel computes, by section."""

    image: Map
    steps: list[Step] = field(default_factory=list)
    results: list[tuple[tuple[Map, ...], nn.Module | None]] = field(default_factory=list)
    torch_steps: list[str] = field(default_factory=list)


def probe_stem(stem: Callable[[Tensor], Tensor], channels: int, factor: int) -> tuple[Tensor, Tensor]:
    """matrix [D, channels, factor, factor] and shift [D] of a re-layout that turns each block of pixels into
    a cell, in float64."""
    numbers = channels * factor * factor
    basis = torch.zeros(numbers + 1, channels, factor, factor, dtype=torch.float64)
    basis[:numbers] = torch.eye(numbers, dtype=torch.float64).reshape(numbers, channels, factor, factor)
    found = stem(basis)[:, :, 0, 0]
    matrix = (found[:numbers] - found[numbers]).T
    return matrix.reshape(-1, channels, factor, factor), found[numbers]


def fold_stem(filters: Filters, matrix: Tensor, shift: Tensor) -> Filters:
    """The convolution of the image that equals the filters on the re-layout of it; the padding has to be zero
    where the shift is not."""
    weight = filters.weight.double()
    wide = torch.einsum("ocij,cnab->oniajb", weight, matrix)
    K, n, h, a, w, b = wide.shape
    bias = filters.bias.double() + torch.einsum("ocij,c->o", weight, shift)
    return Filters(wide.reshape(K, n, h * a, w * b).to(filters.weight.dtype), bias.to(filters.bias.dtype))
