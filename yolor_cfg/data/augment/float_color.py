"""C Darknet's own change of colours (distort_image in image.c), in float32; detectors go by OpenCV's
instead."""

from __future__ import annotations

import numpy as np

from yolor_cfg.data.augment.color import COLOR_CHANNELS, ColorJitter
from yolor_cfg.data.types import Floats

SECTORS = ("vtp", "qvp", "pvt", "pqv", "tpv", "vpq")
"""Red, green and blue in each sixth of the hue circle, by the letters of hsv_to_rgb."""


def distort_colors(image: Floats, shade: ColorJitter) -> Floats:
    """An image [H, W, C] in 0..1; one without colours changes in exposure alone, one with more than three
    channels not at all, which C Darknet has no images of."""
    if image.shape[2] > COLOR_CHANNELS:
        return image
    if image.shape[2] < COLOR_CHANNELS:
        return np.asarray((image * np.float32(shade.exposure)).clip(0, 1), np.float32)
    hue, saturation, value = rgb_to_hsv(image)
    hue = hue + np.float32(shade.hue)
    hue = np.where(hue > 1, hue - 1, np.where(hue < 0, hue + 1, hue))
    changed = hsv_to_rgb(hue, saturation * np.float32(shade.saturation), value * np.float32(shade.exposure))
    return np.asarray(changed.clip(0, 1), np.float32)


def rgb_to_hsv(image: Floats) -> tuple[Floats, Floats, Floats]:
    """Hue, saturation and value, each [H, W] in 0..1; the hue of grey is 0."""
    red, green, blue = np.moveaxis(image, 2, 0)
    value = image.max(axis=2)
    spread = value - image.min(axis=2)
    span = np.where(spread == 0, np.float32(1), spread)
    sixths = np.where(
        red == value,
        (green - blue) / span,
        np.where(green == value, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    hue = np.where(sixths < 0, sixths + 6, sixths) / 6
    return hue.astype(np.float32), spread / np.where(value == 0, np.float32(1), value), value


def hsv_to_rgb(hue: Floats, saturation: Floats, value: Floats) -> Floats:
    """[H, W, 3]; the inverse."""
    sixths = 6 * hue
    sector = np.floor(sixths)
    part = sixths - sector
    levels = {
        "v": value,
        "p": value * (1 - saturation),
        "q": value * (1 - saturation * part),
        "t": value * (1 - saturation * (1 - part)),
    }
    where = [sector == number for number in range(len(SECTORS) - 1)]
    channels = [
        np.select(where, [levels[word[channel]] for word in SECTORS[:-1]], levels[SECTORS[-1][channel]])
        for channel in range(COLOR_CHANNELS)
    ]
    return np.stack(channels, axis=2)
