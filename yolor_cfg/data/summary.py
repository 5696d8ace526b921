"""What a data set holds, as plain values: images, labels of each class, sizes of boxes.

Legend: T labels of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.statistics.measure import SIZE_NAMES, count_sizes
from yolor_cfg.data.types import DataPart, Dataset, Integers, Sample


def summarize_dataset(dataset: Dataset) -> dict[str, Any]:
    """A JSON object: origin, format, images, how many of them without labels, labels, how many of their boxes
    are small, medium and large by COCO's bounds, for each class the images and labels that it has, and the
    parts of several data sets. Boxes of crowds do not count."""
    samples = list(dataset.samples)
    kept = [_own_classes(sample, dataset.has_boxes) for sample in samples]
    counts = np.array([len(classes) for classes in kept], np.int64)
    classes = np.concatenate([np.zeros(0, np.int64), *kept])
    images = np.repeat(np.arange(len(samples)), counts)
    return {
        "origin": dataset.origin,
        "format": dataset.format,
        "images": len(samples),
        "unlabeled": int((counts == 0).sum()) if dataset.is_labeled else len(samples),
        "labels": len(classes),
        "has_boxes": dataset.has_boxes,
        "sizes": _count_sizes(samples) if dataset.has_boxes else {},
        "classes": _count_classes(dataset.names, classes, images),
        "parts": [_describe_part(part) for part in dataset.parts],
    }


def _own_classes(sample: Sample, has_boxes: bool) -> Integers:
    return sample.classes[~sample.crowd] if has_boxes else sample.image_classes


def _count_sizes(samples: Sequence[Sample]) -> dict[str, int]:
    parts: list[NDArray[np.floating]] = [sample.areas[~sample.crowd] for sample in samples]
    return dict(zip(SIZE_NAMES, count_sizes(np.concatenate([np.zeros(0), *parts])), strict=True))


def _count_classes(names: Sequence[str], classes: Integers, images: Integers) -> list[dict[str, Any]]:
    """The labels [T] of each class, and the images that have any."""
    labels = np.bincount(classes, minlength=len(names)).tolist()
    there = np.unique(np.stack([classes, images]), axis=1)[0]
    with_it = np.bincount(there, minlength=len(names)).tolist()
    rows = zip(names, with_it, labels, strict=True)
    return [{"name": name, "images": images, "labels": labels} for name, images, labels in rows]


def _describe_part(part: DataPart) -> dict[str, Any]:
    return {"name": part.name, "origin": part.origin, "task": part.task, "images": part.images}
