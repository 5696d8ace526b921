"""Batch norms: torch's own, and the one of the first Darknet, whose epsilon is added to the deviation.

N images, C channels, H W cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.ops.pnnx import is_for_pnnx


class NormRules(NamedTuple):
    """How a program computes its batch norms: the epsilon, where it is added, and what share of a new batch
    the running statistics take."""

    eps: float
    is_outside_root: bool = False
    momentum: float = 0.1


class _OuterBatchNorm(nn.modules.batchnorm._BatchNorm):
    """(x - mean) / (deviation + eps) * weight + bias, with the variance over one value less in training too:
    mean_cpu, variance_cpu and normalize_cpu in pjreddie/darknet's blas.c."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C] or [N, C, H, W] -> the same size and dtype."""
        assert self.running_mean is not None and self.running_var is not None
        if not self.training:
            return _normalize(x, self, mean=self.running_mean, variance=self.running_var)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean = x.mean(axes)
        variance = x.var(axes, unbiased=x.numel() > x.shape[1])
        with torch.no_grad():
            assert self.momentum is not None and self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(variance.detach().to(self.running_var.dtype), self.momentum)
        return _normalize(x, self, mean=mean, variance=variance)


class OuterBatchNorm1d(_OuterBatchNorm, nn.BatchNorm1d):
    """Of vectors [N, C]."""


class OuterBatchNorm2d(_OuterBatchNorm, nn.BatchNorm2d):
    """Of maps [N, C, H, W]."""


def _normalize(x: Tensor, norm: nn.modules.batchnorm._BatchNorm, *, mean: Tensor, variance: Tensor) -> Tensor:
    shape = [1, -1, *[1] * (x.ndim - 2)]
    scale = norm_scale(norm, variance)
    return ((x - mean.reshape(shape)) * scale.reshape(shape) + norm.bias.reshape(shape)).to(x.dtype)


def norm_scale(norm: nn.modules.batchnorm._BatchNorm, variance: Tensor) -> Tensor:
    """The factor [C] of a batch norm on its centred input, for these variances [C]."""
    if isinstance(norm, _OuterBatchNorm):
        return norm.weight / (variance.sqrt() + norm.eps)
    return norm.weight * torch.rsqrt(variance + norm.eps)


def is_outside_root(norm: nn.Module) -> bool:
    """True if the epsilon is added to the deviation instead of the variance."""
    return isinstance(norm, _OuterBatchNorm)


def variance_for(norm: nn.modules.batchnorm._BatchNorm, variance: Tensor, eps: float) -> Tensor:
    """The variances [C] that give the same factors with this epsilon inside the root."""
    inner = (variance.sqrt() + norm.eps).square() if is_outside_root(norm) else variance + norm.eps
    return inner - eps


def fresh_batch_norm(channels: int, rules: NormRules) -> nn.BatchNorm2d:
    """A new batch norm of maps."""
    kind = OuterBatchNorm2d if rules.is_outside_root else nn.BatchNorm2d
    return kind(channels, eps=rules.eps, momentum=rules.momentum)


def fresh_vector_norm(channels: int, rules: NormRules) -> nn.BatchNorm1d:
    """A new batch norm of vectors."""
    kind = OuterBatchNorm1d if rules.is_outside_root else nn.BatchNorm1d
    return kind(channels, eps=rules.eps, momentum=rules.momentum)


def drop_bias(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """The batch norm with zeros for its biases, which are neither learnt nor part of its state."""
    zeros = torch.zeros_like(norm.bias.detach())
    del norm.bias
    norm.register_buffer("bias", zeros, persistent=False)
    return norm


def has_bias(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    """False after `drop_bias`."""
    return "bias" not in norm._buffers


def restore_bias(norm: nn.modules.batchnorm._BatchNorm) -> None:
    """Undo `drop_bias`: the biases become part of the state."""
    if not has_bias(norm):
        zeros = norm.bias.detach().clone()
        del norm.bias
        norm.bias = nn.Parameter(zeros)


class UnitLength(nn.Module):
    """Each cell's vector divided by its length; the gradient passes as if it were not."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size; 0 / 0 is NaN, as in l2norm_layer.c of pjreddie/darknet."""
        unit = x / x.square().sum(1, keepdim=True).sqrt()
        if not self.training:
            return unit
        return x + (unit - x).detach()


def apply_batch_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch norm of x [N, C, H, W]; overwrites x if gradients are disabled, which halves the peak memory."""
    if norm.training or torch.is_grad_enabled():
        out: Tensor = norm(x)
        return out
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm_scale(norm, norm.running_var)
    shift = norm.bias - norm.running_mean * scale
    if x.dtype != scale.dtype or is_for_pnnx():  # it knows no addcmul
        return x.mul_(scale[:, None, None]).add_(shift[:, None, None])
    return torch.addcmul(shift[:, None, None], x, scale[:, None, None], out=x)  # one pass, rounded once
