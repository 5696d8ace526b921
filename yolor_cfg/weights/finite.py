"""Detects weights that are not finite: NaN or infinity, left by training that diverged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from yolor_cfg.graph import Graph

NON_FINITE = "NaN or infinity"
"""How the note begins."""


def non_finite_notes(graph: Graph, tensors: Iterable[tuple[int, Tensor]]) -> Iterator[str]:
    """A note if any layers, given by number, have NaN or infinity in their weights: such a network finds
    nothing."""
    listed = list(tensors)
    # A sum is finite unless one of its terms is not, or they are very large.
    if not listed or bool(torch.stack([tensor.float().sum() for _, tensor in listed]).isfinite().all()):
        return
    odd = list(dict.fromkeys(index for index, tensor in listed if not tensor.isfinite().all()))
    for index in odd[:1]:
        node = graph.nodes[index]
        others = len(odd) - 1
        more = f" and of {others} other layer{'s' if others > 1 else ''}" if others else ""
        yield (
            f"{NON_FINITE} in the weights of [{node.section.raw.name} #{index}] (line {node.line} of "
            f"{graph.path}){more}: training diverged, the file is damaged, or this is the wrong cfg"
        )


def find_alarms(notes: Iterable[str]) -> list[str]:
    """Those of the notes that tell of such weights."""
    return [note for note in notes if note.startswith(NON_FINITE)]
