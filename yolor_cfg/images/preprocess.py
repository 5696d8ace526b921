"""Fit an image to the network's input, and map the boxes back.

Legend: h w image, H W input, C channels, B boxes. Every function takes an image [h, w, C] uint8 (RGB, or any
number of channels; [h, w] is one channel) and returns the input [C, H, W] float32 in 0..1 with a `Placement`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import DataError
from yolor_cfg.images.native_resize import Taps, resize_natively
from yolor_cfg.images.types import Image, Size

AnyFloats = NDArray[np.floating]

DARKNET_FILL = 0.5
YOLOR_FILL = 114


class Placement(NamedTuple):
    """Where the image is in the input: both sizes, input pixels per image pixel, padding, clipping."""

    image_size: Size
    input_size: Size
    gain_xy: tuple[float, float]
    padding_xy: tuple[float, float]
    is_clipped: bool = False

    def to_image(self, boxes_xywh: AnyFloats) -> AnyFloats:
        """Corners [B, 4] in image pixels of boxes [B, 4], centre and size in input pixels.

        C Darknet's boxes may extend beyond the image; YOLOR's are clipped to it.
        """
        centre, half = boxes_xywh[..., :2], boxes_xywh[..., 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=-1)
        corners = (corners - np.tile(self.padding_xy, 2)) / np.tile(self.gain_xy, 2)
        if self.is_clipped:
            corners = corners.clip(0, np.tile(self.image_size[::-1], 2))
        typed: AnyFloats = corners.astype(boxes_xywh.dtype)
        return typed


class NetworkInput(NamedTuple):
    """The network's input [C, H, W] float32 in 0..1, and how to map boxes back from it. A file that fits
    images itself takes the image, [h, w, C] uint8."""

    pixels: NDArray[Any]
    placement: Placement


def stretch(image: Image, size: Size) -> NetworkInput:
    """C Darknet's default: the image fills the whole input, without keeping its aspect ratio."""
    gain = size[1] / image.shape[1], size[0] / image.shape[0]
    return NetworkInput(resize_darknet(image, size), Placement(image.shape[:2], size, gain, (0.0, 0.0)))


def letterbox(image: Image, size: Size) -> NetworkInput:
    """C Darknet's `letter_box`: aspect ratio kept, centred on grey 0.5.

    The image starts at a whole pixel, half the padding rounded down, but the boxes are shifted back by the
    unrounded half. Darknet does both (letterbox_image, correct_yolo_boxes).
    """
    inner = letterbox_size(image.shape[:2], size)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.full((count_channels(image), *size), DARKNET_FILL, dtype=np.float32)
    canvas[:, top : top + inner[0], left : left + inner[1]] = resize_darknet(image, inner)
    gain = inner[1] / image.shape[1], inner[0] / image.shape[0]
    padding = (size[1] - inner[1]) / 2, (size[0] - inner[0]) / 2
    return NetworkInput(canvas, Placement(image.shape[:2], size, gain, padding))


def centre_crop(image: Image, size: Size) -> NetworkInput:
    """C Darknet's for classifiers (resize_min, crop_image): the shorter side gets the width of the input, and
    the middle is cut out; where the image ends, its last pixels are repeated."""
    h, w = image.shape[:2]
    inner = (max(1, h * size[1] // w), size[1]) if w < h else (size[1], max(1, w * size[1] // h))
    top, left = (int((inner[axis] - size[axis]) / 2) for axis in (0, 1))
    pixels = resize_darknet(image, inner)
    rows, columns = (
        np.arange(start, start + size[axis]).clip(0, inner[axis] - 1)
        for axis, start in enumerate((top, left))
    )
    placement = Placement((h, w), size, (inner[1] / w, inner[0] / h), (-float(left), -float(top)))
    return NetworkInput(np.ascontiguousarray(pixels[:, rows][:, :, columns]), placement)


def letterbox_size(image_size: Size, size: Size) -> Size:
    """The largest size with the image's aspect ratio inside `size`, by C Darknet's integer division."""
    (h, w), (height, width) = image_size, size
    if np.float32(width) / np.float32(w) < np.float32(height) / np.float32(h):
        return max(1, h * width // w), width
    return height, max(1, w * height // h)


def resize_darknet(image: Image | NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """[C, H, W] float32 in 0..1, interpolated as in C Darknet: corners aligned, no antialiasing. The image
    may be one of floats in that range.

    In C, rounding leaves the bottom row almost black for one pair of heights in twenty (such as 51 to 1280);
    here it is always the image's last row.
    """
    pixels = image.reshape(*image.shape[:2], -1)
    rows, columns = (_interpolation_taps(pixels.shape[axis], size[axis]) for axis in (0, 1))
    out = np.empty((pixels.shape[2], *size), np.float32)
    if not resize_natively(pixels, rows=rows, columns=columns, out=out):
        out[:] = _resize_by_numpy(pixels, rows, columns)
    return out


def _resize_by_numpy(pixels: Image | NDArray[np.float32], rows: Taps, columns: Taps) -> AnyFloats:
    """Only the rows and columns in use are gathered, so the cost depends on the size of the result."""
    dy, dx = rows.part[:, None, None], columns.part[:, None]
    used, place = np.unique(np.concatenate([rows.before, rows.after]), return_inverse=True)
    kept = pixels[used]
    across = _to_unit_range(kept[:, columns.before]) * (1 - dx) + _to_unit_range(kept[:, columns.after]) * dx
    above, below = across[place[: len(dy)]], across[place[len(dy) :]]
    return (above * (1 - dy) + below * dy).transpose(2, 0, 1)


@lru_cache(maxsize=64)
def _interpolation_taps(old: int, new: int) -> Taps:
    """For each of `new` positions: the pixel before, the pixel after, and how far it is between them."""
    step = np.float32(old - 1) / np.float32(max(1, new - 1))
    place = np.arange(new, dtype=np.float32) * step
    place[-1] = old - 1
    before = np.minimum(place.astype(np.int64), old - 1)
    return Taps(before, np.minimum(before + 1, old - 1), place - before.astype(np.float32))


def _to_unit_range(pixels: Image | NDArray[np.float32]) -> NDArray[np.float32]:
    """Floats are in that range."""
    floats = pixels.astype(np.float32, copy=False)
    return floats if pixels.dtype == np.float32 else floats / np.float32(255)


class LetterboxOptions(NamedTuple):
    """How YOLOR's letterbox fits an image: `stride`, the largest one, pads only up to its next multiple.

    `scaleup` False does not enlarge small images; `scale_fill` stretches; `antialias` shrinks by area, as
    YOLOR does when it reads images for a test, but not for detection.
    """

    stride: int | None = None
    scaleup: bool = True
    scale_fill: bool = False
    antialias: bool = False


DEFAULT_LETTERBOX = LetterboxOptions()


class LetterboxGeometry(NamedTuple):
    """Size of the image in the input, input pixels per image pixel, half the padding before rounding."""

    inner_size: Size
    gain_xy: tuple[float, float]
    padding_xy: tuple[float, float]


def yolor_letterbox(image: Image, size: Size, *, fit: LetterboxOptions = DEFAULT_LETTERBOX) -> NetworkInput:
    """YOLOR's letterbox: aspect ratio kept, padded evenly with grey 114/255; the input may be smaller than
    `size`."""
    inner, gain, padding = yolor_geometry(image.shape[:2], size, fit=fit)
    (left, right), (top, bottom) = (_split_padding(pad) for pad in padding)
    height, width = input_size = inner[0] + top + bottom, inner[1] + left + right
    canvas = np.full((height, width, count_channels(image)), YOLOR_FILL, np.uint8)
    canvas[top : height - bottom, left : width - right] = _resize_opencv(
        image, inner, antialias=fit.antialias
    )
    pixels = np.ascontiguousarray(_to_unit_range(canvas).transpose(2, 0, 1))
    if fit.scaleup and not fit.scale_fill:
        return NetworkInput(pixels, placement_from_sizes(image.shape[:2], input_size))
    return NetworkInput(pixels, Placement(image.shape[:2], input_size, gain, padding, is_clipped=True))


def yolor_geometry(image_size: Size, size: Size, *, fit: LetterboxOptions) -> LetterboxGeometry:
    """What YOLOR's letterbox does to an image of `image_size`."""
    gains = size[1] / image_size[1], size[0] / image_size[0]
    if fit.scale_fill:
        return LetterboxGeometry(size, gains, (0.0, 0.0))
    gain = min(gains) if fit.scaleup else min(*gains, 1.0)
    inner = max(1, round(image_size[0] * gain)), max(1, round(image_size[1] * gain))
    spare_y, spare_x = size[0] - inner[0], size[1] - inner[1]
    if fit.stride:
        spare_y, spare_x = spare_y % fit.stride, spare_x % fit.stride
    return LetterboxGeometry(inner, (gain, gain), (spare_x / 2, spare_y / 2))


def placement_from_sizes(image_size: Size, input_size: Size) -> Placement:
    """How YOLOR maps boxes back, from the two sizes alone: one gain, unrounded half padding, clipped.

    Exact up to the rounding of the padding for an image that was fitted; wrong for one that was stretched or
    not enlarged.
    """
    gain = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
    padding = (input_size[1] - image_size[1] * gain) / 2, (input_size[0] - image_size[0] * gain) / 2
    return Placement(image_size, input_size, (gain, gain), padding, is_clipped=True)


def _split_padding(padding: float) -> tuple[int, int]:
    """Padding before and after; the larger half of an odd padding goes after."""
    return round(padding - 0.1), round(padding + 0.1)


def _resize_opencv(image: Image, size: Size, *, antialias: bool) -> Image:
    """[H, W, C] uint8, resized by OpenCV with half-pixel centres; unchanged if the size already fits."""
    pixels = image.reshape(*image.shape[:2], -1)
    if pixels.shape[:2] == size:
        return pixels
    smaller = size[0] < pixels.shape[0]
    how = cv2.INTER_AREA if antialias and smaller else cv2.INTER_LINEAR
    # OpenCV resizes at most four channels at a time, and drops the last axis of a single one.
    groups = [pixels[..., i : i + 4] for i in range(0, pixels.shape[2], 4)]
    parts = [cv2.resize(group, size[::-1], interpolation=how) for group in groups]
    return np.concatenate([part.reshape(*size, -1) for part in parts], axis=-1)


def count_channels(image: Image) -> int:
    """How many values a pixel has."""
    return 1 if image.ndim == 2 else image.shape[2]


def match_channels(image: Image, channels: int) -> Image:
    """The image as [H, W, C] with the network's number of channels; grey is repeated for RGB. Raises
    DataError for any other mismatch."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise DataError(
            "this array is not an image",
            found=f"{image.dtype} {image.shape}",
            allowed=f"uint8 (height, width, {channels}) in RGB order",
        )
    if image.shape[2] == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        raise DataError(
            "the image has the wrong number of channels", found=str(image.shape[2]), allowed=str(channels)
        )
    return image
