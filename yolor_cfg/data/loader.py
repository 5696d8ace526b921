"""Batches for training and testing, the same for any number of workers and ranks.

The workers are threads. OpenCV decodes, scales and warps with Python's global lock released, so threads use
the cores as well as processes would, yet share the cached images, copy nothing between processes, start at
once and are safe to use with CUDA.

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
    Integers,
    Sample,
    SizedTransform,
    Transform,
)
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.types import Size


class Shard(NamedTuple):
    """This process's rank among `world_size`: it takes every `world_size`-th image of each global batch."""

    rank: int = 0
    world_size: int = 1


class LoadedItem(NamedTuple):
    """One item, the sample it was made from, and the data set of that."""

    item: BatchItem
    sample: Sample
    source: int = 0


@dataclass(frozen=True)
class Loader:
    """Loads the batches that the sampler plans; with `workers` 0 each batch is made when it is asked for.

    `prefetch` batches are made ahead. The random numbers of an item depend only on (seed, epoch, index); an
    index beyond the number of images is one of them again, with other random numbers.
    With `classes`, batches tell how much their images have of each of so many classes.
    """

    images: ImageStore
    transform: Transform
    sampler: BatchSampler
    seed: int = 0
    shard: Shard = Shard()
    workers: int = 2
    prefetch: int = 2
    classes: int = 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on, the same as in an uninterrupted epoch.

        A batch, or this rank's part of it, without a single readable image is skipped.
        """
        batches = [self._shard_batch(planned) for planned in self.sampler.batches(epoch)[start:]]
        made = (
            self._prefetched_batches(batches, epoch) if self.workers else self._serial_batches(batches, epoch)
        )
        return (batch for batch in made if batch is not None)

    def steps(self, epoch: int = 0) -> int:
        """The number of global batches in an epoch."""
        return len(self.sampler.batches(epoch))

    def _shard_batch(self, planned: BatchIndices) -> BatchIndices:
        return planned._replace(indices=planned.indices[self.shard.rank :: self.shard.world_size])

    def _serial_batches(self, batches: Sequence[BatchIndices], epoch: int) -> Iterator[Batch | None]:
        for planned in batches:
            indices = planned.indices.tolist()
            yield collate([self._load_item(index, epoch, planned.size) for index in indices], self.classes)

    def _prefetched_batches(self, batches: Sequence[BatchIndices], epoch: int) -> Iterator[Batch | None]:
        """One task per item, then one that collates them; tasks run in order of submission: no deadlock."""
        waiting: deque[Future[Batch | None]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        try:
            for planned in batches:
                indices = planned.indices.tolist()
                items = [pool.submit(self._load_item, index, epoch, planned.size) for index in indices]
                waiting.append(pool.submit(_collate_futures, items, self.classes))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _load_item(self, index: int, epoch: int, size: Size | None) -> LoadedItem | None:
        """The item, or None for an unreadable image without a substitute."""
        transform = (
            self.transform if size is None else cast(SizedTransform, self.transform).replace_size(size)
        )
        rng = np.random.default_rng([self.seed, epoch, index])
        index %= len(self.images.samples)
        try:
            item = BatchItem(*transform(index, rng, self.images))
        except DataError:
            if self.images.strict or self.images.substitutes:
                raise
            return None
        read = self.images.readable_index(index)
        return LoadedItem(item, self.images.samples[read], self.images.source(read))


def _collate_futures(items: Sequence[Future[LoadedItem | None]], classes: int) -> Batch | None:
    return collate([item.result() for item in items], classes)


def collate(made: Sequence[LoadedItem | None], classes: int = 0) -> Batch | None:
    """One batch of the items that could be loaded; images [N, C, H, W], channels last in memory. With
    `classes` it tells how much each image has of so many."""
    ready = [one for one in made if one is not None]
    if not ready:
        return None
    images = torch.from_numpy(np.stack([one.item.image for one in ready])).permute(0, 3, 1, 2)
    targets = np.concatenate([_targets(number, one.item) for number, one in enumerate(ready)])
    samples = tuple(one.sample for one in ready)
    placements = tuple(one.item.placement or identity_placement(one.item) for one in ready)
    truth = torch.from_numpy(np.stack([_truth(one, classes) for one in ready])) if classes else None
    sources = torch.tensor([one.source for one in ready])
    who = torch.from_numpy(np.concatenate([_identities(one.item) for one in ready]))
    return Batch(images, torch.from_numpy(targets), samples, placements, truth, sources, who)


def _truth(made: LoadedItem, classes: int) -> np.ndarray:
    """[K] float32: that of the item, or 1 for each class that it shows a box of."""
    if made.item.truth is not None:
        return made.item.truth
    truth = np.zeros(classes, np.float32)
    truth[made.item.classes] = 1
    return truth


def _identities(item: BatchItem) -> Integers:
    """[T] int64, -1 where none is known."""
    return np.full(len(item.classes), -1, np.int64) if item.identities is None else item.identities


def _targets(number: int, item: BatchItem) -> np.ndarray:
    """[T, 6] float32: image index, class id, box."""
    targets = np.empty((len(item.classes), 6), np.float32)
    targets[:, 0] = number
    targets[:, 1] = item.classes
    targets[:, 2:] = item.boxes_xywh
    return targets


def identity_placement(item: BatchItem) -> Placement:
    """The placement of an item that is no single image of the data set: boxes stay in pixels of the input."""
    size = item.image.shape[0], item.image.shape[1]
    return Placement(size, size, (1.0, 1.0), (0.0, 0.0))
