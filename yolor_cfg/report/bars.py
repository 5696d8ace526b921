"""Bars around a middle, their scale and its colours, and the texts beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from yolor_cfg.images.types import Image
from yolor_cfg.report.plots import (
    BLACK,
    FAINT,
    FONT,
    GRAY,
    PALE,
    WHITE,
    AnyFloats,
    Color,
)

WIDTH, LEFT, RIGHT = 1280, 190, 1255
MAX_BAR_WIDTH = 54
"""Width of a bar where there is room."""
ABOVE_COLOR: Color = (190, 40, 30)
BELOW_COLOR: Color = (25, 80, 190)
CENTER_COLOR: Color = (215, 215, 215)
ROUND_NUMBERS = (1, 1.5, 2, 3, 4, 5, 7.5, 10)


class PlotArea(NamedTuple):
    """A part of the picture: its sides in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def middle(self) -> int:
        """The row between top and bottom."""
        return (self.top + self.bottom) // 2


class LogAxis(NamedTuple):
    """A logarithmic axis from 2^low to 2^high."""

    low: int
    high: int

    def place(self, length: float) -> int:
        """The column of a length in pixels of the input."""
        share = (math.log2(max(length, 1e-3)) - self.low) / max(1, self.high - self.low)
        return round(LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT))


class ColorScale(NamedTuple):
    """Values from centre - reach to centre + reach."""

    center: float
    reach: float

    @staticmethod
    def fit_values(values: Iterable[AnyFloats], center: float) -> ColorScale:
        """The least round reach that holds all of the values."""
        most = max((float(np.nanmax(np.abs(part - center), initial=0)) for part in values), default=0)
        if most <= 0 or not math.isfinite(most):
            return ColorScale(center, 1)
        power = 10.0 ** math.floor(math.log10(most))
        return ColorScale(center, next(step * power for step in ROUND_NUMBERS if step * power >= most))

    def normalize(self, value: float) -> float:
        """-1 at the lower end, 0 at the centre, 1 at the upper end."""
        return max(-1.0, min(1.0, (value - self.center) / self.reach))

    def color(self, value: float) -> Color:
        """Grey at the centre, blue below, red above."""
        share = self.normalize(value)
        end = ABOVE_COLOR if share > 0 else BELOW_COLOR
        red, green, blue = (
            round(low + (high - low) * min(1.0, 0.15 + abs(share)))
            for low, high in zip(CENTER_COLOR, end, strict=True)
        )
        return red, green, blue


def draw_bars(
    canvas: Image, box: PlotArea, values: AnyFloats, *, scale: ColorScale, share: float = 1.0
) -> None:
    """A bar for each value from the middle of the box, as wide as `share` of its room; a dot where it is
    NaN."""
    half, room = (box.bottom - box.top) / 2, (box.right - box.left) / len(values)
    for x, value in zip(bar_centers(box, len(values)), values, strict=True):
        wide = max(1.0, min(room * share, room - 1 if room > 3 else room, MAX_BAR_WIDTH))
        sides = round(x - wide / 2), max(round(x - wide / 2), round(x + wide / 2) - 1)
        if math.isnan(value):
            cv2.circle(canvas, (round(x), box.middle), 2, FAINT, cv2.FILLED, cv2.LINE_AA)
            continue
        end = round(box.middle - scale.normalize(value) * half)
        cv2.rectangle(canvas, (sides[0], box.middle), (sides[1], end), scale.color(value), cv2.FILLED)


def bar_centers(box: PlotArea, count: int) -> list[float]:
    """The middle of each of `count` equal parts of the width."""
    return [box.left + (box.right - box.left) * (i + 0.5) / count for i in range(count)]


def draw_frame(canvas: Image, box: PlotArea, scale: ColorScale, *, ticks: bool = True) -> None:
    """The ends and the middle of the scale."""
    for y, colour in ((box.top, PALE), (box.middle, FAINT), (box.bottom, PALE)):
        cv2.line(canvas, (box.left, y), (box.right, y), colour, 1)
    if ticks:
        for y, side in ((box.top, 1), (box.middle, 0), (box.bottom, -1)):
            write_text(
                canvas,
                f"{scale.center + side * scale.reach:.4g}",
                (box.left - 6, y),
                size=0.36,
                color=GRAY,
                side=1,
            )


def write_values(canvas: Image, box: PlotArea, values: AnyFloats, *, scale: ColorScale) -> None:
    """Each number beyond the end of its bar."""
    for x, value in zip(bar_centers(box, len(values)), values, strict=True):
        if math.isnan(value):
            continue
        end = box.middle - scale.normalize(value) * (box.bottom - box.top) / 2
        y = round(end) + (9 if value < scale.center else -9)
        write_text(canvas, f"{value:.3f}", (round(x), y), size=0.36, side=0.5)


def write_indices(canvas: Image, box: PlotArea, count: int, *, y: int) -> None:
    """The number of every so many-th bar."""
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    step = next((step for step in steps if count / step <= 25), count)
    middles = bar_centers(box, count)
    for number in range(0, count, step):
        write_text(canvas, str(number), (round(middles[number]), y), size=0.36, color=GRAY, side=0.5)


def plain_heading(text: str) -> Image:
    """A title below a line."""
    canvas = blank_canvas(58)
    cv2.line(canvas, (12, 12), (RIGHT, 12), FAINT, 1)
    write_text(canvas, text, (12, 36), size=0.6)
    return canvas


def heading(text: str, scale: ColorScale) -> Image:
    """A title with the colours of the scale at the right."""
    canvas = plain_heading(text)
    for x in range(240):
        value = scale.center + (x / 119.5 - 1) * scale.reach
        cv2.line(canvas, (RIGHT - 240 + x, 22), (RIGHT - 240 + x, 34), scale.color(value), 1)
    for x, side in ((RIGHT - 240, -1), (RIGHT - 120, 0), (RIGHT, 1)):
        write_text(
            canvas, f"{scale.center + side * scale.reach:.4g}", (x, 46), size=0.38, side=(side + 1) / 2
        )
    return canvas


def text_line(text: str) -> Image:
    canvas = blank_canvas(26)
    write_text(canvas, text[:150], (12, 14), size=0.45)
    return canvas


def blank_canvas(height: int, width: int = WIDTH) -> Image:
    """White paper."""
    return np.full((height, width, 3), WHITE, np.uint8)


def write_text(
    canvas: Image, text: str, at: tuple[int, int], *, size: float, color: Color = BLACK, side: float = 0
) -> None:
    """Text around a row; `side` is the part of it that stands left of the column: 0, a half, 1."""
    (width, height), _ = cv2.getTextSize(text, FONT, size, 1)
    corner = round(at[0] - side * width), at[1] + height // 2
    cv2.putText(canvas, text, corner, FONT, size, color, 1, cv2.LINE_AA)
