"""YOLOR's target assignment: which anchors in which cells learn which object.

Legend: A anchors, T targets, M matches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEAR = 0.5  # an object is also learned in a neighbouring cell that its centre is closer to than this
# Subtracted from the centre: the object's own cell, then its neighbours left, above, right and below.
STEPS = ((0.0, 0.0), (NEAR, 0.0), (0.0, NEAR), (-NEAR, 0.0), (0.0, -NEAR))


class Matches(NamedTuple):
    """Pairs of a prediction and the object it learns, all [M]: `image`, `anchor`, `row`, `column` index the
    prediction; `classes` and `boxes` [M, 4] (centre relative to that cell, size; in cells) are those of its
    target, which has the number `target`.

    They are ordered by step, then by anchor, then by target.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    classes: Tensor
    boxes: Tensor
    target: Tensor

    @property
    def indices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Indices into a raw map [N, A, H, W, V]."""
        return self.image, self.anchor, self.row, self.column

    def flat_index(self, shape: torch.Size) -> Tensor:
        """The same as one index into the flattened map [N, A, H, W]."""
        _, anchors, height, width = shape[:4]
        return ((self.image * anchors + self.anchor) * height + self.row) * width + self.column


def match_targets(
    targets: Tensor, anchors: Tensor, shape: tuple[int, int], *, ratio: float, has_neighbours: bool = True
) -> Matches:
    """The matches of one head: targets [T, 6], anchors [A, 2] in cells, shape (H, W) of its map.

    An anchor fits an object if width and height each differ by less than the factor `ratio`; it is then also
    matched in up to two neighbouring cells, the ones closest to the centre, if they can predict it. An object
    may match several anchors, and several objects may match one cell.
    """
    height, width = shape
    boxes = targets[:, 2:] * targets.new_tensor([width, height, width, height])  # [T, 4] in cells
    ratios = boxes[None, :, 2:] / anchors[:, None]  # [A, T, 2]
    fits = torch.maximum(ratios, 1 / ratios).amax(-1) < ratio
    anchor, target = fits.nonzero(as_tuple=True)
    centre = boxes[target, :2]
    low = (centre % 1 < NEAR) & (centre > 1) & has_neighbours
    high = (centre % 1 > 1 - NEAR) & (centre < targets.new_tensor([width - 1, height - 1])) & has_neighbours
    taken = torch.cat([torch.ones_like(low[:, :1]), low, high], dim=1).T  # [5, fits]
    step, fit = taken.nonzero(as_tuple=True)
    cell = (centre[fit] - targets.new_tensor(STEPS)[step]).long()
    cell = torch.minimum(cell.clamp(min=0), cell.new_tensor([width - 1, height - 1]))
    target = target[fit]
    image, classes = targets[target, :2].long().unbind(1)
    relative = torch.cat([centre[fit] - cell, boxes[target, 2:]], dim=1)
    return Matches(image, anchor[fit], cell[:, 1], cell[:, 0], classes, relative, target)
