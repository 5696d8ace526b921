"""What is found in the areas of one image, as what is found in the image: every object once.

Legend: M boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.errors import CfgError
from yolor_cfg.images.preprocess import NetworkInput
from yolor_cfg.images.tiles import TileArea, TiledImage, are_whole

CUT_WEIGHT = 0.5
"""A box that the end of its tile cuts counts with half its score when the best are chosen: a neighbour sees
more of the object. docs/watch.md has the AP of this and of other rules."""
LEAST_SHARED = 0.5
"""A cut box is dropped if a better one holds this part of its area."""
AnyArray = NDArray[Any]


class AreaBoxes(NamedTuple):
    """Boxes [M, 4] in pixels of the image, scores [M], classes [M]; whether the end of the area cuts them,
    and whether another tile holds such a box whole [M]."""

    boxes_xyxy: AnyArray
    scores: AnyArray
    classes: AnyArray
    cut: AnyArray
    elsewhere: AnyArray


def move_boxes(found: Sequence[Any], area: TileArea, image: TiledImage) -> AreaBoxes:
    """The boxes [M, 4], scores and classes of an area, whose pixels boxes are in, as those of the image."""
    boxes, scores, classes = (np.asarray(part) for part in found)
    boxes = boxes + np.array([area.left, area.top] * 2, boxes.dtype)
    size = image.placement.image_size
    cut = ~are_whole(boxes, [area], size)[:, 0]
    elsewhere = np.zeros_like(cut)
    elsewhere[cut] = are_whole(boxes[cut], image.tiles, size).any(axis=1)
    return AreaBoxes(boxes, scores, classes, cut, elsewhere)


def merge_areas(parts: Sequence[AreaBoxes], rules: NmsRules) -> tuple[AreaBoxes, NDArray[np.int64]]:
    """The boxes of an image, best first, and their numbers among those of all parts, at most `max_det`.

    A box that its tile cuts is left out where another tile holds it whole: that one sees more of the object.
    The others pass NMS by IoU, a class at a time unless it is agnostic, in which one that is cut has half its
    score, and is left out too if half of it lies in a better box. Scores stay as they are.
    """
    every = AreaBoxes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    kept = np.fromiter(_iter_kept(every, rules), np.int64)
    kept = kept[np.argsort(-every.scores[kept], kind="stable")]
    return AreaBoxes(*(column[kept] for column in every)), kept


def _iter_kept(every: AreaBoxes, rules: NmsRules) -> Iterator[int]:
    groups = np.zeros_like(every.classes) if rules.agnostic else every.classes
    weighted = every.scores * np.where(every.cut, CUT_WEIGHT, 1)
    waiting = np.argsort(-weighted, kind="stable")
    waiting = waiting[~every.elsewhere[waiting]]
    boxes = every.boxes_xyxy.astype(np.float64)
    for _ in range(rules.max_det):
        if not len(waiting):
            return
        best, waiting = int(waiting[0]), waiting[1:]
        yield best
        shared, union = _compare(boxes[best], boxes[waiting])
        within = every.cut[waiting] & (shared > LEAST_SHARED * _areas(boxes[waiting]))
        same = groups[waiting] == groups[best]
        waiting = waiting[~(same & ((shared > rules.iou * union) | within))]


def _compare(box: AnyArray, others: AnyArray) -> tuple[AnyArray, AnyArray]:
    """The areas [M] that a box shares with others, and covers together with them."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0).prod(axis=1)
    return shared, _areas(others) + _areas(box[np.newaxis]) - shared


def _areas(boxes: AnyArray) -> AnyArray:
    areas: AnyArray = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    return areas


Prepared = NetworkInput | TiledImage
"""An input of the network, or an image that becomes several."""


def can_join(item: Prepared, waiting: Sequence[Prepared], most: int) -> bool:
    """Whether an image fits into a batch: inputs of one size do, an image in tiles stands alone."""
    alone = isinstance(item, TiledImage) or isinstance(waiting[0], TiledImage)
    return not alone and len(waiting) < most and item.pixels.shape == waiting[0].pixels.shape


def split_batches(prepared: Iterable[Prepared], most: int) -> Iterator[list[Any]]:
    """The images in order, in batches of at most so many."""
    batch: list[Prepared] = []
    for item in prepared:
        if batch and not can_join(item, batch, most):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def refuse_tiles(path: str, *, labels: bool, is_recurrent: bool, preprocess: str) -> None:
    """Raise CfgError for a network that does not see images in tiles."""
    reasons = {
        "heads that classify whole images": labels,
        "sections that remember the images before": is_recurrent,
        "--preprocess crop, which leaves a part of each tile out": preprocess == "crop",
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        message = "this network is not run on images in tiles"
        raise CfgError(message, path=path, found=found[0], hint="leave out --tile")
