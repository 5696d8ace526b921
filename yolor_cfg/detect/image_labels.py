"""The classes of a whole image, as a classifier tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

BEST = 5
"""So many classes are shown where each image has one."""


class ImageLabel(NamedTuple):
    """A class of an image and its probability."""

    class_id: int
    name: str
    score: float

    def __str__(self) -> str:
        return f"{self.name} {self.score:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """The words of `yolor detect --json`, rounded: class, name, score."""
        return {"class": self.class_id, "name": self.name, "score": round(self.score, 6)}


class LabelRange(NamedTuple):
    """The classes from `first` on, `length` of them, that one head tells; `is_single`: each image has one."""

    first: int
    length: int
    is_single: bool


def choose_labels(
    scores: Any, ranges: Sequence[LabelRange], *, names: Sequence[str], least: float
) -> tuple[ImageLabel, ...]:
    """The labels of an image with the probabilities `scores` [K], best first: of each head the five best
    classes, or, where an image may have any number of them, those of `least` or more."""
    values, found = np.asarray(scores, np.float64), list[ImageLabel]()
    for first, length, is_single in ranges:
        part = values[first : first + length]
        order = np.argsort(-part, kind="stable")
        kept = order[:BEST] if is_single else order[part[order] >= least]
        found += [ImageLabel(first + k, names[first + k], float(part[k])) for k in kept.tolist()]
    return tuple(found)
