"""How a kernel moves over a map. Loads without torch, so that sections and modules share it."""

from __future__ import annotations

from typing import NamedTuple


class ConvGeometry(NamedTuple):
    """(down, across) steps, zeros on each side, pixels from one kernel element to the next, groups:
    the order of conv2d's arguments."""

    strides: tuple[int, int]
    padding: int
    dilation: int = 1
    groups: int = 1

    def positions(self, size: int, height: int, width: int) -> tuple[int, int]:
        """How many places down and across a kernel of that size has on a map."""
        reach = self.dilation * (size - 1) + 1
        down, across = self.strides
        beyond = 2 * self.padding - reach
        return (height + beyond) // down + 1, (width + beyond) // across + 1
