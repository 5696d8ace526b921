"""Apply an activation by name; the table of them is lang.activations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yolor_cfg.lang.activations import ACTIVATIONS


def activate(x: Tensor, name: str) -> Tensor:
    """The activation of that name of x [N, C, ...]; x is left as it is (`linear` returns x itself)."""
    return ACTIVATIONS[name].formula(F, x)


def activate_(x: Tensor, name: str) -> Tensor:
    """As `activate`, for an x that nobody reads again: it is overwritten where no gradient is wanted."""
    in_place = None if torch.is_grad_enabled() else ACTIVATIONS[name].in_place
    return activate(x, name) if in_place is None else in_place(F, x)
