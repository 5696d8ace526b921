"""Small pictures of images or of single objects, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from yolor_cfg.data.statistics.channels import read_channel_count
from yolor_cfg.data.statistics.table import LabelTable, Numbers
from yolor_cfg.errors import DataError
from yolor_cfg.images.draw import FONT, class_color, drawable_name, to_rgb
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.types import Image

WIDTH, HEIGHT = 240, 180
"""Pixels of a tile, without its caption."""
GROUND = 238
LETTER = 8
"""Pixels of a capital letter."""
LEAST_NAMED = 22
"""Pixels across from which on a box has the name of its class."""
MARGIN = 0.25
"""What a crop shows around its object, as a share of its longer side."""


class Thumbnail(NamedTuple):
    """What a small picture shows: an image, its boxes `corners` [B, 4] in pixels with their class ids, the
    part of the image (left, top, right, bottom) that is shown, None for all, and the words below it."""

    path: str
    caption: str
    corners: Numbers
    classes: Sequence[int]
    names: Sequence[str]
    window: tuple[float, float, float, float] | None = None


def image_tile(table: LabelTable, image: int, caption: str) -> Thumbnail:
    """An image with all of its boxes."""
    rows = slice(*np.searchsorted(table.owners, [image, image + 1]).tolist())
    classes = table.classes[rows].tolist()
    return Thumbnail(table.paths[image], caption, table.corners[rows], classes, table.names)


def crop_tile(table: LabelTable, row: int, caption: str, *, others: Sequence[int] = ()) -> Thumbnail:
    """One object with a little around it, and the boxes of these rows besides."""
    image = int(table.owners[row])
    rows = [row, *others]
    left, top, right, bottom = table.corners[row].tolist()
    around = MARGIN * max(right - left, bottom - top, 8)
    height, width = table.sizes[image].tolist()
    window = (
        max(0, left - around),
        max(0, top - around),
        min(width, right + around),
        min(height, bottom + around),
    )
    return Thumbnail(
        table.paths[image], caption, table.corners[rows], table.classes[rows].tolist(), table.names, window
    )


def draw_tile(tile: Thumbnail, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Image:
    """The picture, RGB [H, W, 3] of this height and width, the image in its middle; grey with a word where
    the image cannot be read."""
    canvas = np.full((*size, 3), GROUND, np.uint8)
    try:
        pixels = _read_pixels(tile.path)
    except DataError:
        cv2.putText(canvas, "cannot be read", (8, size[0] // 2), FONT, 0.45, (90, 90, 90), 1, cv2.LINE_AA)
        return canvas
    part, start = _cut_window(pixels, tile.window)
    if not part.size:
        return canvas
    gain = min(size[0] / part.shape[0], size[1] / part.shape[1])
    height, width = max(1, round(part.shape[0] * gain)), max(1, round(part.shape[1] * gain))
    how = cv2.INTER_AREA if gain < 1 else cv2.INTER_CUBIC if tile.window is None else cv2.INTER_NEAREST
    shown = np.ascontiguousarray(cv2.resize(part, (width, height), interpolation=how), np.uint8)
    _draw_boxes(shown, (tile.corners - np.tile(start, 2)) * gain, tile)
    row, column = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[row : row + height, column : column + width] = shown
    return canvas


def _read_pixels(path: str) -> Image:
    """The image as RGB; of one with more channels the first three."""
    try:
        return to_rgb(read_channels(path, 3))
    except DataError:
        count = read_channel_count(path)
        if count <= 3:
            raise
        return to_rgb(read_channels(path, count))


def _cut_window(
    pixels: Image, window: tuple[float, float, float, float] | None
) -> tuple[Image, tuple[int, int]]:
    """The part of the image in whole pixels, and where it starts, from the left and from the top."""
    left, top, right, bottom = window or (0, 0, pixels.shape[1], pixels.shape[0])
    start = int(left), int(top)
    return pixels[start[1] : int(np.ceil(bottom)), start[0] : int(np.ceil(right))], start


def _draw_boxes(image: Image, corners: Numbers, tile: Thumbnail) -> None:
    """Frames, then the names of the boxes that have room for them, the largest first."""
    places = np.rint(corners.clip(-1, 4096)).astype(int)
    for label, (left, top, right, bottom) in zip(tile.classes, places.tolist(), strict=True):
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), class_color(label), 1, cv2.LINE_8)
    for label, place in zip(tile.classes, places.tolist(), strict=True):
        name = tile.names[label] if label < len(tile.names) else str(label)
        _name_box(image, drawable_name(name, label), label, box=place)


def _name_box(image: Image, text: str, label: int, *, box: Sequence[int]) -> None:
    left, top, right, _ = box
    scale = cv2.getFontScaleFromHeight(FONT, LETTER, 1)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    if right - left < min(LEAST_NAMED, width):
        return
    left = max(0, min(left, image.shape[1] - width - 3))
    base = min(max(top, height + 3), image.shape[0] - 1)
    color = class_color(label)
    ink = (0, 0, 0) if np.dot(color, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    cv2.rectangle(image, (left, base - height - 3), (left + width + 2, base), color, cv2.FILLED)
    cv2.putText(image, text, (left + 1, base - 2), FONT, scale, ink, 1, cv2.LINE_AA)
