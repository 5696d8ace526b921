"""A batch as one image, to see what the network is trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from yolor_cfg.data.types import Batch, Floats
from yolor_cfg.images.draw import FONT, class_color, drawable_name, to_rgb
from yolor_cfg.images.types import Image, Size

MAX_IMAGES, MAX_SHEET_SIDE, TILE_GAP = 16, 1920, 2
MAX_CLASSES, HALF = 4, 0.5
TEXT_PIXELS = 9
"""Height of a capital letter in pixels."""


def contact_sheet(batch: Batch, names: Sequence[str]) -> Image:
    """The first 16 images of a batch with their boxes and class names, RGB [H, W, 3] uint8, in rows. Of
    images without boxes the classes are named that they are half or more.

    Images are scaled down, never up, until neither side of the sheet exceeds 1920 pixels.
    """
    images = batch.images[:MAX_IMAGES]
    count, _, height, width = images.shape
    columns = math.ceil(math.sqrt(count * height / width)) if count else 1
    rows = math.ceil(count / columns)
    gain = min(1.0, MAX_SHEET_SIDE / max(columns * width, rows * height, 1))
    size = max(1, round(height * gain)), max(1, round(width * gain))
    sheet = np.full((rows * (size[0] + TILE_GAP), columns * (size[1] + TILE_GAP), 3), 255, np.uint8)
    targets = batch.targets.cpu().numpy()
    for number, image in enumerate(images):
        tile = draw_targets(to_pixels(image, size), targets[targets[:, 0] == number], names)
        if batch.truth is not None and not len(targets):
            _draw_classes(tile, np.flatnonzero(batch.truth[number].numpy() >= HALF).tolist(), names)
        top, left = (number // columns) * (size[0] + TILE_GAP), (number % columns) * (size[1] + TILE_GAP)
        sheet[top : top + size[0], left : left + size[1]] = tile
    return sheet


def _draw_classes(image: Image, classes: Sequence[int], names: Sequence[str]) -> None:
    """The names one below the other."""
    for place, number in enumerate(classes[:MAX_CLASSES]):
        text = drawable_name(names[number], number)
        _draw_name(image, text, number, corner=(0, (place + 1) * (TEXT_PIXELS + 3)))


def to_pixels(image: torch.Tensor, size: Size) -> Image:
    """An image of a batch [C, H, W], uint8 or float in 0..1, as RGB pixels [h, w, 3] of the given size."""
    whole = image if image.dtype == torch.uint8 else (image.float().clamp(0, 1) * 255).round().byte()
    pixels = to_rgb(whole.cpu().permute(1, 2, 0).numpy())
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def draw_targets(image: Image, targets: Floats, names: Sequence[str]) -> Image:
    """Draw a frame and a name for each target [T, 6] into the image, and return it. A target holds the
    image's number, the class id, and the centre and size of the box as fractions of the image."""
    height, width = image.shape[:2]
    corners = np.concatenate(
        [targets[:, 2:4] - targets[:, 4:] / 2, targets[:, 2:4] + targets[:, 4:] / 2], axis=1
    )
    places = np.rint(corners * (width, height, width, height)).astype(int)
    for label, (left, top, right, bottom) in zip(
        targets[:, 1].astype(int).tolist(), places.tolist(), strict=True
    ):
        cv2.rectangle(image, (left, top), (right, bottom), class_color(label), 1)
        _draw_name(
            image,
            drawable_name(names[label], label) if label < len(names) else str(label),
            label,
            corner=(left, top),
        )
    return image


def _draw_name(image: Image, text: str, class_id: int, *, corner: tuple[int, int]) -> None:
    """The text on a plate of the class's colour, inside the image, and above the corner if there is room."""
    scale = cv2.getFontScaleFromHeight(FONT, TEXT_PIXELS, 1)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    left = max(0, min(corner[0], image.shape[1] - width - 2))
    bottom = max(corner[1], height + 3)
    colour = class_color(class_id)
    ink = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    cv2.rectangle(image, (left, bottom - height - 3), (left + width + 2, bottom), colour, cv2.FILLED)
    cv2.putText(image, text, (left + 1, bottom - 2), FONT, scale, ink, 1, cv2.LINE_AA)
