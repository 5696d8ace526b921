"""The geometry of a convolution. Needs no torch, so that sections and modules can share it."""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.ops.windows import CellWindow, Sight


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

    def sight(self, size: int) -> Sight:
        """What the outputs of a kernel of this size read."""
        after = self.dilation * (size - 1) - self.padding
        down, across = ((CellWindow(stride, self.padding, after),) for stride in self.strides)
        return Sight(down, across)

    def spread_sight(self, size: int) -> Sight:
        """What the outputs of a transposed convolution read: the first cell is rounded up."""
        reach = self.dilation * (size - 1) - self.padding
        down, across = (
            (CellWindow(1, reach + 1 - stride, self.padding, parts=stride),) for stride in self.strides
        )
        return Sight(down, across)

    def spread(self, size: int, height: int, width: int) -> tuple[int, int]:
        """The output height and width of a transposed convolution, which cuts off the padding."""
        reach = self.dilation * (size - 1) + 1
        down, across = self.strides
        more = reach - 2 * self.padding
        return (height - 1) * down + more, (width - 1) * across + more


def last_window_borders(length: int, size: int, stride: int) -> tuple[int, int]:
    """The padding before and after an axis with which the last window just fits (TensorFlow's SAME)."""
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


def blur_geometry(size: int, strides: tuple[int, int]) -> ConvGeometry:
    """That of a blur behind a stride: a 2x2 mean without zero padding, or a 3x3 blur with it."""
    return ConvGeometry(strides, padding=size - 2)


def half_size(size: int, rule: str) -> int:
    """The padding on each side that `pad` asks for, by the rule of a dialect (`conv_padding`)."""
    return (size - 1) // 2 if rule in ("half", "always") else size // 2
