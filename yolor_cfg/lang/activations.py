"""The activation functions: their names, dialects and formulas. To add one, add an entry to the table.

The formulas and constants are those of C Darknet (activations.c). They apply everywhere, even where C
Darknet's CPU code lacks a function and writes zeros. Nothing here imports torch: a formula receives
torch.nn.functional as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-4  # keeps the sums in normalize_channels from being 0

Formula = Callable[[Any, "Tensor"], "Tensor"]
"""Takes torch.nn.functional and x [N, C, ...]; returns a tensor of the same shape."""


class Activation(NamedTuple):
    """`formula` leaves x unchanged; `in_place` computes the same but overwrites x, which saves a copy of the
    largest feature map. `dialects` are those that have it, if not all;
    `darknet_name` is Darknet's name for it, where that differs."""

    formula: Formula
    in_place: Formula | None = None
    dialects: tuple[str, ...] = ()
    darknet_name: str = ""

    def is_in(self, *dialects: str) -> bool:
        """Whether one of the dialects of these names has it."""
        return not self.dialects or not set(dialects).isdisjoint(self.dialects)


def _plse(F: Any, x: Tensor) -> Tensor:
    """Slope 1/8 through (0, 1/2) between -4 and 4, slope 0.01 outside."""
    right = (0.01 * (x - 4) + 1).where(x > 4, 0.125 * x + 0.5)
    return (0.01 * (x + 4)).where(x < -4, right)


def _stair(F: Any, x: Tensor) -> Tensor:
    """floor(x / 2), plus the fraction of x where floor(x) is odd: a staircase with sloping steps."""
    floor = x.floor()
    half = (x / 2).floor()
    return half.where(floor.remainder(2) == 0, x - floor + half)


def _lhtan(F: Any, x: Tensor) -> Tensor:
    """x between 0 and 1, slope 0.001 outside."""
    return (0.001 * x).where(x < 0, (0.001 * (x - 1) + 1).where(x > 1, x))


def _share(x: Tensor) -> Tensor:
    """Each value divided by the sum over the channels of its cell."""
    return x / (EPS + x.sum(1, keepdim=True))


_MOST = ("darknet", "pjreddie", "yolor", "darkflow")
_LATE = ("darknet", "yolor", "darkflow")
_NEWER = ("darknet",)
_ULTRALYTICS = ("ultralytics", "mcmot")
_C = ("darknet", "pjreddie")
_BOTH = {
    "linear": Activation(lambda F, x: x),
    "leaky": Activation(lambda F, x: F.leaky_relu(x, 0.1), lambda F, x: F.leaky_relu_(x, 0.1)),
    "logistic": Activation(lambda F, x: x.sigmoid(), lambda F, x: x.sigmoid_(), (*_MOST, "mcmot")),
    # Darknet replaces softplus(x) by x above 20 and by e^x below -20, which is the same in float32.
    "mish": Activation(
        lambda F, x: F.mish(x), lambda F, x: F.mish(x, inplace=True), (*_MOST, *_ULTRALYTICS, "spurs")
    ),
    "swish": Activation(
        lambda F, x: F.silu(x), lambda F, x: F.silu(x, inplace=True), (*_LATE, *_ULTRALYTICS)
    ),
}
_YOLOR = {
    "silu": _BOTH["swish"]._replace(dialects=("yolor",), darknet_name="swish"),
}
_SPURS = {
    "h_swish": Activation(lambda F, x: F.hardswish(x), lambda F, x: F.hardswish(x, inplace=True), ("spurs",)),
    "none": _BOTH["linear"]._replace(dialects=("spurs",), darknet_name="linear"),
}
_DARKNET = {
    "relu": Activation(lambda F, x: F.relu(x), lambda F, x: F.relu_(x), (*_C, "spurs", "mcmot")),
    "relu6": Activation(lambda F, x: F.relu6(x), lambda F, x: F.hardtanh_(x, 0, 6), (*_NEWER, "spurs")),
    "relie": Activation(lambda F, x: F.leaky_relu(x, 0.01), lambda F, x: F.leaky_relu_(x, 0.01)),
    "ramp": Activation(lambda F, x: F.relu(x) + 0.1 * x),
    "elu": Activation(lambda F, x: F.elu(x)),
    "selu": Activation(lambda F, x: 1.0507 * F.elu(x, alpha=1.6732)),
    # The tanh approximation with Darknet's six-digit constants.
    "gelu": Activation(lambda F, x: 0.5 * x * (1 + (0.797885 * x + 0.035677 * x**3).tanh()), dialects=_NEWER),
    "tanh": Activation(lambda F, x: x.tanh(), lambda F, x: x.tanh_()),
    "loggy": Activation(lambda F, x: 2 * x.sigmoid() - 1),
    "plse": Activation(_plse),
    "hardtan": Activation(lambda F, x: x.clamp(-1, 1), lambda F, x: x.clamp_(-1, 1)),
    "lhtan": Activation(_lhtan),
    "stair": Activation(_stair),
    # Other than leaky only in Darknet's backward pass.
    "revleaky": _BOTH["leaky"]._replace(dialects=_NEWER),
    # x above 0, x + x^2 / 2 from 0 down to -2, 0 below.
    "hard_mish": Activation(lambda F, x: x.where(x > 0, (x * x / 2 + x).where(x > -2, 0)), dialects=_NEWER),
    "normalize_channels": Activation(lambda F, x: _share(F.relu(x)), dialects=_NEWER),
    # Large x overflows, as in Darknet.
    "normalize_channels_softmax": Activation(lambda F, x: _share(x.exp()), dialects=_NEWER),
    "normalize_channels_softmax_maxval": Activation(
        lambda F, x: _share((x - x.amax(1, keepdim=True)).exp()), dialects=_NEWER
    ),
    # Of sowson/darknet alone.
    "relu10": Activation(lambda F, x: x.clamp(-1, 1), lambda F, x: x.clamp_(-1, 1), ("pjreddie",)),
    "lelu": Activation(lambda F, x: 10 * x.tanh(), dialects=("pjreddie",)),
}
ACTIVATIONS: dict[str, Activation] = {
    **_BOTH,
    **_YOLOR,
    **_SPURS,
    **{name: one if one.dialects else one._replace(dialects=_C) for name, one in _DARKNET.items()},
}
