"""Which images make up each batch of an epoch; this depends only on the seed and the epoch."""

from __future__ import annotations

from collections import Counter
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
SHARES = 0x5A4E
"""Separates the random numbers by which images of an epoch are chosen."""


class BatchIndices(NamedTuple):
    """One global batch: the indices of its images, and its input size if batches differ in size."""

    indices: Integers
    size: Size | None = None


class BatchSampler(Protocol):
    """Plans the global batches of an epoch, for all ranks together."""

    def batches(self, epoch: int) -> Sequence[BatchIndices]: ...


class EpochShares(NamedTuple):
    """How many images of each data set an epoch takes: `counts`, of data sets with so many images: `sizes`,
    which stand in a row."""

    counts: tuple[int, ...]
    sizes: tuple[int, ...]

    @staticmethod
    def from_weights(weights: Sequence[float], sizes: Sequence[int]) -> EpochShares:
        """As many images in all as there are, shared by the weights, whole numbers by the largest rests."""
        exact = np.array(weights, np.float64) / np.sum(weights) * np.sum(sizes)
        counts = np.floor(exact).astype(np.int64)
        counts[np.argsort(counts - exact, kind="stable")[: int(np.sum(sizes) - counts.sum())]] += 1
        return EpochShares(tuple(counts.tolist()), tuple(sizes))

    def pick(self, seed: int, epoch: int) -> Integers:
        """The places of the images of an epoch. Each data set is gone through in random order, on and on from
        epoch to epoch, in a new order each time; what comes up again within an epoch has the number of all
        images added, for other random numbers."""
        firsts = np.cumsum([0, *self.sizes])
        whole = int(firsts[-1])
        picked = []
        for part, (count, size) in enumerate(zip(self.counts, self.sizes, strict=True)):
            places = np.arange(epoch * count, (epoch + 1) * count)
            rounds = range(epoch * count // size, (epoch * count + count - 1) // size + 1) if count else ()
            orders = {
                number: np.random.default_rng([SHARES, seed, part, number]).permutation(size)
                for number in rounds
            }
            chosen = np.array([orders[place // size][place % size] for place in places.tolist()], np.int64)
            picked.append(chosen + firsts[part] + whole * _count_earlier(chosen))
        return np.concatenate(picked)


def _count_earlier(numbers: Integers) -> Integers:
    """How often each number stands before its place."""
    seen: Counter[int] = Counter()
    found = np.empty_like(numbers)
    for place, number in enumerate(numbers.tolist()):
        found[place] = seen[number]
        seen[number] += 1
    return found


@dataclass(frozen=True)
class ShuffledBatchSampler:
    """Full batches in random order; the last one is filled up from the start of the same order.

    So every step has the same shape on every rank, and no image is left out, unless `shares` say how many
    there are of each data set. `pick_size(epoch, batch)` returns the input size of each batch if it varies.
    """

    count: int
    batch_size: int
    seed: int = 0
    pick_size: Callable[[int, int], Size] | None = None
    shares: EpochShares | None = None

    def batches(self, epoch: int) -> Sequence[BatchIndices]:
        order = np.random.default_rng([ORDER, self.seed, epoch]).permutation(self.count)
        if self.shares is not None:
            order = self.shares.pick(self.seed, epoch)[order]
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
    shares: EpochShares | None = None

    def batches(self, epoch: int) -> Sequence[BatchIndices]:
        chosen = np.arange(len(self.sizes))
        if self.shares is not None:
            chosen = self.shares.pick(self.seed or 0, epoch)
        sizes = self.sizes[chosen % len(self.sizes)]
        made = rect_batches(sizes, batch_size=self.batch_size, rules=self.rules)
        planned = [BatchIndices(chosen[batch.indices], batch.size) for batch in made]
        if self.seed is None:
            return planned
        order = np.random.default_rng([ORDER, self.seed, epoch]).permutation(len(planned))
        return [planned[number] for number in order]
