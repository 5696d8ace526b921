"""A test of a network on images in tiles: what each tile holds, as what the image holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.detect.tiles import AreaBoxes, merge_areas, move_boxes, split_batches
from yolor_cfg.images.preprocess import NetworkInput, Placement
from yolor_cfg.images.tiles import TileArea, TiledImage
from yolor_cfg.images.types import Image
from yolor_cfg.model import Predictions


class FoundInInputs(NamedTuple):
    """What the network gives for some inputs, the raw maps and what they predict; and for each set of NMS
    rules, of each input its boxes [M, 4], scores [M] and classes [M]."""

    raws: Sequence[Tensor]
    predictions: Predictions
    kept: Sequence[Sequence[Sequence[Any]]]


LookIn = Callable[[Sequence[Tensor], Predictions, Sequence[tuple[TileArea, Placement]]], None]
"""Takes the raw maps and the predictions of some areas of an image, each placed in an input."""


class TileFinder(NamedTuple):
    """What finds the objects of tiles: how an input is made of pixels, what is found in a batch of inputs by
    each set of NMS rules, and how many tiles make a batch."""

    fit: Callable[[Image], NetworkInput]
    find: Callable[[Sequence[NetworkInput]], FoundInInputs]
    batch_size: int

    def find_in(
        self, image: TiledImage, kinds: Sequence[NmsRules], look: LookIn | None = None
    ) -> list[AreaBoxes]:
        """The boxes of an image by each set of rules, best first; `find` goes by the same ones. `look`
        takes what it needs of each batch."""
        parts: list[list[AreaBoxes]] = [[] for _ in kinds]
        inputs = (self.fit(image.cut(area)) for area in image.areas)
        areas = iter(image.areas)
        for batch in split_batches(inputs, self.batch_size):
            mine = [next(areas) for _ in batch]
            found = self.find(batch)
            for part, kept in zip(parts, found.kept, strict=True):
                part += [move_boxes(one, area, image) for one, area in zip(kept, mine, strict=True)]
            if look is not None:
                placements = [item.placement for item in batch]
                look(found.raws, found.predictions, list(zip(mine, placements, strict=True)))
        return [merge_areas(part, rules)[0] for part, rules in zip(parts, kinds, strict=True)]
