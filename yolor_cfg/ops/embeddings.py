"""Embeddings of cells: vectors that tell objects apart, shared by the boxes of a cell.

Legend: N images, A anchors, E numbers of a vector, H W cells, B boxes in the order of `decode` (anchors
outermost, then rows, then columns), M of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def embed_all(cells: Tensor, anchors: int) -> Tensor:
    """The vectors of cells [N, E, H, W] -> of each box the unit vector [N, B, E] of its cell."""
    return functional.normalize(cells, dim=1).flatten(2).transpose(1, 2).repeat(1, anchors, 1)


def choose_vectors(cells: Sequence[Tensor], counts: Sequence[int], boxes: Tensor) -> Tensor:
    """The vectors of one image's cells, [E, H, W] for each head with its number of boxes -> the unit vectors
    [M, E] of the boxes of these numbers [M], counted over all heads."""
    found = cells[0].new_zeros(len(boxes), len(cells[0]))
    first = 0
    for vectors, count in zip(cells, counts, strict=True):
        mine = (boxes >= first) & (boxes < first + count)
        flat = vectors.flatten(1)  # [E, H * W]
        found[mine] = functional.normalize(flat[:, (boxes[mine] - first) % flat.shape[1]].T, dim=1)
        first += count
    return found
