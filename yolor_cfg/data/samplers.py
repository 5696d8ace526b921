"""Which images make up each batch of an epoch; this depends only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.rect import RectRules, rect_batches
from yolor_cfg.data.types import Integers
from yolor_cfg.images.types import Size

ORDER = 0x0D4E
"""Separates the random numbers of the order from those of the items, which are keyed (seed, epoch, index)."""


class BatchIndices(NamedTuple):
    """One global batch: the indices of its images, and its input size if batches differ in size."""

    indices: Integers
    size: Size | None = None


class BatchSampler(Protocol):
    """Plans the global batches of an epoch, for all ranks together."""

    def batches(self, epoch: int) -> Sequence[BatchIndices]: ...


@dataclass(frozen=True)
class ShuffledBatchSampler:
    """Full batches in random order; the last one is filled up from the start of the same order.

    So every step has the same shape on every rank, and no image is left out. `pick_size(epoch, batch)`
    returns the input size of each batch if it varies.
    """

    count: int
    batch_size: int
    seed: int = 0
    pick_size: Callable[[int, int], Size] | None = None

    def batches(self, epoch: int) -> Sequence[BatchIndices]:
        order = np.random.default_rng([ORDER, self.seed, epoch]).permutation(self.count)
        steps = -(-self.count // self.batch_size)
        rows = np.resize(order, (steps, self.batch_size))
        return [
            BatchIndices(row, self.pick_size(epoch, step) if self.pick_size else None)
            for step, row in enumerate(rows)
        ]


@dataclass(frozen=True)
class SequentialBatchSampler:
    """Every image once, in the order of the data set; the last batch may be smaller."""

    count: int
    batch_size: int

    def batches(self, epoch: int) -> Sequence[BatchIndices]:
        starts = range(0, self.count, self.batch_size)
        return [BatchIndices(np.arange(start, min(start + self.batch_size, self.count))) for start in starts]


@dataclass(frozen=True)
class RectBatchSampler:
    """YOLOR's rectangular batches; with a seed in random order, so the short batch may come anywhere."""

    sizes: NDArray[np.int32]
    batch_size: int
    rules: RectRules
    seed: int | None = None

    def batches(self, epoch: int) -> Sequence[BatchIndices]:
        made = rect_batches(self.sizes, batch_size=self.batch_size, rules=self.rules)
        planned = [BatchIndices(batch.indices, batch.size) for batch in made]
        if self.seed is None:
            return planned
        order = np.random.default_rng([ORDER, self.seed, epoch]).permutation(len(planned))
        return [planned[number] for number in order]
