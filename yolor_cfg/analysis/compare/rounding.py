"""Causes in the numbers: weights or values of fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase
from yolor_cfg.analysis.compare.layers import INCOMPARABLE, ValueDifference, measure, split_value
from yolor_cfg.rewrite.absorb import find_norms, fold_norm

SHORT_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""The shortest first: most of its numbers are numbers of the other one too."""
SLACK = 3.0
"""So many units in the last place, of the largest value, may sums of rounded numbers be apart."""
LEVELS, LEVELS_APART, COARSE = 256, 8.0, 0.1
"""Values of 8 bits may be so many levels apart, if that is no more than such a share of the largest value."""
Rounding = Callable[[Tensor], Tensor]


def shorter_numbers(case: LayerCase) -> Iterator[Hypothesis]:
    """Values or weights of fewer bits."""
    for name, kind in SHORT_TYPES.items():
        text = f"values rounded to {name}"
        yield Hypothesis("half precision", text, partial(_beyond_rounding, case, kind))
        yield from _rounded_weights(
            case, "half precision", how=f"rounded to {name}", rounding=partial(_to_type, kind=kind)
        )
    yield Hypothesis("quantisation", f"values of at most {LEVELS} levels", partial(_beyond_levels, case))
    yield from _rounded_weights(
        case, "quantisation", how="of 8 bits, a scale for each filter", rounding=_to_int8_by_filter
    )
    yield from _rounded_weights(case, "quantisation", how="of 8 bits, one scale", rounding=_to_int8)


def _rounded_weights(case: LayerCase, cause: str, *, how: str, rounding: Rounding) -> Iterator[Hypothesis]:
    """The kernels rounded, or all tensors; before or after batch norm is folded into them."""
    if not list(case.layer.parameters()):
        return
    for folded in (False, True) if find_norms(case.layer) else (False,):
        for kernels in (True, False):
            text = f"{'kernels' if kernels else 'tensors'} {how}{', batch norm folded' * folded}"
            change = partial(_round, rounding=rounding, folded=folded, kernels=kernels)
            yield case.suppose_changed(cause, text, change=change)


def _round(layer: nn.Module, *, rounding: Rounding, folded: bool, kernels: bool) -> nn.Module | None:
    """The layer with its kernels or all of its tensors rounded."""
    taken = fold_norm(layer) if folded else layer
    if taken is None:
        return None
    for tensor in chain(taken.float().parameters(), taken.buffers()):
        if tensor.is_floating_point() and (tensor.ndim > 1 or not kernels):
            tensor.data = rounding(tensor.data)
    return taken


def _to_type(weight: Tensor, kind: torch.dtype) -> Tensor:
    return weight.to(kind).to(weight.dtype)


def _to_int8(weight: Tensor) -> Tensor:
    step = weight.abs().max().clamp(min=1e-30) / 127
    return (weight / step).round() * step


def _to_int8_by_filter(weight: Tensor) -> Tensor:
    return torch.stack([_to_int8(one) for one in weight]) if weight.ndim > 1 else _to_int8(weight)


def _beyond_rounding(case: LayerCase, kind: torch.dtype, theirs: Tensor) -> ValueDifference:
    """What is left of the difference without what rounding to this type makes; all of it where the other
    side's values are no such numbers."""
    if kind != next((one for one in SHORT_TYPES.values() if _is_rounded(theirs, one)), None):
        return INCOMPARABLE
    ours = case.follow(case.compute())
    if ours.shape != theirs.shape:
        return INCOMPARABLE
    return _beyond(ours, theirs, SLACK * torch.finfo(kind).eps * float(ours.abs().max()))


def _is_rounded(value: Tensor, kind: torch.dtype) -> bool:
    return all(torch.equal(_to_type(piece, kind), piece) for piece in split_value(value))


def _beyond_levels(case: LayerCase, theirs: Tensor) -> ValueDifference:
    """What is left of the difference without a few steps between levels; all of it where there are more of
    them."""
    levels = _find_levels(theirs)
    if not 1 < len(levels) <= LEVELS:
        return INCOMPARABLE
    ours = case.follow(case.compute())
    if ours.shape != theirs.shape or len(_find_levels(ours)) <= LEVELS:
        return INCOMPARABLE
    slack = LEVELS_APART * float(levels.diff().min())
    return _beyond(ours, theirs, slack) if slack <= COARSE * float(ours.abs().max()) else INCOMPARABLE


def _find_levels(value: Tensor) -> Tensor:
    """The numbers in a value, in order; only some if they are more than 8 bits tell apart."""
    levels = value.new_empty(0)
    for piece in split_value(value):
        levels = torch.cat([levels, piece.unique()]).unique()
        if len(levels) > LEVELS:
            break
    return levels


def _beyond(ours: Tensor, theirs: Tensor, slack: float) -> ValueDifference:
    difference = theirs - ours
    return measure(ours, ours + difference.sign() * (difference.abs() - slack).clamp(min=0))
