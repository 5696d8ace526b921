"""How alike two thumbnails are once one is moved and scaled onto the other.

Legend: S = SIDE pixels of a thumbnail both ways, M pixels that both show.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.duplicates.prints import SIDE, WINDOWS, filter_band
from yolor_cfg.data.types import Floats
from yolor_cfg.images.types import Image

BAND = (1.2, 8.0)
"""Radii of what is compared: finer than what images are found by."""
STEPS = 6
SCALES = (0.85, 1.15)
"""How much smaller or larger one may be than the other."""
LEAST_COMMON = 0.8
"""The share of the thumbnail that both have to show."""
HOPELESS = 0.3
"""Below this likeness after the first step the search ends: what is the same starts above it."""
LARGEST_STEP = np.array([0.04, 0.04, 3.0, 3.0])
ROWS, COLUMNS = (part.astype(np.float32) + 0.5 for part in np.mgrid[:SIDE, :SIDE])

Placing = NDArray[np.float64]
"""Scale across and down, then the shift across and down in pixels: where a pixel of one lies in the other."""


class Overlay(NamedTuple):
    """The other thumbnail where the placing puts it, and which pixels [S, S] both show."""

    pixels: Floats
    common: NDArray[np.bool_]


def likeness(one: Image, other: Image, window: int, *, enough: float = 1.0) -> float:
    """The largest correlation, from 0 to 1, of two thumbnails [S, S] that is found with one placed in the
    other, starting from its window of `WINDOWS`, then from the whole; the search ends at `enough`."""
    bands = filter_band(one, BAND), filter_band(other, BAND)
    best = 0.0
    for start in dict.fromkeys((window, 0)):
        best = max(best, _search(*bands, WINDOWS[start], enough=enough))
        if best >= enough:
            break
    return best


def _search(one: Floats, other: Floats, window: tuple[int, int, int], *, enough: float) -> float:
    """Gauss-Newton steps on scale, shift, brightness and contrast; the best correlation on the way."""
    left, top, side = window
    placing = np.array([side / SIDE, side / SIDE, left, top])
    best = 0.0
    for step in range(STEPS):
        overlay = _overlay(other, placing)
        if overlay.common.mean() < LEAST_COMMON:
            break
        best = max(best, _correlate(one, overlay))
        if best >= enough or step == STEPS - 1 or (step == 1 and best < HOPELESS):
            break
        placing = placing + _find_step(one, overlay, placing)
        if not ((placing[:2] > SCALES[0]) & (placing[:2] < SCALES[1])).all():
            break
    return best


def _overlay(other: Floats, placing: Placing) -> Overlay:
    scale, shift = placing[:2], placing[2:]
    # OpenCV counts from the centre of the first pixel, the placing from its corner.
    moved = shift + 0.5 * scale - 0.5
    matrix = np.array([[scale[0], 0, moved[0]], [0, scale[1], moved[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(other, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    across, down = scale[0] * COLUMNS + shift[0], scale[1] * ROWS + shift[1]
    common = (across >= 0) & (across <= SIDE) & (down >= 0) & (down <= SIDE)
    return Overlay(np.asarray(pixels, np.float32), common)


def _correlate(one: Floats, overlay: Overlay) -> float:
    left, right = one[overlay.common], overlay.pixels[overlay.common]
    left, right = left - left.mean(), right - right.mean()
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / length if length else 0.0


def _find_step(one: Floats, overlay: Overlay, placing: Placing) -> Placing:
    """The change of the placing that brings the overlay nearest to one, but for brightness and contrast."""
    across = cv2.Sobel(overlay.pixels, cv2.CV_32F, 1, 0, scale=1 / 8) / placing[0]
    down = cv2.Sobel(overlay.pixels, cv2.CV_32F, 0, 1, scale=1 / 8) / placing[1]
    columns = (across * COLUMNS, down * ROWS, across, down, -one, -np.ones_like(one))
    slopes = np.stack([column[overlay.common] for column in columns], axis=1)  # [M, 6]
    normal = (slopes.T @ slopes).astype(np.float64)
    normal[np.diag_indices(6)] *= 1.001
    change = np.linalg.lstsq(normal, -(slopes.T @ overlay.pixels[overlay.common]), rcond=None)[0]
    return np.asarray(np.clip(change[:4], -LARGEST_STEP, LARGEST_STEP), np.float64)
