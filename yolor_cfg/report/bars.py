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
    GREY,
    PALE,
    WHITE,
    Colour,
    Floats,
)

WIDTH, LEFT, RIGHT = 1280, 190, 1255
WIDEST = 54
"""Width of a bar where there is room."""
ABOVE: Colour = (190, 40, 30)
BELOW: Colour = (25, 80, 190)
EVEN: Colour = (215, 215, 215)
ROUND = (1, 1.5, 2, 3, 4, 5, 7.5, 10)


class Box(NamedTuple):
    """A part of the picture: its sides in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def middle(self) -> int:
        """The row between top and bottom."""
        return (self.top + self.bottom) // 2


class Axis(NamedTuple):
    """A logarithmic axis from 2^low to 2^high."""

    low: int
    high: int

    def place(self, length: float) -> int:
        """The column of a length in pixels of the input."""
        share = (math.log2(max(length, 1e-3)) - self.low) / max(1, self.high - self.low)
        return round(LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT))


class Scale(NamedTuple):
    """Values from centre - reach to centre + reach."""

    centre: float
    reach: float

    @staticmethod
    def over(values: Iterable[Floats], centre: float) -> Scale:
        """The least round reach that holds all of the values."""
        most = max((float(np.nanmax(np.abs(part - centre), initial=0)) for part in values), default=0)
        if most <= 0 or not math.isfinite(most):
            return Scale(centre, 1)
        power = 10.0 ** math.floor(math.log10(most))
        return Scale(centre, next(step * power for step in ROUND if step * power >= most))

    def share(self, value: float) -> float:
        """-1 at the lower end, 0 at the centre, 1 at the upper end."""
        return max(-1.0, min(1.0, (value - self.centre) / self.reach))

    def colour(self, value: float) -> Colour:
        """Grey at the centre, blue below, red above."""
        share = self.share(value)
        end = ABOVE if share > 0 else BELOW
        red, green, blue = (
            round(low + (high - low) * min(1.0, 0.15 + abs(share)))
            for low, high in zip(EVEN, end, strict=True)
        )
        return red, green, blue


def bars(canvas: Image, box: Box, values: Floats, *, scale: Scale, share: float = 1.0) -> None:
    """A bar for each value from the middle of the box, as wide as `share` of its room; a dot where it is
    NaN."""
    half, room = (box.bottom - box.top) / 2, (box.right - box.left) / len(values)
    for x, value in zip(places(box, len(values)), values, strict=True):
        wide = max(1.0, min(room * share, room - 1 if room > 3 else room, WIDEST))
        sides = round(x - wide / 2), max(round(x - wide / 2), round(x + wide / 2) - 1)
        if math.isnan(value):
            cv2.circle(canvas, (round(x), box.middle), 2, FAINT, cv2.FILLED, cv2.LINE_AA)
            continue
        end = round(box.middle - scale.share(value) * half)
        cv2.rectangle(canvas, (sides[0], box.middle), (sides[1], end), scale.colour(value), cv2.FILLED)


def places(box: Box, count: int) -> list[float]:
    """The middle of each of `count` equal parts of the width."""
    return [box.left + (box.right - box.left) * (i + 0.5) / count for i in range(count)]


def frame(canvas: Image, box: Box, scale: Scale, *, ticks: bool = True) -> None:
    """The ends and the middle of the scale."""
    for y, colour in ((box.top, PALE), (box.middle, FAINT), (box.bottom, PALE)):
        cv2.line(canvas, (box.left, y), (box.right, y), colour, 1)
    if ticks:
        for y, side in ((box.top, 1), (box.middle, 0), (box.bottom, -1)):
            write(
                canvas,
                f"{scale.centre + side * scale.reach:.4g}",
                (box.left - 6, y),
                size=0.36,
                colour=GREY,
                side=1,
            )


def told(canvas: Image, box: Box, values: Floats, *, scale: Scale) -> None:
    """Each number beyond the end of its bar."""
    for x, value in zip(places(box, len(values)), values, strict=True):
        if math.isnan(value):
            continue
        end = box.middle - scale.share(value) * (box.bottom - box.top) / 2
        y = round(end) + (9 if value < scale.centre else -9)
        write(canvas, f"{value:.3f}", (round(x), y), size=0.36, side=0.5)


def numbers_below(canvas: Image, box: Box, count: int, *, y: int) -> None:
    """The number of every so many-th bar."""
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    step = next((step for step in steps if count / step <= 25), count)
    middles = places(box, count)
    for number in range(0, count, step):
        write(canvas, str(number), (round(middles[number]), y), size=0.36, colour=GREY, side=0.5)


def plain_heading(text: str) -> Image:
    """A title below a line."""
    canvas = blank(58)
    cv2.line(canvas, (12, 12), (RIGHT, 12), FAINT, 1)
    write(canvas, text, (12, 36), size=0.6)
    return canvas


def heading(text: str, scale: Scale) -> Image:
    """A title with the colours of the scale at the right."""
    canvas = plain_heading(text)
    for x in range(240):
        value = scale.centre + (x / 119.5 - 1) * scale.reach
        cv2.line(canvas, (RIGHT - 240 + x, 22), (RIGHT - 240 + x, 34), scale.colour(value), 1)
    for x, side in ((RIGHT - 240, -1), (RIGHT - 120, 0), (RIGHT, 1)):
        write(canvas, f"{scale.centre + side * scale.reach:.4g}", (x, 46), size=0.38, side=(side + 1) / 2)
    return canvas


def line_of_text(text: str) -> Image:
    canvas = blank(26)
    write(canvas, text[:150], (12, 14), size=0.45)
    return canvas


def blank(height: int, width: int = WIDTH) -> Image:
    """White paper."""
    return np.full((height, width, 3), WHITE, np.uint8)


def write(
    canvas: Image, text: str, at: tuple[int, int], *, size: float, colour: Colour = BLACK, side: float = 0
) -> None:
    """Text around a row; `side` is the part of it that stands left of the column: 0, a half, 1."""
    (width, height), _ = cv2.getTextSize(text, FONT, size, 1)
    corner = round(at[0] - side * width), at[1] + height // 2
    cv2.putText(canvas, text, corner, FONT, size, colour, 1, cv2.LINE_AA)
