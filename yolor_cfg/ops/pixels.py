"""What [iseg] computes. Legend: N images, K classes, D numbers of an embedding, H W cells, O objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

NEAR, FAR = 0.1, 0.01  # iseg_layer.c: the pull towards 0 and means, and what all of it is multiplied by


class PixelObject(NamedTuple):
    """An object of one image: its class and its cells [H, W] bool."""

    class_id: int
    cells: Tensor


class PixelHead(nn.Module):
    """[iseg]: `classes` maps of probabilities, then the numbers that tell one object from another."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """x [N, K + D, H, W] -> the same size, the classes through the sigmoid."""
        return torch.cat([x[:, : self.classes].sigmoid(), x[:, self.classes :]], dim=1)

    def deltas(self, x: Tensor, objects: Sequence[Sequence[PixelObject]]) -> Tensor:
        """What C adds to the gradient of x [N, K + D, H, W], with minus before it, for the objects of each
        image: the step up that the program takes."""
        output = self(x.detach())
        return torch.stack([self._image_deltas(one, its) for one, its in zip(output, objects, strict=True)])

    def _image_deltas(self, output: Tensor, objects: Sequence[PixelObject]) -> Tensor:
        scores, embedding = output[: self.classes], output[self.classes :]
        wanted = torch.zeros_like(scores)
        for one in objects:
            wanted[one.class_id, one.cells] = 1
        pull = -NEAR * embedding + self._embedding_pulls(embedding, [one.cells for one in objects])
        return torch.cat([wanted - scores, FAR * pull])

    @staticmethod
    def _embedding_pulls(embedding: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """The pull of each cell of an object to the mean of its own and away from those of others."""
        total = torch.zeros_like(embedding)
        filled = [mask for mask in masks if mask.any()]
        means = [embedding[:, mask].mean(1) for mask in filled]
        for here, mask in enumerate(filled):
            for there, mean in enumerate(means):
                signs = torch.where(mean[:, None] - embedding[:, mask] < 0, -NEAR, NEAR)
                total[:, mask] += signs if here == there else -signs
        return total
