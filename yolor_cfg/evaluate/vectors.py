"""The embeddings of the objects of a test: of each that of the predicted box that overlaps it most.

Legend: O objects with an identity, E numbers of a vector, B predicted boxes, T areas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.data.eval_transforms import boxes_to_input
from yolor_cfg.data.types import Floats, Sample
from yolor_cfg.evaluate.embeddings import NO_VECTORS, find_nearest, nearest_boxes
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.tiles import TileArea, TiledImage, are_whole
from yolor_cfg.model import Network, Predictions


def object_vectors(
    network: Network,
    raws: Sequence[Tensor],
    predictions: Predictions,
    *,
    placements: Sequence[Placement],
    samples: Mapping[int, Sample],
) -> Doubles:
    """The image, the identity and the vector of each object that has an identity [O, 2 + E], of images by
    index; none without embeddings."""
    if not network.embeds:
        return NO_VECTORS
    chosen, rows = list[Tensor](), list[Doubles]()
    inputs = zip(samples.items(), placements, predictions.boxes_xywh, strict=True)
    for (image, sample), placement, boxes in inputs:
        truth = _move_to_input(_known_boxes(sample), placement)
        chosen.append(torch.from_numpy(nearest_boxes(truth, boxes.numpy())))
        rows.append(_label_objects(sample, image))
    found = torch.cat(network.embed_boxes(raws, chosen)).double().cpu().numpy()
    return np.column_stack([np.concatenate(rows), found])


class AreaVectors:
    """The vectors of the objects of an image in tiles: of the boxes that are predicted in the areas that hold
    the object whole, or in any area if none does, that which overlaps it most; of several the first."""

    def __init__(self, network: Network, sample: Sample, tiled: TiledImage) -> None:
        self._network, self._sample = network, sample
        size = tiled.placement.image_size
        self._boxes_xywh = _known_boxes(sample) * (size[::-1] * 2)  # [O, 4] in pixels of the image
        centre, half = self._boxes_xywh[:, :2], self._boxes_xywh[:, 2:] / 2
        whole = are_whole(np.column_stack([centre - half, centre + half]), tiled.areas, size)  # [O, T]
        looked_in = whole | ~whole.any(axis=1, keepdims=True)
        self._looked_in = dict(zip(tiled.areas, looked_in.T, strict=True))
        self._overlaps = np.full(len(whole), -1.0)
        self._vectors: Doubles | None = None

    def look_in(
        self, raws: Sequence[Tensor], predictions: Predictions, inputs: Sequence[tuple[TileArea, Placement]]
    ) -> None:
        """Take the vectors of what the network found in some of the areas, each placed in an input."""
        chosen, better = list[Tensor](), list[NDArray[np.int64]]()
        for (area, placement), boxes in zip(inputs, predictions.boxes_xywh, strict=True):
            truth = _move_to_input(self._move_to_area(area), placement)
            numbers, overlaps = find_nearest(truth, boxes.numpy())
            better.append(np.flatnonzero(self._looked_in[area] & (overlaps > self._overlaps)))
            self._overlaps[better[-1]] = overlaps[better[-1]]
            chosen.append(torch.from_numpy(numbers[better[-1]]))
        for rows, found in zip(better, self._network.embed_boxes(raws, chosen), strict=True):
            if self._vectors is None:
                self._vectors = np.zeros((len(self._overlaps), found.shape[1]))
            self._vectors[rows] = found.double().cpu().numpy()

    def _move_to_area(self, area: TileArea) -> Floats:
        """The boxes [O, 4] as fractions of an area."""
        origin, size = (area.left, area.top, 0, 0), (area.right - area.left, area.bottom - area.top) * 2
        return ((self._boxes_xywh - origin) / size).astype(np.float32)

    def rows(self, image: int) -> Doubles:
        """Like `object_vectors`, of the image with this index."""
        if self._vectors is None:
            return NO_VECTORS
        return np.column_stack([_label_objects(self._sample, image), self._vectors])


def _is_known(sample: Sample) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = (sample.identities >= 0) & ~sample.crowd
    return known


def _known_boxes(sample: Sample) -> Floats:
    """The boxes [O, 4] of the objects that have an identity, as fractions of the image."""
    return sample.boxes_xywh[_is_known(sample)]


def _label_objects(sample: Sample, image: int) -> Doubles:
    """The image and the identity of each of these objects [O, 2]."""
    who = sample.identities[_is_known(sample)]
    return np.column_stack([np.full(len(who), image), who]).astype(np.float64)


def _move_to_input(boxes_xywh: Floats, placement: Placement) -> NDArray[Any]:
    """Boxes [O, 4] as fractions of what was placed, in pixels of the input."""
    height, width = placement.input_size
    moved: NDArray[Any] = boxes_to_input(boxes_xywh, placement) * (width, height, width, height)
    return moved
