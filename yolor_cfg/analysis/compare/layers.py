"""The layers of a network one by one, and how far their values are from others.

N images, C channels, H W cells, B boxes, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.graph import IMAGE_INDEX, Graph, Node
from yolor_cfg.model import BoxHead, Network, darknet_output

FARTHEST = 10.0
"""Centres and sizes of boxes are compared up to so many times the input: random weights give larger ones."""
PIECE = 2**17
"""Values are measured so many numbers at a time: what is computed from them stays in the cache."""
HEAD_FORMS = ("boxes", "darknet")
"""How the value of a head is compared: its boxes and scores, or what C Darknet stores."""

Tail = Sequence[tuple[Node, Sequence[Tensor]]]
"""Layers, each of which reads the one before, and their inputs."""


class ValueDifference(NamedTuple):
    """How far values are from ours: the largest difference as a part of our largest value, and the mean
    difference as a part of our mean value; infinite for another shape, and where only one is finite."""

    largest: float
    mean: float


INCOMPARABLE = ValueDifference(math.inf, math.inf)


def measure(ours: Tensor, theirs: Tensor) -> ValueDifference:
    """How far `theirs` is from `ours`; values that are infinite on both sides count as equal."""
    if ours.shape != theirs.shape:
        return INCOMPARABLE
    if not ours.numel():
        return ValueDifference(0, 0)
    pieces = zip(split_value(ours.detach()), split_value(theirs.detach(), ours), strict=True)
    found = [_measure_piece(*pair) for pair in pieces]
    sums = [one for one in found if one is not None]
    if len(sums) < len(found):
        return INCOMPARABLE
    apart, size, apart_sum, size_sum = zip(*sums, strict=True)
    return ValueDifference(
        max(apart) / (max(size) or 1.0), math.fsum(apart_sum) / (math.fsum(size_sum) or ours.numel())
    )


def split_value(value: Tensor, like: Tensor | None = None) -> tuple[Tensor, ...]:
    """The numbers of a value, PIECE at a time, in the order in which it or another value of its shape lies in
    memory."""
    like = value if like is None else like
    if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
        value = value.movedim(1, -1)
    pieces: tuple[Tensor, ...] = value.flatten().split(PIECE)
    return pieces


def _measure_piece(ours: Tensor, theirs: Tensor) -> tuple[float, ...] | None:
    """The largest difference and the largest value, and the sums of both; None where only one is finite."""
    apart, size = (theirs - ours).abs_(), ours.abs()
    if not math.isfinite(float(apart.max())):
        finite = ours.isfinite()
        if not torch.equal(finite, theirs.isfinite()):
            return None
        apart, size = apart.where(finite, 0), size.where(finite, 0)
    sums = [float(one.sum(dtype=torch.float64)) for one in (apart, size)]
    return float(apart.max()), float(size.max()), *sums


class LayerRun:
    """A network in evaluation mode whose layers are computed one at a time, from any inputs."""

    def __init__(self, network: Network, images: Tensor, head_form: str = "boxes") -> None:
        """`images` [N, C, H, W] is the input of the whole network; recurrent layers start from zero."""
        assert head_form in HEAD_FORMS
        self.network, self.images, self.head_form = network.eval(), images, head_form
        self.graph: Graph = network.graph
        network.reset()
        self._states = network.states(images)

    def values(self) -> dict[int, Tensor]:
        """The value of each node as it is compared."""
        nodes = self.graph.nodes
        with torch.inference_mode():
            found, _ = self.network.step(self.images, self._states, layers=range(len(nodes)))
            return {
                node.index: self.compared_value(node, value) for node, value in zip(nodes, found, strict=True)
            }

    def compute(self, node: Node, inputs: Sequence[Tensor], layer: nn.Module | None = None) -> Tensor:
        """The value of a node as it is compared, from these inputs; of another layer in its place."""
        layer = self.network.module_list[node.index] if layer is None else layer
        given = [one.clone() for one in inputs]  # some layers overwrite them
        with torch.inference_mode():
            if self.keeps_state(node):
                return self.compared_value(node, layer(*given, self._states[node.index])[0], layer)
            return self.compared_value(node, layer(*given), layer)

    def compared_value(self, node: Node, value: Tensor, layer: nn.Module | None = None) -> Tensor:
        """The value of a node in the form in which it is compared."""
        layer = self.network.module_list[node.index] if layer is None else layer
        if self.head_form == "darknet":
            return darknet_output(layer, value)
        if not (node.section.is_head and isinstance(layer, BoxHead)):
            return value
        boxes, objectness, scores = layer.decode(value)
        return join_boxes(boxes, objectness, scores, size=self.images.shape[2:])

    def can_compute(self, node: Node) -> bool:
        """Whether the layer reads other layers as they are compared, not a head."""
        return not any(source >= 0 and self.graph.nodes[source].section.is_head for source in node.sources)

    def keeps_state(self, node: Node) -> bool:
        """Whether the layer is recurrent."""
        return node.index in self._states

    def inputs(self, node: Node, values: Mapping[int, Tensor]) -> list[Tensor]:
        """What the layer reads, of these values of all layers."""
        return [self.images if source == IMAGE_INDEX else values[source] for source in node.sources]


def join_boxes(boxes_xywh: Tensor, objectness: Tensor, scores: Tensor, *, size: Sequence[int]) -> Tensor:
    """Boxes [N, B, 4] in pixels of an input of that height and width, objectness [N, B] and scores [N, B, K]
    as one value [N, B, 5 + K], boxes as parts of the input."""
    height, width = size
    parts = boxes_xywh / boxes_xywh.new_tensor([width, height, width, height])
    return torch.cat([parts.clamp(-FARTHEST, FARTHEST), objectness[..., None], scores], dim=-1)
