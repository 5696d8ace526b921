"""YOLOR's rectangular batches: images of similar aspect ratio together, in the smallest input that fits.

Also how YOLOR resizes an image: to its long side, in whole pixels rounded down, before padding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Integers
from yolor_cfg.images.types import Image, Size

LONG_SIDE_UNCHANGED = 1.0


class RectRules(NamedTuple):
    """Long side in pixels, the largest stride of the network, and grey padding per batch in strides."""

    size: int
    stride: int = 64
    pad: float = 0.5


class RectBatch(NamedTuple):
    """The indices of the images in one batch, and its height and width."""

    indices: Integers
    size: Size


def rect_batches(sizes: NDArray[np.int32], *, batch_size: int, rules: RectRules) -> list[RectBatch]:
    """Batches of images with these sizes [N, 2], sorted by height / width."""
    aspects = sizes[:, 0] / sizes[:, 1]
    # With YOLOR's own sort the order of equal aspects depends on the CPU; heapsort's is the same everywhere.
    order = np.argsort(aspects, kind="heapsort")
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [RectBatch(part, _batch_size(aspects[part], rules)) for part in parts]


def _batch_size(aspects: NDArray[np.float64], rules: RectRules) -> Size:
    """The smallest multiples of the stride that hold all images of a batch."""
    lowest, highest = float(aspects.min()), float(aspects.max())
    shape = (highest, 1.0) if highest < 1 else (1.0, 1 / lowest if lowest > 1 else 1.0)
    height, width = (math.ceil(side * rules.size / rules.stride + rules.pad) * rules.stride for side in shape)
    return height, width


def scaled_size(size: Size, long_side: int) -> Size:
    """Height and width of an image after its longer side is scaled to `long_side`, rounded down."""
    ratio = long_side / max(size)
    if ratio == LONG_SIDE_UNCHANGED:
        return size
    return max(1, int(size[0] * ratio)), max(1, int(size[1] * ratio))


def resize_image(image: Image, size: Size, *, antialias: bool = True) -> Image:
    """The image [H, W, C] uint8 resized by OpenCV; `antialias` shrinks by area, against aliasing."""
    if image.shape[:2] == size:
        return image
    how = (
        cv2.INTER_AREA
        if antialias and size[0] * size[1] < image.shape[0] * image.shape[1]
        else cv2.INTER_LINEAR
    )
    # OpenCV takes at most four channels at a time here, and drops the last axis if there is only one.
    parts = [
        cv2.resize(image[..., first : first + 4], size[::-1], interpolation=how).reshape(*size, -1)
        for first in range(0, image.shape[2], 4)
    ]
    return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2), np.uint8)
