"""The size of one value between sections, without the batch."""

from __future__ import annotations

from typing import NamedTuple

WidthHeight = tuple[float, float]
"""Across, down: a width and a height, or the strides of a map."""


class Shape(NamedTuple):
    """Channels, height and width; a vector of n numbers is Shape(n, 1, 1)."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """How many numbers one image has here."""
        return self.channels * self.height * self.width

    @property
    def area(self) -> int:
        """How many cells (pixels) one channel has."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"
