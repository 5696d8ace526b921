"""Test batches: YOLOR's rectangles of images with similar aspect ratio, or one fixed size.

Legend: N images, H W size of the input.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.eval_transforms import letterbox_image
from yolor_cfg.data.rect import RectRules, rect_batches
from yolor_cfg.data.types import Sample
from yolor_cfg.errors import DataError
from yolor_cfg.graph import Graph
from yolor_cfg.images.fit import preprocess_image
from yolor_cfg.images.preprocess import NetworkInput, Placement, match_channels
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.tiles import TiledImage, TileRules, tile_image
from yolor_cfg.images.types import Size

YOLOR_MULTIPLE = 64
"""The sides of YOLOR's rectangles are multiples of this, whatever the strides of the network."""
NO_PIXELS = np.zeros((0, 0, 0, 0), np.float32)


class ImagePlan(NamedTuple):
    """The index of an image in the data set and its input size; None means the network's own size."""

    image: int
    size: Size | None


class Group(NamedTuple):
    """Images of one input size: pixels [N, C, H, W] float32 in 0..1, their indices, their placements. An
    image in tiles stands alone, without pixels."""

    pixels: NDArray[np.float32]
    images: tuple[int, ...]
    placements: tuple[Placement, ...]
    tiled: TiledImage | None = None


class LoadedBatch(NamedTuple):
    """A batch grouped by input size, the unreadable images with the reasons, and the seconds it took."""

    groups: tuple[Group, ...]
    skipped: tuple[tuple[int, str], ...]
    seconds: float


def rectangle_plans(sizes: NDArray[np.int32], *, batch_size: int, rules: RectRules) -> list[ImagePlan]:
    """All images (sizes [N, 2]) sorted by aspect ratio, each batch in its smallest rectangle, as in YOLOR.

    The rectangle of an image does not depend on how the images are later split among processes.
    """
    batches = rect_batches(sizes, batch_size=batch_size, rules=rules)
    return [ImagePlan(int(image), batch.size) for batch in batches for image in batch.indices]


def rectangle_multiple(graph: Graph) -> int:
    """The least common multiple of 64 and the network's largest stride."""
    return int(np.lcm(YOLOR_MULTIPLE, graph.largest_stride))


def split_batches(plans: Sequence[ImagePlan], batch_size: int) -> Iterator[list[ImagePlan]]:
    """Batches of consecutive images of equal size."""
    batch: list[ImagePlan] = []
    for plan in plans:
        if batch and (len(batch) == batch_size or plan.size != batch[0].size):
            yield batch
            batch = []
        batch.append(plan)
    if batch:
        yield batch


class FitOptions(NamedTuple):
    """How images are fitted to the input, and how large ones are cut into tiles, if they are."""

    how: str
    tiling: TileRules | None = None


def prepare(sample: Sample, graph: Graph, *, plan: ImagePlan, fit: FitOptions) -> NetworkInput | TiledImage:
    """The network's input for one image of a data set, or the image in tiles."""
    channels, how = graph.image.channels, fit.how
    image = match_channels(read_channels(sample.image, channels), channels)
    tiled = tile_image(image, fit.tiling) if fit.tiling else None
    if tiled is not None:
        return tiled
    if plan.size is None:
        return preprocess_image(image, graph, how=how)
    canvas, placement = letterbox_image(image, plan.size, long_side=graph.image.width)
    return NetworkInput(canvas.transpose(2, 0, 1).astype(np.float32) / np.float32(255), placement)


def load_batch(
    samples: Sequence[Sample], graph: Graph, *, batch: Sequence[ImagePlan], fit: FitOptions
) -> LoadedBatch:
    """The batch, without unreadable images, which are listed in `skipped`."""
    start = time.perf_counter()
    items: dict[int, NetworkInput | TiledImage] = {}
    skipped = []
    for plan in batch:
        try:
            items[plan.image] = prepare(samples[plan.image], graph, plan=plan, fit=fit)
        except DataError as fault:
            skipped.append((plan.image, str(fault).splitlines()[0]))
    return LoadedBatch(tuple(group_by_size(items)), tuple(skipped), time.perf_counter() - start)


def group_by_size(prepared: Mapping[int, NetworkInput | TiledImage]) -> Iterator[Group]:
    """The images, by index, in groups of one input size; those in tiles one by one."""
    items = {image: item for image, item in prepared.items() if isinstance(item, NetworkInput)}
    for image, item in prepared.items():
        if isinstance(item, TiledImage):
            yield Group(NO_PIXELS, (image,), (item.placement,), item)
    for shape in dict.fromkeys(item.pixels.shape for item in items.values()):
        same = {image: item for image, item in items.items() if item.pixels.shape == shape}
        pixels = np.stack([item.pixels for item in same.values()])
        yield Group(pixels, tuple(same), tuple(item.placement for item in same.values()))


def load_batches(
    samples: Sequence[Sample], graph: Graph, *, batches: Sequence[Sequence[ImagePlan]], fit: FitOptions
) -> Iterator[LoadedBatch]:
    """The batches in order; a thread loads the next one while the current one is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = None
        for batch in batches:
            current, coming = coming, thread.submit(load_batch, samples, graph, batch=batch, fit=fit)
            if current is not None:
                yield current.result()
        if coming is not None:
            yield coming.result()
