"""How C Darknet crops an image, and which part of the crop goes into a mosaic.

Pixels are truncated to integers and computed in 32 bits wherever C does so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from yolor_cfg.images.types import Size

PixelBox = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


class CropRules(NamedTuple):
    """`jitter`: how far each side moves, as a fraction of the image; `resize`: the largest zoom factor, in
    and out; below 1 it only zooms out."""

    jitter: float = 0.2
    resize: float = 1.0
    letter_box: bool = False


class Chances(NamedTuple):
    """Random numbers from 0 to 1: one for each side (left, right, top, bottom), and two for the zoom: one
    shared by left and top, one by right and bottom."""

    sides: tuple[float, float, float, float]
    zooms: tuple[float, float]


class Margins(NamedTuple):
    """Pixels of the image cut off at each side; negative margins are padding."""

    left: int
    right: int
    top: int
    bottom: int

    def area(self, image_size: Size) -> PixelBox:
        """What remains, in pixels of the image: at least one pixel (C Darknet fails below that)."""
        right, bottom = image_size[1] - self.right, image_size[0] - self.bottom
        return self.left, self.top, max(right, self.left + 1), max(bottom, self.top + 1)

    def flip(self) -> Margins:
        """The margins of the flipped image."""
        return self._replace(left=self.right, right=self.left)

    def shift_for_mosaic(self, place: int, *, flip: bool) -> Margins:
        """For quarter `place` of a mosaic: the whole cut is moved to the two sides where the mosaic cuts
        least, so that most of the image stays visible."""
        across, down = self.left + self.right, self.top + self.bottom
        left, right = (0, across) if (place % 2 == 0) != flip else (across, 0)
        top, bottom = (0, down) if place < 2 else (down, 0)
        return Margins(left, right, top, bottom)


def compute_margins(image_size: Size, size: Size, rules: CropRules, *, chances: Chances) -> Margins:
    """The margins of an image for an input of `size`, which matters only with `letter_box`."""
    height, width = image_size
    left, right = _axis_margins(width, rules, sides=chances.sides[:2], zooms=chances.zooms)
    top, bottom = _axis_margins(height, rules, sides=chances.sides[2:], zooms=chances.zooms)
    if not rules.letter_box:
        return Margins(left, right, top, bottom)
    aspect = np.float32(size[1]) / np.float32(size[0])
    if np.float32(width) / np.float32(height) / aspect > 1:
        spare = (width / aspect - height) / 2
        return Margins(left, right, int(top - spare), int(bottom - spare))
    spare = (height * aspect - width) / 2
    return Margins(int(left - spare), int(right - spare), top, bottom)


def _axis_margins(
    length: int, rules: CropRules, *, sides: tuple[float, ...], zooms: tuple[float, ...]
) -> list[int]:
    """The margins at both ends of one axis."""
    reach = int(np.float32(rules.jitter) * length)
    resize = np.float32(rules.resize)
    farther, closer = min(resize, 1 / resize), max(resize, np.float32(1))
    low, high = (int(length * (1 - 1 / zoom) / 2) for zoom in (farther, closer))
    return [
        int(int(lerp(-reach, reach, side)) + lerp(low, high, zoom))
        for side, zoom in zip(sides, zooms, strict=True)
    ]


def lerp(first: float, second: float, part: float) -> float:
    """Linear interpolation from the smaller number to the larger."""
    low, high = min(first, second), max(first, second)
    return part * (high - low) + low


class Quarter(NamedTuple):
    """A quarter of a mosaic: the area `target` of the mosaic that it fills, and `source`, the left top
    corner of what it shows of its own image."""

    target: PixelBox
    source: tuple[int, int]


def find_quarter(place: int, cut: tuple[int, int], *, spare: PixelBox, size: Size) -> Quarter:
    """Quarter `place`, in reading order, of a mosaic cut at x, y; the `spare` pixels of padding at each
    side of its image (left, top, right, bottom) are hidden as far as possible."""
    right, below = place % 2 == 1, place >= 2
    x, left, end = _span(cut[0], size[1], spare[0] if right else spare[2], later=right)
    y, top, bottom = _span(cut[1], size[0], spare[1] if below else spare[3], later=below)
    return Quarter((left, top, end, bottom), (x, y))


def _span(cut: int, length: int, spare: int, *, later: bool) -> tuple[int, int, int]:
    """Start of the source, start and end of the target, on one axis."""
    if later:
        return min(cut, spare), cut, length
    return length - cut - min(length - cut, spare), 0, cut


def mosaic_padding(cuts: Margins, image_size: Size, size: Size) -> PixelBox:
    """Padding in pixels of the input as C Darknet computes it for mosaics: relative to the size of the image
    without the padding, so it is a little too large."""
    height, width = size
    added = [max(0, -cut) for cut in (cuts.left, cuts.top, cuts.right, cuts.bottom)]
    left, top, right, bottom = added
    return (
        left * width // image_size[1],
        top * height // image_size[0],
        right * width // image_size[1],
        bottom * height // image_size[0],
    )
