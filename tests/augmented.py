"""Images whose boxes can be found again in their pixels."""

from collections.abc import Callable

import numpy as np

from yolor_cfg.data.types import BatchItem, LabeledImage

INK = 255


def black(height: int, width: int, *, channels: int = 3) -> np.ndarray:
    return np.zeros((height, width, channels), np.uint8)


def marked(image: np.ndarray, *boxes: tuple[int, int, int, int], ink: int = INK) -> LabeledImage:
    """Rectangles left, top, right, bottom filled into a copy of the image, class by class from 0."""
    image = image.copy()
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = ink
    image.flags.writeable = False
    low, high = np.array(boxes, np.float64).reshape(-1, 2, 2).transpose(1, 0, 2)
    sides = np.array(image.shape[1::-1])
    boxes_xywh = np.concatenate([(low + high) / 2 / sides, (high - low) / sides], axis=1)
    return LabeledImage(image, boxes_xywh.astype(np.float32), np.arange(len(boxes)))


def plain(level: int, height: int, width: int, *, channels: int = 3) -> LabeledImage:
    """One colour and no box."""
    return marked(np.full((height, width, channels), level, np.uint8))


def noise_image(seed: int, *, channels: int = 3, boxes: int = 5) -> LabeledImage:
    """Random pixels, a random size, random boxes."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 120, 2).tolist()
    low, high = np.sort(rng.random((2, boxes, 2)), axis=0)
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    image.flags.writeable = False
    boxes_xywh = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
    return LabeledImage(image, boxes_xywh, rng.integers(0, 7, boxes))


def fetching(channels: int = 3) -> Callable[[int], LabeledImage]:
    return lambda index: noise_image(index, channels=channels)


def inked(image: np.ndarray) -> tuple[float, float, float, float]:
    """The borders of all that is brighter than half: left, top, right, bottom."""
    rows, columns = np.nonzero(image[..., 0] > INK // 2)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def corners(item: BatchItem) -> np.ndarray:
    """The boxes of an item as left, top, right, bottom in pixels."""
    height, width = item.image.shape[:2]
    centre, half = item.boxes_xywh[:, :2], item.boxes_xywh[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1) * (width, height, width, height)


def equal(first: BatchItem, second: BatchItem) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first[:3], second[:3], strict=True))
