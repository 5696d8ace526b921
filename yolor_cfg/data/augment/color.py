"""Colours, sharpness and noise of pictures [H, W, C] uint8.

Hue, saturation and value are OpenCV's: hue 0 to 179 is the circle, the others 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.types import Image

Lut = NDArray[np.uint8]
Generator = np.random.Generator
LEVELS = np.arange(256)
HUES = 180
COLOR_CHANNELS = 3
BACKGROUND_KERNEL = 17
MAX_NOISE = 127


class HsvLuts(NamedTuple):
    """What each of the 256 levels of hue, saturation and value becomes."""

    hue: Lut
    saturation: Lut
    value: Lut


def yolor_luts(gains: Sequence[float]) -> HsvLuts:
    """All three multiplied and rounded down; hue goes round the circle, the others stop at 255."""
    hue, saturation, value = (LEVELS * gain for gain in gains)
    return HsvLuts(
        (hue % HUES).astype(np.uint8), *(each.clip(0, 255).astype(np.uint8) for each in (saturation, value))
    )


class ColorJitter(NamedTuple):
    """C Darknet's change of colours: hue is added as a part of the circle, the others are factors."""

    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0

    @property
    def luts(self) -> HsvLuts:
        """Rounded to the nearest. A hue below 0 stays 0 and does not go round, one above 179 does: both are
        C Darknet's, whose sum stops at 0 and 255."""
        levels = LEVELS.astype(np.float32)
        return HsvLuts(
            *(
                np.rint(each).clip(0, 255).astype(np.uint8)
                for each in (
                    levels + np.float32((HUES - 1) * self.hue),
                    levels * np.float32(self.saturation),
                    levels * np.float32(self.exposure),
                )
            )
        )


def apply_luts(image: Image, tables: HsvLuts) -> Image:
    """A picture of three channels, RGB, through the tables."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    table = np.stack(tables, axis=1)[None]  # [1, 256, 3]: one table for each channel
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB), np.uint8)


def jitter_color(image: Image, shade: ColorJitter) -> Image:
    """As C Darknet does: with fewer than three channels only the exposure changes; more than three, which
    it cannot take, stay as they are."""
    if shade == ColorJitter() or image.shape[2] > COLOR_CHANNELS:
        return image
    if image.shape[2] == COLOR_CHANNELS:
        return apply_luts(image, shade.luts)
    return shade.luts.value[image]


def blur_image(image: Image, kernel: int) -> Image:
    """Gaussian blur with an odd kernel of so many pixels; its deviation follows from its size."""
    soft = cv2.GaussianBlur(image, (kernel, kernel), 0)
    return np.asarray(soft.reshape(image.shape), np.uint8)


def blur_background(image: Image, boxes: NDArray[np.integer]) -> Image:
    """Blurred except within the boxes [B, 4], left, top, right, bottom in whole pixels."""
    soft = blur_image(image, BACKGROUND_KERNEL)
    for left, top, right, bottom in boxes.clip(0).tolist():
        soft[top:bottom, left:right] = image[top:bottom, left:right]
    return soft


def add_noise(image: Image, deviation: int, rng: Generator) -> Image:
    """Made brighter by normal noise: C Darknet keeps the noise in bytes, so that its negative half is 0."""
    strength = min(max(deviation, 0), MAX_NOISE)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(strength)
    brighter = cv2.add(image, np.rint(noise).clip(0, 255).astype(np.uint8))
    return np.asarray(brighter.reshape(image.shape), np.uint8)


def blend_images(first: Image, second: Image, ratio: float) -> Image:
    """`ratio` of the first and the rest of the second picture, rounded down."""
    return (first * ratio + second * (1 - ratio)).astype(np.uint8)


def blend_equally(first: Image, second: Image) -> Image:
    """Half of each picture, rounded to the nearest."""
    return np.asarray(cv2.addWeighted(first, 0.5, second, 0.5, 0).reshape(first.shape), np.uint8)
