"""Batches for training and testing, the same whatever number of workers or ranks makes them.

The workers are threads. Decoding, scaling and warping are OpenCV's and run outside Python's lock, so threads
use the cores as processes would, but they share the pictures kept in memory, copy nothing between processes,
start at once and are safe beside CUDA.

Legend: N images, T targets, H W size of the input, C channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch

from yolor_cfg.data.images import Pictures
from yolor_cfg.data.order import Plan, Planned
from yolor_cfg.data.types import (
    Batch,
    Item,
    Recipe,
    Sample,
    SizedRecipe,
)
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.types import Size


class Share(NamedTuple):
    """Which of how many processes this one is: it takes every `world`-th picture of each global batch."""

    rank: int = 0
    world: int = 1


class Ready(NamedTuple):
    """One item and the sample that it was made for."""

    item: Item
    sample: Sample


@dataclass(frozen=True)
class Loader:
    """Goes through the epochs of a plan; `workers` 0 does all work when a batch is asked for.

    `prefetch` batches are made ahead. The random numbers of an item depend on (seed, epoch, index) alone.
    """

    pictures: Pictures
    recipe: Recipe
    plan: Plan
    seed: int = 0
    share: Share = Share()
    workers: int = 2
    prefetch: int = 2

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches from number `start` on, as they would have come without a break.

        A share of a batch in which there is no readable picture is left out.
        """
        batches = [self._shared(planned) for planned in self.plan.batches(epoch)[start:]]
        made = self._ahead(batches, epoch) if self.workers else self._at_once(batches, epoch)
        return (batch for batch in made if batch is not None)

    def steps(self, epoch: int = 0) -> int:
        """How many global batches an epoch has."""
        return len(self.plan.batches(epoch))

    def _shared(self, planned: Planned) -> Planned:
        return planned._replace(indices=planned.indices[self.share.rank :: self.share.world])

    def _at_once(self, batches: Sequence[Planned], epoch: int) -> Iterator[Batch | None]:
        for planned in batches:
            yield collated([self._ready(index, epoch, planned.size) for index in planned.indices.tolist()])

    def _ahead(self, batches: Sequence[Planned], epoch: int) -> Iterator[Batch | None]:
        """A task for every item, then one that joins them: first in, first out, so none waits in vain."""
        waiting: deque[Future[Batch | None]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        try:
            for planned in batches:
                indices = planned.indices.tolist()
                items = [pool.submit(self._ready, index, epoch, planned.size) for index in indices]
                waiting.append(pool.submit(_joined, items))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _ready(self, index: int, epoch: int, size: Size | None) -> Ready | None:
        """The item, or None for a picture that cannot be read and that nothing stands for."""
        recipe = self.recipe if size is None else cast(SizedRecipe, self.recipe).at(size)
        rng = np.random.default_rng([self.seed, epoch, index])
        try:
            item = Item(*recipe(index, rng, self.pictures))
        except DataError:
            if self.pictures.strict or self.pictures.substitutes:
                raise
            return None
        return Ready(item, self.pictures.samples[self.pictures.readable(index)])


def _joined(items: Sequence[Future[Ready | None]]) -> Batch | None:
    return collated([item.result() for item in items])


def collated(made: Sequence[Ready | None]) -> Batch | None:
    """One batch of what there is; images [N, C, H, W], channels last in memory where items are [H, W, C]."""
    ready = [one for one in made if one is not None]
    if not ready:
        return None
    images = torch.from_numpy(np.stack([one.item.image for one in ready])).permute(0, 3, 1, 2)
    targets = [_targets(number, one.item) for number, one in enumerate(ready)]
    samples = tuple(one.sample for one in ready)
    placements = tuple(one.item.placement or whole(one.item) for one in ready)
    return Batch(images, torch.from_numpy(np.concatenate(targets)), samples, placements)


def _targets(number: int, item: Item) -> np.ndarray:
    """[T, 6] float32: number of the image, class, box."""
    targets = np.empty((len(item.classes), 6), np.float32)
    targets[:, 0] = number
    targets[:, 1] = item.classes
    targets[:, 2:] = item.boxes_xywh
    return targets


def whole(item: Item) -> Placement:
    """The placement of an item that is a picture of its own: boxes stay in the pixels of the input."""
    size = item.image.shape[0], item.image.shape[1]
    return Placement(size, size, (1.0, 1.0), (0.0, 0.0))
