"""All activations of both dialects, by name. The formulas and constants are C Darknet's (activations.c).

They are also used where C Darknet's CPU path lacks a function and writes zeros.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-4  # keeps the sums of normalize_channels from being 0


def activate(x: Tensor, name: str) -> Tensor:
    """The named activation of x [N, C, ...]; x is not modified (`linear` returns x itself)."""
    return FUNCTIONS[name](x)


def activate_(x: Tensor, name: str) -> Tensor:
    """Like `activate`, for an x that is not read again: it is overwritten if gradients are disabled."""
    if torch.is_grad_enabled():
        return FUNCTIONS[name](x)
    return IN_PLACE.get(name, FUNCTIONS[name])(x)


def linear(x: Tensor) -> Tensor:
    """x itself."""
    return x


def leaky(x: Tensor) -> Tensor:
    """Slope 0.1 below zero."""
    return F.leaky_relu(x, 0.1)


def relie(x: Tensor) -> Tensor:
    """Slope 0.01 below zero."""
    return F.leaky_relu(x, 0.01)


def ramp(x: Tensor) -> Tensor:
    """relu(x) + x / 10."""
    return F.relu(x) + 0.1 * x


def selu(x: Tensor) -> Tensor:
    """1.0507 x above zero, 1.0507 * 1.6732 (e^x - 1) below."""
    return 1.0507 * F.elu(x, alpha=1.6732)


def gelu(x: Tensor) -> Tensor:
    """The tanh form with Darknet's six-digit constants."""
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x**3))


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    # Darknet uses x for softplus(x) above 20 and e^x below -20, which is equal to float32 precision.
    return F.mish(x)


def hard_mish(x: Tensor) -> Tensor:
    """x above zero, x + x^2 / 2 down to -2, then 0."""
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, 0))


def loggy(x: Tensor) -> Tensor:
    """2 sigmoid(x) - 1."""
    return 2 * torch.sigmoid(x) - 1


def plse(x: Tensor) -> Tensor:
    """Slope 1/8 through (0, 1/2) between -4 and 4, slope 0.01 outside."""
    inside = 0.125 * x + 0.5
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, inside))


def hardtan(x: Tensor) -> Tensor:
    """x between -1 and 1, the bounds outside."""
    return x.clamp(-1, 1)


def lhtan(x: Tensor) -> Tensor:
    """x between 0 and 1, slope 0.001 outside."""
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def stair(x: Tensor) -> Tensor:
    """floor(x / 2), plus the fraction of x where floor(x) is odd: a stair with ramps between its steps."""
    floor = x.floor()
    half = (x / 2).floor()
    return torch.where(torch.remainder(floor, 2) == 0, half, x - floor + half)


def normalize_channels(x: Tensor) -> Tensor:
    """relu(x) divided by its sum over the channels of the cell."""
    return _normalize(F.relu(x))


def normalize_channels_softmax(x: Tensor) -> Tensor:
    """e^x divided by its sum over the channels of the cell; large x overflow, as in Darknet."""
    return _normalize(x.exp())


def normalize_channels_softmax_maxval(x: Tensor) -> Tensor:
    """Like normalize_channels_softmax, with the maximum over the channels subtracted first."""
    return _normalize((x - x.amax(1, keepdim=True)).exp())


def _normalize(x: Tensor) -> Tensor:
    return x / (EPS + x.sum(1, keepdim=True))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": linear,
    "logistic": torch.sigmoid,
    "loggy": loggy,
    "tanh": torch.tanh,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky": leaky,
    "revleaky": leaky,  # differs from leaky only in Darknet's backward pass
    "relie": relie,
    "ramp": ramp,
    "elu": F.elu,
    "selu": selu,
    "gelu": gelu,
    "swish": F.silu,
    "silu": F.silu,
    "mish": mish,
    "hard_mish": hard_mish,
    "plse": plse,
    "hardtan": hardtan,
    "lhtan": lhtan,
    "stair": stair,
    "normalize_channels": normalize_channels,
    "normalize_channels_softmax": normalize_channels_softmax,
    "normalize_channels_softmax_maxval": normalize_channels_softmax_maxval,
}

# In-place versions of the common ones: they save one copy of the largest map of a network.
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": torch.sigmoid_,
    "tanh": torch.tanh_,
    "relu": torch.relu_,
    "relu6": lambda x: F.hardtanh_(x, 0, 6),
    "leaky": lambda x: F.leaky_relu_(x, 0.1),
    "revleaky": lambda x: F.leaky_relu_(x, 0.1),
    "relie": lambda x: F.leaky_relu_(x, 0.01),
    "swish": lambda x: F.silu(x, inplace=True),
    "silu": lambda x: F.silu(x, inplace=True),
    "mish": lambda x: F.mish(x, inplace=True),
    "hardtan": lambda x: x.clamp_(-1, 1),
}
