"""All activations of both dialects, by name. The formulas and constants are C Darknet's (activations.c).

They are also used where C Darknet's CPU path lacks a function and writes zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from yolor_cfg.lang.activations import ACTIVATIONS


def activate(x: Tensor, name: str) -> Tensor:
    """The named activation of x [N, C, ...]; x is not modified (`linear` returns x itself)."""
    return ACTIVATIONS[name].formula(F, x)


def activate_(x: Tensor, name: str) -> Tensor:
    """Like `activate`, for an x that is not read again: it is overwritten if gradients are disabled."""
    in_place = None if torch.is_grad_enabled() else ACTIVATIONS[name].in_place
    return activate(x, name) if in_place is None else in_place(F, x)
