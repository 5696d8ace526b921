"""Several data sets in one training: each image is mixed only with others of its own data set."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from yolor_cfg.data.types import BatchItem, Fetch, SizedTransform, Transform
from yolor_cfg.images.types import Size


@dataclass(frozen=True)
class PartsTransform:
    """Makes the items of each data set by a transform of its own, which counts its images from 0; `firsts`
    are the places of their first images among all, ascending from 0."""

    transforms: tuple[Transform, ...]
    firsts: tuple[int, ...]

    def replace_size(self, size: Size) -> PartsTransform:
        """The same transforms for another input size."""
        made = tuple(cast(SizedTransform, one).replace_size(size) for one in self.transforms)
        return replace(self, transforms=made)

    def __call__(self, index: int, rng: np.random.Generator, fetch: Fetch) -> BatchItem:
        part = bisect.bisect_right(self.firsts, index) - 1
        first = self.firsts[part]
        made = self.transforms[part](index - first, rng, lambda place: fetch(first + place))
        return BatchItem(*made)
