"""Why a layer differs: every hypothesis is tried, and those that explain the difference are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from yolor_cfg.analysis.compare.compare import Comparison
from yolor_cfg.analysis.compare.hypothesis import Case, Hypothesis, Supposing
from yolor_cfg.analysis.compare.layers import Difference, LayerRun
from yolor_cfg.analysis.compare.operations import (
    other_borders,
    other_inputs,
    other_resampling,
    other_windows,
)
from yolor_cfg.analysis.compare.readings import (
    other_activations,
    other_boxes,
    other_epsilons,
    other_orders,
    other_rules,
)
from yolor_cfg.analysis.compare.tensors import (
    other_kernels,
    other_statistics,
    shifted_weights,
    shorter_numbers,
)
from yolor_cfg.graph import Node

SUPPOSING: tuple[Supposing, ...] = (
    other_inputs,
    other_epsilons,
    other_statistics,
    other_activations,
    other_orders,
    other_windows,
    other_borders,
    other_resampling,
    other_rules,
    other_boxes,
    other_kernels,
    shifted_weights,
    shorter_numbers,
)
SHARE = 0.1
"""A cause leaves at most this share of the difference, and no more than the tolerance."""
TIE = 3.0
"""Causes that leave less than so many times what the best one leaves cannot be told apart."""


class Cause(NamedTuple):
    """A hypothesis that was tried: the difference before and after; of the layers that differ by themselves
    it explains so many."""

    name: str
    text: str
    before: Difference
    after: Difference
    explained: int = 0


class Diagnosis(NamedTuple):
    """The layer, the causes that explain the difference, the best first; else the hypothesis that came nearest, if any
    came nearer at all. So many were tried."""

    node: Node
    causes: tuple[Cause, ...]
    nearest: Cause | None
    tried: int


def diagnose(run: LayerRun, comparison: Comparison, fits: Mapping[str, Tensor]) -> Diagnosis | None:
    """Why the first layer differs, and of how many layers that is the reason; where none differs by itself
    beyond the tolerance, why the one does that differs most. None for equal networks, and where the layer
    cannot be computed alone."""
    layer = comparison.telling
    if layer is None or layer.own is None or layer.node.index not in comparison.inputs:
        return None
    found = find_causes(_case(run, comparison, layer.node, fits), layer.own, comparison.tolerance)
    counted = tuple(
        cause._replace(explained=_count_explained(run, comparison, cause, fits)) for cause in found.causes
    )
    return found._replace(causes=counted)


def _case(run: LayerRun, comparison: Comparison, node: Node, fits: Mapping[str, Tensor]) -> Case:
    return Case(run, node, comparison.inputs[node.index], comparison.theirs[node.index], fits)


def _count_explained(run: LayerRun, comparison: Comparison, cause: Cause, fits: Mapping[str, Tensor]) -> int:
    """How many of the layers that differ by themselves agree under the same hypothesis."""
    count = 0
    for layer in comparison.differing:
        if layer.own is None or layer.node.index not in comparison.inputs:
            continue
        case = _case(run, comparison, layer.node, fits)
        same = (one for one in suppose_all(case) if (one.cause, one.text) == (cause.name, cause.text))
        again = (Cause(one.cause, one.text, layer.own, one.apart()) for one in same)
        count += any(explains(one, comparison.tolerance) for one in again)
    return count


def suppose_all(case: Case) -> Iterator[Hypothesis]:
    """Every hypothesis about the layer."""
    for supposing in SUPPOSING:
        yield from supposing(case)


def find_causes(case: Case, before: Difference, tolerance: float) -> Diagnosis:
    """Try every hypothesis about the layer."""
    tried = [Cause(one.cause, one.text, before, one.apart()) for one in suppose_all(case)]
    ranked = sorted(tried, key=lambda cause: cause.after.largest)
    found = [cause for cause in ranked if explains(cause, tolerance)]
    limit = max(TIE * found[0].after.largest, tolerance / 100) if found else 0.0
    best = tuple(cause for cause in found if cause.after.largest <= limit)
    closer = [cause for cause in ranked if cause.after.largest < before.largest]
    return Diagnosis(case.node, best, None if best or not closer else closer[0], len(tried))


def explains(cause: Cause, tolerance: float) -> bool:
    """Whether the layer agrees under this hypothesis."""
    return cause.after.largest <= min(tolerance, SHARE * cause.before.largest)
