"""Deterministic transforms: an image fitted to the input, as in a test.

Legend: B boxes of one image, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from yolor_cfg.data.rect import resize_image, scaled_size
from yolor_cfg.data.types import BatchItem, Fetch, Floats
from yolor_cfg.images.preprocess import YOLOR_FILL, NetworkInput, Placement
from yolor_cfg.images.types import Image, Size


def boxes_to_input(boxes_xywh: Floats, placement: Placement) -> Floats:
    """Boxes [B, 4] as fractions of the image, converted to fractions of the input."""
    height, width = placement.image_size
    gain = np.array([width * placement.gain_xy[0], height * placement.gain_xy[1]])
    scale = 1 / np.array(placement.input_size[::-1], np.float64)
    centre = (boxes_xywh[:, :2] * gain + placement.padding_xy) * scale
    return np.concatenate([centre, boxes_xywh[:, 2:] * gain * scale], axis=1).astype(np.float32)


@dataclass(frozen=True)
class YolorEvalTransform:
    """YOLOR's letterbox, uint8: the long side scaled to `long_side` or to that of the input, grey padding.

    As in YOLOR, the image starts at a whole pixel, but boxes shift by the unrounded half of the padding.
    """

    size: Size
    long_side: int | None = None

    def replace_size(self, size: Size) -> YolorEvalTransform:
        """The same transform for another input size."""
        return replace(self, size=size)

    def __call__(self, index: int, rng: np.random.Generator, fetch: Fetch) -> BatchItem:
        source = fetch(index)
        canvas, placement = letterbox_image(source.image, self.size, long_side=self.long_side)
        return BatchItem(canvas, boxes_to_input(source.boxes_xywh, placement), source.classes, placement)


def letterbox_image(image: Image, size: Size, *, long_side: int | None = None) -> tuple[Image, Placement]:
    """The image [H, W, C] uint8 centred on grey (114), and its placement."""
    original = image.shape[0], image.shape[1]
    inner = _inner_size(original, size, long_side)
    spare_y, spare_x = size[0] - inner[0], size[1] - inner[1]
    top, left = round(spare_y / 2 - 0.1), round(spare_x / 2 - 0.1)
    canvas = np.full((*size, image.shape[2]), YOLOR_FILL, np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = resize_image(image, inner)
    gain = inner[1] / original[1], inner[0] / original[0]
    return canvas, Placement(original, size, gain, (spare_x / 2, spare_y / 2), is_clipped=True)


def _inner_size(original: Size, size: Size, long_side: int | None) -> Size:
    """The size of the image within the input, shrunk further if it would not fit."""
    inner = scaled_size(original, long_side or max(size))
    gain = min(size[0] / inner[0], size[1] / inner[1])
    return inner if gain >= 1 else (max(1, round(inner[0] * gain)), max(1, round(inner[1] * gain)))


@dataclass(frozen=True)
class DarknetEvalTransform:
    """C Darknet's preprocessing for tests, float32: `preprocess.stretch` or `preprocess.letterbox`."""

    size: Size
    fit: Callable[[Image, Size], NetworkInput]

    def replace_size(self, size: Size) -> DarknetEvalTransform:
        """The same transform for another input size."""
        return replace(self, size=size)

    def __call__(self, index: int, rng: np.random.Generator, fetch: Fetch) -> BatchItem:
        source = fetch(index)
        pixels, placement = self.fit(source.image, self.size)
        return BatchItem(
            pixels.transpose(1, 2, 0),
            boxes_to_input(source.boxes_xywh, placement),
            source.classes,
            placement,
        )
