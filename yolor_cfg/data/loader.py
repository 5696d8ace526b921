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

from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.samplers import BatchIndices, BatchSampler
from yolor_cfg.data.types import (
    Batch,
    BatchItem,
    Sample,
    SizedTransform,
    Transform,
)
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.types import Size


class Shard(NamedTuple):
    """Which of how many processes this one is: it takes every `world`-th picture of each global batch."""

    rank: int = 0
    world_size: int = 1


class LoadedItem(NamedTuple):
    """One item and the sample that it was made for."""

    item: BatchItem
    sample: Sample


@dataclass(frozen=True)
class Loader:
    """Goes through the epochs of a plan; `workers` 0 does all work when a batch is asked for.

    `prefetch` batches are made ahead. The random numbers of an item depend on (seed, epoch, index) alone.
    """

    images: ImageStore
    transform: Transform
    sampler: BatchSampler
    seed: int = 0
    shard: Shard = Shard()
    workers: int = 2
    prefetch: int = 2

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches from number `start` on, as they would have come without a break.

        A share of a batch in which there is no readable picture is left out.
        """
        batches = [self._shard_batch(planned) for planned in self.sampler.batches(epoch)[start:]]
        made = (
            self._prefetched_batches(batches, epoch) if self.workers else self._serial_batches(batches, epoch)
        )
        return (batch for batch in made if batch is not None)

    def steps(self, epoch: int = 0) -> int:
        """How many global batches an epoch has."""
        return len(self.sampler.batches(epoch))

    def _shard_batch(self, planned: BatchIndices) -> BatchIndices:
        return planned._replace(indices=planned.indices[self.shard.rank :: self.shard.world_size])

    def _serial_batches(self, batches: Sequence[BatchIndices], epoch: int) -> Iterator[Batch | None]:
        for planned in batches:
            yield collate([self._load_item(index, epoch, planned.size) for index in planned.indices.tolist()])

    def _prefetched_batches(self, batches: Sequence[BatchIndices], epoch: int) -> Iterator[Batch | None]:
        """A task for every item, then one that joins them: first in, first out, so none waits in vain."""
        waiting: deque[Future[Batch | None]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        try:
            for planned in batches:
                indices = planned.indices.tolist()
                items = [pool.submit(self._load_item, index, epoch, planned.size) for index in indices]
                waiting.append(pool.submit(_collate_futures, items))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _load_item(self, index: int, epoch: int, size: Size | None) -> LoadedItem | None:
        """The item, or None for a picture that cannot be read and that nothing stands for."""
        recipe = self.transform if size is None else cast(SizedTransform, self.transform).replace_size(size)
        rng = np.random.default_rng([self.seed, epoch, index])
        try:
            item = BatchItem(*recipe(index, rng, self.images))
        except DataError:
            if self.images.strict or self.images.substitutes:
                raise
            return None
        return LoadedItem(item, self.images.samples[self.images.readable_index(index)])


def _collate_futures(items: Sequence[Future[LoadedItem | None]]) -> Batch | None:
    return collate([item.result() for item in items])


def collate(made: Sequence[LoadedItem | None]) -> Batch | None:
    """One batch of what there is; images [N, C, H, W], channels last in memory where items are [H, W, C]."""
    ready = [one for one in made if one is not None]
    if not ready:
        return None
    images = torch.from_numpy(np.stack([one.item.image for one in ready])).permute(0, 3, 1, 2)
    targets = [_targets(number, one.item) for number, one in enumerate(ready)]
    samples = tuple(one.sample for one in ready)
    placements = tuple(one.item.placement or identity_placement(one.item) for one in ready)
    return Batch(images, torch.from_numpy(np.concatenate(targets)), samples, placements)


def _targets(number: int, item: BatchItem) -> np.ndarray:
    """[T, 6] float32: number of the image, class, box."""
    targets = np.empty((len(item.classes), 6), np.float32)
    targets[:, 0] = number
    targets[:, 1] = item.classes
    targets[:, 2:] = item.boxes_xywh
    return targets


def identity_placement(item: BatchItem) -> Placement:
    """The placement of an item that is a picture of its own: boxes stay in the pixels of the input."""
    size = item.image.shape[0], item.image.shape[1]
    return Placement(size, size, (1.0, 1.0), (0.0, 0.0))
