"""The geometry of a convolution. Needs no torch, so that sections and modules can share it."""

from __future__ import annotations

from typing import NamedTuple


class ConvGeometry(NamedTuple):
    """Strides (down, across), padding on each side, dilation and groups, in the order of conv2d's
    arguments."""

    strides: tuple[int, int]
    padding: int
    dilation: int = 1
    groups: int = 1

    def positions(self, size: int, height: int, width: int) -> tuple[int, int]:
        """The output height and width for a kernel of this size on a map."""
        reach = self.dilation * (size - 1) + 1
        down, across = self.strides
        beyond = 2 * self.padding - reach
        return (height + beyond) // down + 1, (width + beyond) // across + 1

    def spread(self, size: int, height: int, width: int) -> tuple[int, int]:
        """The output height and width of a transposed convolution, which cuts off the padding."""
        reach = self.dilation * (size - 1) + 1
        down, across = self.strides
        more = reach - 2 * self.padding
        return (height - 1) * down + more, (width - 1) * across + more


def half_size(size: int, rule: str) -> int:
    """The padding on each side that `pad` asks for, by the rule of a dialect (`conv_padding`)."""
    return (size - 1) // 2 if rule in ("half", "always") else size // 2
