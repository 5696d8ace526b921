"""Operators that pnnx converts for ncnn, which neither compares values nor takes them as indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
import torch
from torch import Tensor

is_for_pnnx: Callable[[], bool] = vars(torch.jit)["is_tracing"]
"""Whether torch.jit traces, as for ncnn alone."""
STEEP = 2.0**100
"""Twice this makes more than 1 of every positive number, also of the smallest."""


def step_above(x: Tensor, limit: float) -> Tensor:
    """1 where x is above the limit, else 0, of the size of x."""
    return ((x - limit) * STEEP * STEEP).clamp(0, 1)


def keep_from(x: Tensor, least: float) -> Tensor:
    """x where it is at least `least`, else 0."""
    if least == -inf:
        return x
    if not is_for_pnnx():
        return torch.where(x < least, 0, x)
    below = np.nextafter(np.float32(least), np.float32(-inf))
    return x * step_above(x, float(below))


def positive_or_exp(x: Tensor) -> Tensor:
    """x where it is positive, else exp(x)."""
    if not is_for_pnnx():
        return torch.where(x > 0, x, x.exp())
    return x.clamp(min=0) + x.clamp(max=0).exp() * (1 - step_above(x, 0))


def take_indices(x: Tensor, numbers: Sequence[int], axis: int) -> Tensor:
    """The entries with these numbers along an axis, in their order."""
    if not is_for_pnnx():
        return x.index_select(axis, torch.tensor(numbers, device=x.device))
    return torch.cat([x[(slice(None),) * axis + (slice(one, one + 1),)] for one in numbers], dim=axis)
