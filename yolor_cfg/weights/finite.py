"""Weights that are not finite: NaN or infinity, left behind by a training that failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from yolor_cfg.graph import Graph
from yolor_cfg.weights.layout import (
    TensorSlot,
)


def non_finite_notes(graph: Graph, tensors: Iterable[tuple[TensorSlot, Tensor]]) -> Iterator[str]:
    """The note about layers with NaN or infinity among their weights; nothing when there are none.

    Only vectors (biases, scales, statistics) are looked at: training that fails spoils them too, and going
    through every kernel would take as long as reading it.
    """
    vectors = [(place, tensor) for place, tensor in tensors if place.spec.size == max(place.spec.shape)]
    # A sum is finite unless a number is not, or they are very large.
    if not vectors or bool(torch.stack([tensor.float().sum() for _, tensor in vectors]).isfinite().all()):
        return
    odd = {place.index: None for place, tensor in vectors if not tensor.isfinite().all()}
    for index in list(odd)[:1]:
        node = graph.nodes[index]
        place = f"[{node.section.raw.name} #{index}] (line {node.line} of {graph.path})"
        yield (
            f"NaN or infinity in the weights of {len(odd)} layers, the first {place}: "
            "the training that wrote them had failed, or the cfg is another"
        )
