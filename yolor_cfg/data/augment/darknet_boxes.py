"""The labels of images that are cropped or put into a mosaic as in C Darknet.

Legend: B boxes. Boxes are centre and size as fractions of the input, in float32 as in C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.augment.darknet_crop import PixelBox, Quarter
from yolor_cfg.data.augment.geometry import join_identities
from yolor_cfg.data.types import BatchItem, Floats, Integers, LabeledImage
from yolor_cfg.images.types import Image, Size

Generator = np.random.Generator
BoxIndex = NDArray[Any] | np.bool_ | slice


class BoxLabels(NamedTuple):
    """Boxes [B, 4], their classes [B], and their identities [B] if any are known."""

    boxes_xywh: Floats
    classes: Integers
    identities: Integers | None = None

    def select(self, choice: BoxIndex) -> BoxLabels:
        """The chosen labels."""
        who = None if self.identities is None else self.identities[choice]
        return BoxLabels(self.boxes_xywh[choice], self.classes[choice], who)

    def to_item(self, image: Image) -> BatchItem:
        """An image with these labels, for the data loader."""
        return BatchItem(image, self.boxes_xywh, self.classes, identities=self.identities)


class CropView(NamedTuple):
    """The visible area in pixels of the image, whether it is flipped, and the input size."""

    area: PixelBox
    is_mirrored: bool
    size: Size


def shuffle_labels(source: LabeledImage, most: int, rng: Generator) -> BoxLabels:
    """The labels in random order, at most `most` of them; this limit applies before labels are dropped."""
    order = rng.permutation(len(source.classes))[:most]
    return BoxLabels(source.boxes_xywh, source.classes, source.identities).select(order)


def crop_labels(labels: BoxLabels, image_size: Size, shown: CropView) -> BoxLabels:
    """The boxes clipped to the visible area, without those outside the image and those that end up lower or
    narrower than one pixel of the input."""
    (height, width), (left, top, right, bottom) = image_size, shown.area
    scale = np.array([right - left, bottom - top], np.float32) / np.array([width, height], np.float32)
    start = np.array([left, top], np.float32) / np.array([width, height], np.float32) / scale
    centre, half = labels.boxes_xywh[:, :2], labels.boxes_xywh[:, 2:] / 2
    low, high = centre - half, centre + half
    placed = (centre != 0).any(axis=1) & (high >= 0).all(axis=1) & (low <= 1).all(axis=1)
    near, far = low / scale - start, high / scale - start
    if shown.is_mirrored:
        near[:, 0], far[:, 0] = 1 - far[:, 0], 1 - near[:, 0]
    near, far = near.clip(0, 1), far.clip(0, 1)
    boxes = np.concatenate([(near + far) / 2, far - near], axis=1)
    visible = (boxes[:, 2:] >= _pixel_fraction(shown.size)).all(axis=1)
    return labels._replace(boxes_xywh=boxes).select(placed & visible)


def mosaic_labels(labels: BoxLabels, part: Quarter, *, size: Size, bound: bool) -> BoxLabels:
    """The labels of an image in its quarter of a mosaic, clipped to the quarter with `bound`, else to the
    whole mosaic, in whole pixels: up to one pixel may still lie outside.

    As in C Darknet, a box that covers the whole width or height is dropped.
    """
    sides = np.array(size[::-1], np.float32)
    centre = labels.boxes_xywh[:, :2] + (np.subtract(part.target[:2], part.source) / sides).astype(np.float32)
    boxes = np.concatenate([centre, labels.boxes_xywh[:, 2:]], axis=1)
    low, high = np.split(integer_corners(boxes, size), 2, axis=1)
    if bound:
        low, high = np.maximum(low, part.target[:2]), np.minimum(high, part.target[2:])
        centre = ((low + high) / 2).astype(np.float32) / sides
        boxes = np.concatenate([centre, (high - low) / sides], axis=1).astype(np.float32)
    else:
        before = np.minimum(low, 0).astype(np.float32) / sides
        beyond = np.maximum(high - size[::-1], 0).astype(np.float32) / sides
        centre, extent = boxes[:, :2] - (before + beyond) / 2, boxes[:, 2:] + before - beyond
        boxes = np.concatenate([centre, extent], axis=1)
    proper = ((boxes > 0) & (boxes < 1)).all(axis=1) & (boxes[:, 2:] > _pixel_fraction(size)).all(axis=1)
    return labels._replace(boxes_xywh=boxes).select(proper)


def concat_labels(parts: Sequence[BoxLabels], most: int) -> BoxLabels:
    """The labels of all parts, the first `most` of them."""
    boxes = np.concatenate([part.boxes_xywh for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    who = join_identities([part.identities for part in parts])
    return BoxLabels(boxes, classes, who).select(slice(most))


def integer_corners(boxes_xywh: Floats, size: Size) -> NDArray[np.int64]:
    """Left, top, right, bottom [B, 4] in pixels of the input, truncated to integers."""
    centre, half = boxes_xywh[:, :2], boxes_xywh[:, 2:] / 2
    sides = np.array(size[::-1] * 2, np.float32)
    return (np.concatenate([centre - half, centre + half], axis=1) * sides).astype(np.int64)


def least_side(labels: BoxLabels, size: Size) -> int:
    """The shortest side of all boxes in whole pixels of the input; 0 without boxes."""
    sides = labels.boxes_xywh[:, 2:] * np.array(size[::-1], np.float32)
    return int(sides.min()) if sides.size else 0


def _pixel_fraction(size: Size) -> Floats:
    return np.float32(1) / np.array(size[::-1], np.float32)
