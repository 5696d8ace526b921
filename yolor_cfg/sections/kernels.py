"""The kernels of a convolution in names and numbers: equal ones, or different sizes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from yolor_cfg.sections.base import Stored


class Kernel(NamedTuple):
    """Equal kernels: the state-dict name of their convolution, their side, the output channels they make."""

    name: str
    size: int
    filters: int

    def weight(self, channels: int, *, flipped: bool = False) -> Stored:
        """The stored kernels [filters, channels, size, size]; channels are those of one group."""
        shape = (self.filters, channels, self.size, self.size)
        return Stored("weight", f"{self.name}.weight", shape, flipped=flipped)

    def bias(self) -> Stored:
        """The stored biases [filters]."""
        return Stored("bias", f"{self.name}.bias", (self.filters,))


def side_by_side(sizes: Sequence[int], filters: int) -> list[Kernel]:
    """The kernels of each size; several sizes share the filters so that all have about as many weights."""
    if len(sizes) == 1:
        return [Kernel("Conv2d", sizes[0], filters)]
    parts = enumerate(zip(sizes, equal_weights(sizes, filters), strict=True))
    return [Kernel(f"MixConv2d.m.{number}", size, share) for number, (size, share) in parts]


def equal_weights(sizes: Sequence[int], filters: int) -> list[int]:
    """The filters of each size when all have as many weights, rounded; their sum may be one off."""
    whole = sum(size**-2 for size in sizes)
    return [round(filters * size**-2 / whole) for size in sizes]


def can_share(sizes: Sequence[int], filters: int) -> bool:
    """True where the rounded shares give every size something and `filters` in all."""
    shares = equal_weights(sizes, filters)
    return sum(shares) == filters and min(shares) > 0


def next_sharable(sizes: Sequence[int], filters: int) -> int:
    """The smallest larger number of filters that these sizes can share."""
    return next(more for more in count(filters + 1) if can_share(sizes, more))
