"""What [grl] does. Legend: N images, C channels, H W cells."""

from __future__ import annotations

from torch import Tensor, nn


class GradientReversal(nn.Module):
    """x [N, C, H, W] -> itself; its gradient is multiplied by minus `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same."""
        if not (self.training and x.requires_grad):
            return x
        same = x.clone()
        same.register_hook(lambda gradient: -self.factor * gradient)
        return same
