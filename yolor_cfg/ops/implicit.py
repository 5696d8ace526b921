"""Implicit knowledge: values that are learned and the same for every image; and a map combined with a vector.

Legend: N images, C channels, A atoms, H W cells. N = 1 stands for every image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolor_cfg.ops.combining import concatenated

Combine = Callable[[Tensor, Tensor], Tensor]


class Implicit(nn.Module):
    """A learned tensor `implicit` [1, C, H, W] for all images."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.implicit = nn.Parameter(start)

    def forward(self) -> Tensor:
        """A copy of the tensor [1, C, H, W]: whoever gets it cannot change what was learned."""
        return self.implicit.clone()


class ImplicitOfEach(Implicit):
    """The same, spread over the images of a batch."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """images [N, ...], of which only N counts -> copies [N, C, H, W]."""
        return self.implicit.repeat(images.shape[0], 1, 1, 1)


def normal(shape: tuple[int, ...], mean: float, std: float) -> Tensor:
    """Normally distributed numbers."""
    return torch.empty(shape).normal_(mean, std)


def uniform(shape: tuple[int, ...], mean: float, width: float) -> Tensor:
    """Numbers evenly from mean - width to mean + width."""
    return torch.empty(shape).uniform_(mean - width, mean + width)


def shift(x: Tensor, z: Tensor) -> Tensor:
    """x [N, C, H, W] + z [N, C, 1 or H, 1 or W]."""
    return x + z


def control(x: Tensor, z: Tensor) -> Tensor:
    """x [N, C, H, W] times z [N, C, 1 or H, 1 or W]."""
    return x * z


def select(x: Tensor, z: Tensor) -> Tensor:
    """x [N, C, H, W] times the sigmoid of z [N, C, 1 or H, 1 or W]."""
    return x * z.sigmoid()


def alternate(x: Tensor, z: Tensor) -> Tensor:
    """z [N, D, 1 or H, 1 or W] spread over the map, then x [N, C, H, W]: [N, D + C, H, W]."""
    return concatenated([z.expand(-1, -1, *x.shape[2:]), x])


class WithVector(nn.Module):
    """A map combined with a vector by one of the functions above; `flat` takes any z as a vector first."""

    def __init__(self, combine: Combine, flat: bool) -> None:
        super().__init__()
        self.combine, self.flat = combine, flat

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x [N, C, H, W], z [N, D, 1 or H, 1 or W] (flat: D numbers) -> [N, C or D + C, H, W]."""
        z = z.reshape(z.shape[0], -1, 1, 1) if self.flat else z
        return self.combine(x, z)
