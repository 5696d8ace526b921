"""Modules of convolution, batch norm and activation. Children bear the names of the official YOLOR checkpoints.

N images, C channels, H W cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate


def normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch norm of x [N, C, H, W]. Where nothing is learned x itself is overwritten, which halves the peak memory."""
    if norm.training or torch.is_grad_enabled():
        return norm(x)  # type: ignore[no-any-return]
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    return x.mul_(scale[:, None, None]).add_(shift[:, None, None])


class ConvBlock(nn.Module):
    """Convolution, batch norm (or bias) and activation; children Conv2d and BatchNorm2d."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: str) -> None:
        super().__init__()
        self.Conv2d = conv
        if norm is not None:
            self.BatchNorm2d = norm
        self.has_norm = norm is not None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        x = self.Conv2d(x)
        if self.has_norm:
            x = normalised(x, self.BatchNorm2d)
        return activate(x, self.activation)
