"""Binary convolution (`xnor`), as C Darknet computes it with bits; differentiable for training.

N images, C channels, H W cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.geometry import ConvGeometry


def signs(x: Tensor) -> Tensor:
    """1 where x > 0, else -1; straight-through gradient between -1 and 1, 0 outside."""
    bounded = x.clamp(-1, 1)
    return torch.where(x > 0, 1.0, -1.0).to(x.dtype) + (bounded - bounded.detach())


def binary_weight(weight: Tensor) -> Tensor:
    """Signs of kernels [filters, C, k, k] times the mean magnitude per filter; straight-through gradient."""
    scale = weight.abs().mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(weight > 0, scale, -scale).detach() + (weight - weight.detach())


def binary_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, *, geometry: ConvGeometry) -> Tensor:
    """The convolution of the signs of x [N, C, H, W] with `binary_weight(weight)`.

    A bit is never 0, so the padding counts as -1.
    """
    padded = F.pad(signs(x), [geometry.padding] * 4, value=-1.0)
    return F.conv2d(padded, binary_weight(weight), bias, *geometry._replace(padding=0))


class BinaryConv2d(nn.Conv2d):
    """A convolution that stores real kernels and computes with their signs.

    Scaling a filter scales its output, so a batch norm after it can be folded into it exactly.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        return binary_conv2d(x, self.weight, self.bias, geometry=self._geometry)

    @property
    def _geometry(self) -> ConvGeometry:
        (down, across), padding, dilation = self.stride, self.padding[0], self.dilation[0]
        assert isinstance(padding, int), padding
        return ConvGeometry((down, across), padding, dilation, self.groups)
