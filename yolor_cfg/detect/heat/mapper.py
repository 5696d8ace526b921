"""Heat maps of what a detector found."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.heat.gradients import NARROW_DEVICES, Explained, HeadScores, explain
from yolor_cfg.detect.heat.layers import find_layer
from yolor_cfg.detect.heat.maps import HeatMaps, HeatSpot, lay_over_image, make_spot
from yolor_cfg.errors import CfgError
from yolor_cfg.images.preprocess import AnyFloats, NetworkInput, Placement
from yolor_cfg.model import Network

ALL, BEST, EACH = "all", "best", "each"


class HeatChoice(NamedTuple):
    """Of what there are heat maps: `which` is `all` detections in one picture, the `best` one, or `each` in a
    picture of its own; with `head` only those of this head, counted from 0 in the order of the cfg; `layer`
    is the layer whose features are weighed, by default the last that all heads see the image through."""

    which: str = ALL
    head: int | None = None
    layer: int | None = None


class HeatMapper:
    """Makes the heat maps of one network: the gradient of each score weighs the features of a layer. Raises
    CfgError where there are no such maps."""

    def __init__(self, network: Network, choice: HeatChoice) -> None:
        graph = network.graph
        if any(hasattr(layer, "initial_state") for layer in network.module_list):
            hint = "its result depends on the images before"
            raise CfgError("a recurrent network has no heat map of one image", path=graph.path, hint=hint)
        self.choice, self.layer = choice, find_layer(graph, choice.layer)
        heads = [node.index for node in graph.box_heads or graph.label_heads]
        if choice.head is not None and not 0 <= choice.head < len(heads):
            allowed = f"0..{len(heads) - 1}"
            raise CfgError("no such head", path=graph.path, found=str(choice.head), allowed=allowed)
        self._heads = heads if choice.head is None else [heads[choice.head]]
        # A softmax is sure beyond what float32 can tell, and then has no slope there.
        has_float64 = next(network.parameters()).device.type not in NARROW_DEVICES
        is_double = has_float64 and not graph.box_heads
        self.network = copy.deepcopy(network).double() if is_double else network

    def add(self, batch: Sequence[NetworkInput], found: Sequence[Detections]) -> list[Detections]:
        """The detections of these images with their heat maps."""
        pairs = zip(batch, found, strict=True)
        return [replace(one, heat=self.explain(item, one)) for item, one in pairs]

    def explain(self, item: NetworkInput, found: Detections) -> HeatMaps:
        """The heat maps of what was found in one image."""
        weight = next(self.network.parameters())
        pixels = torch.from_numpy(item.pixels).to(weight.device, weight.dtype)
        explained = explain(self.network, pixels, self.layer)
        has_boxes = bool(self.network.graph.box_heads)
        spots = (self._explain_boxes if has_boxes else self._explain_labels)(explained, item.placement, found)
        of = "detections" if has_boxes else "labels"
        return HeatMaps(tuple(spots), of, is_apart=self.choice.which == EACH)

    def _explain_boxes(self, explained: Explained, placement: Placement, found: Detections) -> list[HeatSpot]:
        boxes, classes = np.asarray(found.boxes_xyxy, np.float64), np.asarray(found.classes)
        place = placement if found.angles is None else placement._replace(is_clipped=False)
        corners = [_to_corners(head, place) for head in explained.heads]
        spots = []
        for number, (box, label) in enumerate(zip(boxes, classes.tolist(), strict=True)):
            head, score = _find_score(explained.heads, corners, box, label=label)
            if head not in self._heads:
                continue
            bounds = found[number].bounds_xyxy
            spots.append(self._make_spot(explained, score, placement, number=number, box=bounds))
            if self.choice.which == BEST:
                break
        return spots

    def _explain_labels(
        self, explained: Explained, placement: Placement, found: Detections
    ) -> list[HeatSpot]:
        """Of the best label of each head, or of each that was found."""
        spots: list[HeatSpot] = []
        first = 0
        for head in explained.heads:
            count = head.scores.shape[1]
            own = [
                (number, label.class_id - first)
                for number, label in enumerate(found.labels or ())
                if first <= label.class_id < first + count and head.head in self._heads
            ]
            for number, label in own if self.choice.which == EACH else own[:1]:
                score = head.scores[0, label]
                spots.append(self._make_spot(explained, score, placement, number=number, box=None))
            first += count
        return spots

    def _make_spot(
        self,
        explained: Explained,
        score: Tensor,
        placement: Placement,
        *,
        number: int,
        box: Sequence[float] | None,
    ) -> HeatSpot:
        cells = explained.weigh(score)
        heat = lay_over_image(cells.float().cpu().numpy(), placement)
        return make_spot(number, heat, image_size=placement.image_size, box=box)


def _to_corners(head: HeadScores, placement: Placement) -> AnyFloats:
    """The boxes [B, 4] of a head, xyxy in pixels of the image."""
    assert head.boxes_xywh is not None
    return placement.to_image(head.boxes_xywh.detach().cpu().numpy())


def _find_score(
    heads: Sequence[HeadScores],
    corners: Sequence[AnyFloats],
    box: AnyFloats,
    *,
    label: int,
) -> tuple[int, Tensor]:
    """The head and the score of the box that is nearest to this detection, which another engine may have
    found with other roundings; of equal ones the most likely."""
    found = []
    for head, boxes in zip(heads, corners, strict=True):
        scores = head.scores[:, label]
        far = np.abs(boxes - box).max(axis=1, initial=0.0)
        far = np.where(np.isfinite(far), far, np.inf) - scores.detach().cpu().numpy()
        number = int(far.argmin())
        found.append((float(far[number]), head.head, scores[number]))
    return min(found, key=lambda one: one[0])[1:]
