"""Images and their boxes moved, scaled, flipped and pasted on canvases.

Legend: B boxes, H W size, C channels. Images are uint8 [H, W, C]; those from `fetch` are never written to.
Boxes are corners in pixels, x right and y down from the outer edge of the first pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import BatchItem, Integers, LabeledImage
from yolor_cfg.images.preprocess import YOLOR_FILL
from yolor_cfg.images.types import Image, Size

BoxArray = NDArray[np.floating]
WarpMatrix = NDArray[np.float64]
MOST_CHANNELS = 4  # OpenCV's border values have no more channels


class Scene(NamedTuple):
    """An image and its labels: corners [B, 4] in its pixels, classes [B], identities [B] if any are known."""

    image: Image
    boxes_xyxy: BoxArray
    classes: Integers
    identities: Integers | None = None

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return self.image.shape[0], self.image.shape[1]

    def to_item(self) -> BatchItem:
        """The scene for the data loader: boxes as fractions, clipped to the image."""
        height, width = self.size
        corners = self.boxes_xyxy.clip(0, (width, height, width, height)) / (width, height, width, height)
        low, high = corners[:, :2], corners[:, 2:]
        boxes_xywh = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
        image = np.ascontiguousarray(self.image)
        return BatchItem(image, boxes_xywh, self.classes, identities=self.identities)


class Patch(NamedTuple):
    """The area of a canvas that an image covers (left, top, right, bottom), and the image's upper left
    corner, which may be off the canvas."""

    area: tuple[int, int, int, int]
    origin: tuple[int, int]


def to_scene(source: LabeledImage, size: Size | None = None) -> Scene:
    """The image with boxes in pixels, scaled to `size` by OpenCV's bilinear rule (half-pixel centres, no
    antialiasing)."""
    image = source.image if size is None else resize_bilinear(source.image, size)
    height, width = image.shape[:2]
    boxes = source.boxes_xywh.astype(np.float64)
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1) * (width, height, width, height)
    return Scene(image, corners, source.classes, source.identities)


def apply_by_channels(image: Image, change: Callable[[Image], Any]) -> Image:
    """Apply an OpenCV function to at most 4 channels at a time; keeps 3 axes."""
    starts = range(0, image.shape[2], MOST_CHANNELS)
    parts = [change(image[..., first : first + MOST_CHANNELS]) for first in starts]
    whole = [part.reshape(*part.shape[:2], -1) for part in parts]
    return whole[0] if len(whole) == 1 else np.concatenate(whole, axis=2)


def resize_bilinear(image: Image, size: Size) -> Image:
    """The image resized bilinearly; the same object if it already has that size."""
    if image.shape[:2] == size:
        return image
    return apply_by_channels(image, lambda part: cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR))


def crop_image(image: Image, area: tuple[int, int, int, int]) -> Image:
    """The area (left, top, right, bottom) of an image: a view, or, if the area extends beyond the image, a
    copy filled with the image's mean colour there."""
    left, top, right, bottom = area
    height, width = image.shape[:2]
    part = image[max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
    if part.shape[:2] == (bottom - top, right - left):
        return part
    canvas = blank_canvas((bottom - top, right - left), mean_color(image))
    y, x = max(0, -top), max(0, -left)
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    return canvas


def mean_color(image: Image) -> Image:
    """The mean of each channel [C], rounded to the nearest integer."""
    starts = range(0, image.shape[2], MOST_CHANNELS)
    parts = [cv2.mean(image[..., first : first + MOST_CHANNELS]) for first in starts]
    return np.rint(np.concatenate(parts)[: image.shape[2]]).astype(np.uint8)


def blank_canvas(size: Size, colour: Image) -> Image:
    """A canvas of one colour [C]."""
    row = np.empty((size[1], len(colour)), np.uint8)
    row[:] = colour
    return np.repeat(row[None], size[0], axis=0)  # row by row; pixel by pixel takes twice as long


def gray_canvas(size: Size, channels: int) -> Image:
    """A canvas filled with YOLOR's grey."""
    return np.full((*size, channels), YOLOR_FILL, np.uint8)


def find_patch(scene: Scene, origin: tuple[int, int], size: Size) -> Patch:
    """The patch of a canvas that an image with its upper left corner at x, y covers."""
    (x, y), (height, width) = origin, scene.size
    return Patch((max(x, 0), max(y, 0), min(x + width, size[1]), min(y + height, size[0])), origin)


def paste_scene(canvas: Image, scene: Scene, patch: Patch) -> Scene:
    """Copy the image into its patch of the canvas and shift its boxes, without clipping them."""
    (left, top, right, bottom), (x, y) = patch
    if right > left and bottom > top:
        canvas[top:bottom, left:right] = scene.image[top - y : bottom - y, left - x : right - x]
    return scene._replace(image=canvas, boxes_xyxy=scene.boxes_xyxy + (x, y, x, y))


def merge_scenes(canvas: Image, scenes: Sequence[Scene]) -> Scene:
    """One scene with the boxes of all scenes that share a canvas."""
    boxes = np.concatenate([scene.boxes_xyxy for scene in scenes])
    who = join_identities([scene.identities for scene in scenes])
    return Scene(canvas, boxes, np.concatenate([scene.classes for scene in scenes]), who)


def join_identities(parts: Sequence[Integers | None]) -> Integers | None:
    """The identities of all parts; None unless they are known of each."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def flip_scene(scene: Scene, *, axis: int) -> Scene:
    """Flipped horizontally (axis 1) or vertically (axis 0)."""
    image = apply_by_channels(scene.image, lambda part: cv2.flip(part, axis))
    boxes = scene.boxes_xyxy.copy()
    low, high = (0, 2) if axis else (1, 3)
    boxes[:, low], boxes[:, high] = (scene.size[axis] - scene.boxes_xyxy[:, side] for side in (high, low))
    return scene._replace(image=image, boxes_xyxy=boxes)


def warp_image(image: Image, matrix: WarpMatrix, size: Size) -> Image:
    """The image warped by the matrix [3, 3], bilinear; YOLOR's grey where the image does not reach."""
    fill = (YOLOR_FILL,) * MOST_CHANNELS
    if image.shape[:2] == size and np.array_equal(matrix, np.eye(3)):
        return image
    if np.array_equal(matrix[2], (0, 0, 1)):
        return apply_by_channels(
            image,
            lambda part: cv2.warpAffine(
                part, matrix[:2], size[::-1], flags=cv2.INTER_LINEAR, borderValue=fill
            ),
        )
    return apply_by_channels(
        image,
        lambda part: cv2.warpPerspective(part, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=fill),
    )


def warp_boxes(boxes_xyxy: BoxArray, matrix: WarpMatrix) -> BoxArray:
    """The axis-aligned boxes [B, 4] around the four warped corners of boxes [B, 4]."""
    corners = boxes_xyxy[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 2)
    places = np.concatenate([corners, np.ones((len(corners), 1))], axis=1) @ matrix.T
    flat = (places[:, :2] / places[:, 2:]).reshape(-1, 4, 2)
    return np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1)
