"""The values of a layer, and the gradients of scores with respect to them.

C channels, H W cells, B boxes, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.model import BoxHead, LabelHead, Network

NARROW_DEVICES = ("mps",)
"""They have no float64."""


class HeadScores(NamedTuple):
    """What a head predicts for one image: its index, boxes_xywh [B, 4] in input pixels (None: it classifies
    the image), and scores [B, K], or [1, K] of a classifier."""

    head: int
    boxes_xywh: Tensor | None
    scores: Tensor


class Explained(NamedTuple):
    """One image through the network: the value [C, H, W] of a layer, and what the heads predict, which
    depends on it by gradients."""

    value: Tensor
    heads: tuple[HeadScores, ...]

    def weigh(self, score: Tensor) -> Tensor:
        """The map [H, W] of a score, 0 and above: the layer's values by their gradients, summed over the
        channels, without what speaks against it (HiResCAM: Draelos and Carin, arXiv 2011.08891). Where the
        mean over all cells follows, as in most classifiers, that is Grad-CAM. Grad-CAM's mean gradient would
        not tell one object from another of its kind."""
        return (self.gradient(score) * self.value.detach()).sum(0).relu()

    def gradient(self, score: Tensor) -> Tensor:
        """The gradient [C, H, W] of a score; zeros where it does not depend on the layer."""
        if not score.requires_grad:  # nothing of its head is behind the layer
            return torch.zeros_like(self.value)
        (found,) = torch.autograd.grad(score, self.value, retain_graph=True, allow_unused=True)
        return torch.zeros_like(self.value) if found is None else found


def explain(network: Network, pixels: Tensor, layer: int) -> Explained:
    """Run the network on one image [C, H, W], keeping gradients from this layer on. Scores are computed in
    float64, where a probability near 1 still has a slope."""
    values: list[Tensor] = []

    def start_gradients(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        values.append(output[0].detach().requires_grad_())
        return values[0][None]

    handle = network.module_list[layer].register_forward_hook(start_gradients)
    try:
        with torch.enable_grad(), _freeze_parameters(network):
            batch = pixels[None]
            raws, _ = network.step(batch, network.states(batch))
            return Explained(values[0], tuple(_score(network, raws)))
    finally:
        handle.remove()


@contextmanager
def _freeze_parameters(network: Network) -> Iterator[None]:
    """No gradients for the parameters: what is before the layer is then computed without any."""
    learned = [one for one in network.parameters() if one.requires_grad]
    try:
        for one in learned:
            one.requires_grad_(False)
        yield
    finally:
        for one in learned:
            one.requires_grad_(True)


def _score(network: Network, raws: Sequence[Tensor]) -> Iterator[HeadScores]:
    """The heads' predictions, those of boxes alone where there are any."""
    has_boxes = bool(network.graph.box_heads)
    for node, raw in zip(network.graph.heads, raws, strict=True):
        head = network.module_list[node.index]
        if not has_boxes and isinstance(head, LabelHead):
            yield HeadScores(node.index, None, head.label_scores(_widen(raw)))
        elif has_boxes and not node.section.label_kind:
            assert isinstance(head, BoxHead)
            boxes, objectness, scores = (part[0] for part in head.decode(_widen(raw)))
            yield HeadScores(node.index, boxes, objectness[:, None] * scores)


def _widen(value: Tensor) -> Tensor:
    """The value in float64, if the device has it."""
    return value if value.device.type in NARROW_DEVICES else value.double()
