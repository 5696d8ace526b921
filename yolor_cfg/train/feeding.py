"""The images of a training on their way to the loop: which ones, in which sizes, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.augment.parts import PartsTransform
from yolor_cfg.data.augment.sizes import RandomSizes
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader, Shard
from yolor_cfg.data.rect import RectRules
from yolor_cfg.data.samplers import BatchSampler, EpochShares, RectBatchSampler, ShuffledBatchSampler
from yolor_cfg.data.types import DataPart, Transform
from yolor_cfg.graph import Graph
from yolor_cfg.images.types import Size
from yolor_cfg.parallel import this_process
from yolor_cfg.train.losses.terms import term_name
from yolor_cfg.train.settings import TrainOptions

MULTI_SCALE = 0.5
SIZE_SEED = 0x517E
"""Separates the random sizes from other random numbers."""


class JobInputs(NamedTuple):
    """The inputs of both recipes."""

    options: TrainOptions
    graph: Graph
    images: ImageStore
    sizes: np.ndarray
    batch_size: int
    parts: tuple[DataPart, ...]

    @property
    def learns_boxes(self) -> bool:
        """Whether there are images that are augmented for their boxes; else all are as a classifier's."""
        return any(map(self.is_box_part, self.parts))

    def is_box_part(self, part: DataPart) -> bool:
        """Whether the images of this data set are augmented for their boxes."""
        return part.has_boxes and bool(self.graph.keep_heads(part.task).box_heads)

    @property
    def shares(self) -> EpochShares | None:
        """How many images of each data set an epoch takes, if the user says so."""
        weights = self.options.data_weights
        return EpochShares.from_weights(weights, [part.images for part in self.parts]) if weights else None

    def make_transform(self, make: Callable[[DataPart], Transform]) -> Transform:
        """The transform of the only data set, or one of each."""
        made = tuple(map(make, self.parts))
        return made[0] if len(made) == 1 else PartsTransform(made, tuple(part.first for part in self.parts))

    @property
    def label_classes(self) -> int:
        """The number of classes that heads tell of whole images, of the task with the most; 0: none do."""
        return self.graph.classes if self.graph.label_heads else 0

    @property
    def size(self) -> Size:
        """Height and width of the input."""
        return self.graph.image.height, self.graph.image.width

    @property
    def image_count(self) -> int:
        """The number of images."""
        return len(self.images.samples)


def find_terms(graph: Graph, parts: Sequence[DataPart], *, has_identities: bool) -> tuple[str, ...]:
    """The kinds of loss, by their names, that these data sets give."""
    found: dict[str, None] = {}
    for part in (part for part in parts if part.is_labeled):
        own = graph.keep_heads(part.task)
        kinds = {
            "boxes": part.has_boxes and bool(own.box_heads),
            "labels": bool(own.label_heads),
            "identities": has_identities and any(node.section.has_embedding for node in own.heads),
        }
        found |= {term_name(kind, part.task): None for kind, there in kinds.items() if there}
    return tuple(found)


SizeSchedule = Callable[[int, int], Size] | None


def darknet_sizes(sizes: RandomSizes, per_epoch: int) -> SizeSchedule:
    return lambda epoch, number: sizes.input_size(epoch * per_epoch + number)


def multi_scale_sizes(basis: JobInputs) -> SizeSchedule:
    """With --multi-scale, a size for each batch: 0.5 to 1.5 times the input, in multiples of the stride."""
    if not basis.options.multi_scale:
        return None
    stride, seed = basis.graph.largest_stride, basis.options.seed

    def size_of(epoch: int, number: int) -> Size:
        rng = np.random.default_rng([SIZE_SEED, seed, epoch, number])
        gain = rng.uniform(1 - MULTI_SCALE, 1 + MULTI_SCALE)
        height, width = (max(stride, round(side * gain / stride) * stride) for side in basis.size)
        return height, width

    return size_of


def build_sampler(basis: JobInputs, size_of: SizeSchedule) -> BatchSampler:
    options = basis.options
    if options.rect:
        rules = RectRules(max(basis.size), basis.graph.largest_stride, pad=0.0)
        return RectBatchSampler(basis.sizes, basis.batch_size, rules, options.seed, basis.shares)
    return ShuffledBatchSampler(basis.image_count, basis.batch_size, options.seed, size_of, basis.shares)


def build_loader(basis: JobInputs, recipe: Transform, plan: BatchSampler) -> Loader:
    here = this_process()
    return Loader(
        basis.images,
        recipe,
        plan,
        basis.options.seed,
        Shard(here.rank, here.world_size),
        basis.options.workers,
        classes=basis.label_classes,
    )
