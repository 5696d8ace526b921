"""A locally connected layer, and C Darknet's local response normalisation.

N images, C channels, H W cells; K elements of a kernel, L positions of the output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate_


class LocallyConnected(nn.Module):
    """Convolution with kernels per position: weight [L, filters, C, k, k], bias [filters, h, w]."""

    def __init__(
        self, weight: tuple[int, ...], bias: tuple[int, ...], activation: str, *, stride: int, padding: int
    ) -> None:
        super().__init__()
        bound = (weight[2] * weight[3] * weight[4]) ** -0.5
        self.weight = nn.Parameter(torch.empty(weight).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(bias))
        self.activation = activation
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, h, w]."""
        size = self.weight.shape[-1]
        patches = F.unfold(x, size, padding=self.padding, stride=self.stride)  # [N, K, L]
        products = torch.bmm(self.weight.flatten(2), patches.permute(2, 1, 0))  # [L, filters, N]
        outputs = products.permute(2, 1, 0).reshape(x.shape[0], *self.bias.shape)
        return activate_(outputs + self.bias, self.activation)


class DarknetLrn(nn.Module):
    """Each channel divided by a power of the sum of neighbouring squares, as C Darknet sums them: the square
    of channel size/2 is never added to the running sum, but is subtracted in turn, so every sum lacks it."""

    def __init__(self, size: int, *, alpha: float, beta: float, kappa: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.kappa = size, alpha, beta, kappa

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size."""
        squares = x * x
        after = self.size // 2
        padded = F.pad(squares, (0, 0, 0, 0, (self.size - 1) // 2, after))
        sums = padded.unfold(1, self.size, 1).sum(-1)  # [N, C, H, W]
        if after < x.shape[1]:
            sums = sums - squares[:, after : after + 1]
        return x * (self.kappa + self.alpha * sums).pow(-self.beta)
