"""Values of a network that are computed once, and what stands behind them, run from there.

A trunk that does not learn gives the same values in every run of an experiment. They are computed once for
all drawn images; a run then computes only the sections behind them, which are those of the product: equal to
`network(images)` to the bit.

Legend: N images, B boxes, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.data.shapes import KINDS, ObjectOptions, draw_shapes
from yolor_cfg.detect.nms import NmsRules, select_boxes
from yolor_cfg.evaluate.coco import score_coco
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth, no_detections
from yolor_cfg.graph import IMAGE_INDEX
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.model import Network

SIDE = 192
"""Pixels of the drawn images, as weights/yolor_nano_shapes.pt has them."""
BATCH = 16
NMS = NmsRules(conf=0.01, iou=0.65, kind="yolor", multi_label=True)
Values = dict[int, Tensor]


class Pictures(NamedTuple):
    """Images [N, 3, S, S] in 0..1; of each its targets [B, 5]: class id, centre and size as fractions; and
    the identities [B] of its objects."""

    images: Tensor
    targets: list[Tensor]
    identities: list[Tensor]


class CachedPictures(NamedTuple):
    """What the sections behind the trunk read, by index of the section that computes it; and the labels."""

    values: Values
    targets: list[Tensor]
    identities: list[Tensor]

    def select(self, images: Sequence[int] | NDArray[np.int64]) -> Values:
        """The values of these images."""
        chosen = torch.as_tensor(np.asarray(images))
        return {layer: to_channels_last(value[chosen]) for layer, value in self.values.items()}


def draw_pictures(
    count: int, seed: int, objects: ObjectOptions = KINDS["coloured"], *, side: int = SIDE
) -> Pictures:
    """Drawn images; equal seeds draw equal ones."""
    rng = np.random.default_rng(seed)
    drawn = [draw_shapes(rng, (side, side), objects) for _ in range(count)]
    pixels = np.stack([one.image for one in drawn]).transpose(0, 3, 1, 2)
    targets = [np.concatenate([one.classes[:, None], one.boxes_xywh], axis=1) for one in drawn]
    return Pictures(
        to_channels_last(torch.from_numpy(pixels).float() / 255),
        [torch.from_numpy(table).float() for table in targets],
        [torch.from_numpy(one.identities) for one in drawn],
    )


def to_channels_last(value: Tensor) -> Tensor:
    """The layout that `Network` computes in, so that sums are in the same order."""
    return value.contiguous(memory_format=torch.channels_last)


def cache_values(network: Network, pictures: Pictures, layers: Sequence[int]) -> CachedPictures:
    """The values of these layers for all images."""
    network.eval()
    parts: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for first in range(0, len(pictures.images), BATCH):
        found = network.trace(pictures.images[first : first + BATCH], layers)
        for layer, value in found.items():
            parts[layer].append(value)
    values = {layer: to_channels_last(torch.cat(part)) for layer, part in parts.items()}
    return CachedPictures(values, pictures.targets, pictures.identities)


def image_values(pictures: Pictures) -> CachedPictures:
    """The images themselves, for networks that learn from the image on."""
    return CachedPictures({IMAGE_INDEX: pictures.images}, pictures.targets, pictures.identities)


def keep_file(path: Path, make: Callable[[], CachedPictures]) -> CachedPictures:
    """What the file holds, or what `make` gives, which it then holds."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        torch.save(tuple(made), path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    return CachedPictures(*torch.load(path, weights_only=True))


class NetworkEnd:
    """The sections of a network behind given ones: those that its heads need, or the `wanted` sections, in
    order."""

    def __init__(self, network: Network, given: Sequence[int], wanted: Sequence[int] = ()) -> None:
        self.network, self.given = network, frozenset(given)
        self.wanted = tuple(wanted) or network.graph.outputs
        self.order = self._find_order()

    def _find_order(self) -> list[int]:
        nodes, wanted, found = self.network.graph.nodes, list(self.wanted), set[int]()
        while wanted:
            index = wanted.pop()
            if index in found or index in self.given:
                continue
            assert index != IMAGE_INDEX, "the heads need more than what is given"
            found.add(index)
            wanted += nodes[index].sources
        return sorted(found)

    def __call__(self, values: Mapping[int, Tensor]) -> list[Tensor]:
        """The raw maps of the heads, as `network(images)` returns them, or what was wanted."""
        network, known = self.network, dict(values)
        for index in self.order:
            sources = network.graph.nodes[index].sources
            known[index] = network.module_list[index](*[known[source] for source in sources])
        return [known[index] for index in self.wanted]

    @property
    def modules(self) -> list[torch.nn.Module]:
        """The modules of these sections."""
        return [self.network.module_list[index] for index in self.order]


@torch.no_grad()
def cache_end(end: NetworkEnd, pictures: CachedPictures) -> CachedPictures:
    """The values that the end computes from cached ones, for all images."""
    chunks = []
    for first in range(0, len(pictures.targets), BATCH):
        chunks.append(end({layer: value[first : first + BATCH] for layer, value in pictures.values.items()}))
    values = [to_channels_last(torch.cat(parts)) for parts in zip(*chunks, strict=True)]
    return pictures._replace(values=dict(zip(end.wanted, values, strict=True)))


def batch_targets(targets: Sequence[Tensor], images: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """[T, 6] of these images, as the loss takes them."""
    parts = [
        torch.cat([torch.full((len(targets[i]), 1), float(n)), targets[i]], 1) for n, i in enumerate(images)
    ]
    return torch.cat(parts)


def relabel(targets: Sequence[Tensor], classes: Sequence[Tensor]) -> list[Tensor]:
    """The targets with other class ids [B] for each image."""
    pairs = zip(targets, classes, strict=True)
    return [torch.cat([its.float()[:, None], table[:, 1:]], dim=1) for table, its in pairs]


def drawn_truth(targets: Sequence[Tensor], classes: int) -> GroundTruth:
    """The ground truth of drawn images."""
    counts = [len(table) for table in targets]
    table = torch.cat(list(targets)).double().numpy()
    centre, size = table[:, 1:3] * SIDE, table[:, 3:5] * SIDE
    numbers, nothing = tuple(range(len(targets))), np.zeros(len(table), np.bool_)
    return GroundTruth(
        names=tuple(map(str, range(classes))),
        category_ids=tuple(range(classes)),
        image_ids=numbers,
        files=tuple(map(str, numbers)),
        sizes=np.full((len(targets), 2), SIDE),
        images=np.repeat(np.arange(len(targets)), counts),
        boxes_ltwh=np.concatenate([centre - size / 2, size], axis=1),
        classes=table[:, 0].astype(np.int64),
        areas=size.prod(axis=1),
        crowd=nothing,
        difficult=nothing,
    )


@torch.no_grad()
def find_detections(end: NetworkEnd, pictures: CachedPictures) -> Doubles:
    """All detections [D, 7] in the cached images."""
    rows = [no_detections()]
    end.network.eval()
    whole = Placement((SIDE, SIDE), (SIDE, SIDE), (1.0, 1.0), (0.0, 0.0), is_clipped=True)
    for first in range(0, len(pictures.targets), BATCH):
        raws = end({layer: value[first : first + BATCH] for layer, value in pictures.values.items()})
        predictions = end.network.decode(raws, least=NMS.conf)
        for number, (corners, kept) in enumerate(
            select_boxes(predictions, [whole] * len(raws[0]), rules=NMS)
        ):
            boxes = corners.double().numpy()
            size = boxes[:, 2:] - boxes[:, :2]
            image = np.full(len(boxes), first + number)
            rows.append(np.c_[image, boxes[:, :2], size, kept.scores.double().numpy(), kept.classes.numpy()])
    return np.concatenate(rows)


def score_end(end: NetworkEnd, pictures: CachedPictures) -> dict[str, float]:
    """COCO's numbers of the network in the cached images."""
    classes = end.network.graph.classes
    return score_coco(drawn_truth(pictures.targets, classes), find_detections(end, pictures)).numbers
