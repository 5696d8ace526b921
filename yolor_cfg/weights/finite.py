"""Detects weights that are not finite: NaN or infinity, left by training that diverged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from yolor_cfg.errors import count_of
from yolor_cfg.graph import Graph
from yolor_cfg.weights.layout import (
    TensorSlot,
)


def non_finite_notes(graph: Graph, tensors: Iterable[tuple[TensorSlot, Tensor]]) -> Iterator[str]:
    """A note if any layers have NaN or infinity in their weights.

    Only vectors (biases, scales, statistics) are checked: diverging training corrupts them too, and checking
    every kernel would take as long as reading it.
    """
    vectors = [(slot, tensor) for slot, tensor in tensors if slot.spec.size == max(slot.spec.shape)]
    # A sum is finite unless one of its terms is not, or they are very large.
    if not vectors or bool(torch.stack([tensor.float().sum() for _, tensor in vectors]).isfinite().all()):
        return
    odd = {slot.index: None for slot, tensor in vectors if not tensor.isfinite().all()}
    for index in list(odd)[:1]:
        node = graph.nodes[index]
        layer = f"[{node.section.raw.name} #{index}] (line {node.line} of {graph.path})"
        yield (
            f"NaN or infinity in the weights of {count_of(len(odd), 'layer')}, the first {layer}: "
            "training diverged, or this is the wrong cfg"
        )
