"""The shape of one value between sections, without the batch dimension."""

from __future__ import annotations

from typing import NamedTuple

WidthHeight = tuple[float, float]
"""Horizontal, vertical: a width and a height, or the strides of a map."""


class Shape(NamedTuple):
    """Channels, height and width; a vector of n numbers is Shape(n, 1, 1)."""

    channels: int
    height: int
    width: int

    @property
    def is_map(self) -> bool:
        """False for a vector that C Darknet does not take for a map of one cell."""
        return True

    @property
    def size(self) -> int:
        """Number of elements for one image."""
        return self.channels * self.height * self.width

    @property
    def area(self) -> int:
        """Number of cells (pixels) per channel."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


class FlatShape(Shape):
    """A vector for which C Darknet has neither a height nor a width, as after [softmax]."""

    @property
    def is_map(self) -> bool:
        """It is none."""
        return False
