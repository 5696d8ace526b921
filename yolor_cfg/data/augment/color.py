"""Colour jitter, blur and noise for images [H, W, C] uint8.

Hue, saturation and value are OpenCV's: hue 0..179 is the full circle, the others are 0..255.
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
    """Lookup tables for the 256 levels of hue, saturation and value."""

    hue: Lut
    saturation: Lut
    value: Lut


def yolor_luts(gains: Sequence[float]) -> HsvLuts:
    """All three multiplied and rounded down; hue wraps around, the others saturate at 255."""
    hue, saturation, value = (LEVELS * gain for gain in gains)
    return HsvLuts(
        (hue % HUES).astype(np.uint8), *(each.clip(0, 255).astype(np.uint8) for each in (saturation, value))
    )


class ColorJitter(NamedTuple):
    """C Darknet's colour jitter: hue is added, as a fraction of the circle; the others are factors."""

    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0

    @property
    def luts(self) -> HsvLuts:
        """Lookup tables, rounded to the nearest. As in C Darknet, whose sum saturates at 0 and 255, a hue
        below 0 becomes 0 and does not wrap around, while one above 179 does."""
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
    """The lookup tables applied to an RGB image."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    table = np.stack(tables, axis=1)[None]  # [1, 256, 3]: one table for each channel
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB), np.uint8)


def jitter_color(image: Image, shade: ColorJitter) -> Image:
    """As in C Darknet, images with fewer than three channels change only in exposure; those with more than
    three, which it does not support, are left alone."""
    if shade == ColorJitter() or image.shape[2] > COLOR_CHANNELS:
        return image
    if image.shape[2] == COLOR_CHANNELS:
        return apply_luts(image, shade.luts)
    return shade.luts.value[image]


def blur_image(image: Image, kernel: int) -> Image:
    """Gaussian blur with an odd kernel size in pixels; the standard deviation follows from it."""
    soft = cv2.GaussianBlur(image, (kernel, kernel), 0)
    return np.asarray(soft.reshape(image.shape), np.uint8)


def blur_background(image: Image, boxes: NDArray[np.integer]) -> Image:
    """The image blurred outside the boxes [B, 4], left, top, right, bottom in whole pixels."""
    soft = blur_image(image, BACKGROUND_KERNEL)
    for left, top, right, bottom in boxes.clip(0).tolist():
        soft[top:bottom, left:right] = image[top:bottom, left:right]
    return soft


def add_noise(image: Image, deviation: int, rng: Generator) -> Image:
    """Gaussian noise that only brightens: C Darknet stores it in unsigned bytes, negative values as 0."""
    strength = min(max(deviation, 0), MAX_NOISE)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(strength)
    brighter = cv2.add(image, np.rint(noise).clip(0, 255).astype(np.uint8))
    return np.asarray(brighter.reshape(image.shape), np.uint8)


def blend_images(first: Image, second: Image, ratio: float) -> Image:
    """`ratio` of the first image plus the rest of the second, rounded down."""
    return (first * ratio + second * (1 - ratio)).astype(np.uint8)


def blend_equally(first: Image, second: Image) -> Image:
    """The mean of both images, rounded to the nearest."""
    return np.asarray(cv2.addWeighted(first, 0.5, second, 0.5, 0).reshape(first.shape), np.uint8)
