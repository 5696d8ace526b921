"""Why a layer differs: every hypothesis is tried, and those that explain the difference are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.analysis.compare.compare import LayerComparison, NetworkComparison
from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase, Supposing
from yolor_cfg.analysis.compare.layers import LayerRun, Tail, ValueDifference, measure
from yolor_cfg.analysis.compare.operations import (
    other_borders,
    other_inputs,
    other_resampling,
    other_windows,
)
from yolor_cfg.analysis.compare.patch import PatchBounds, cut_patch
from yolor_cfg.analysis.compare.readings import (
    other_activations,
    other_boxes,
    other_epsilons,
    other_orders,
    other_rules,
)
from yolor_cfg.analysis.compare.rounding import shorter_numbers
from yolor_cfg.analysis.compare.tensors import other_kernels, other_statistics, shifted_weights
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
Fits = Mapping[str, Tensor]
"""Other inputs of the network for the same picture, by what was done to it."""
SHARE = 0.1
"""A cause leaves at most this share of the difference, and no more than the tolerance."""
TIE = 3.0
"""Causes that leave less than so many times what the best one leaves cannot be told apart."""
MOST_LOOKED_AT, MOST_UNEXPLAINED, MOST_HIDDEN = 4, 2, 8
"""Causes are looked for in so many layers that differ, or until so many are unexplained, and from each at
most so many layers back to known values."""
CLOSER = 0.5
"""What leaves more than this share of the difference is not told."""


class Cause(NamedTuple):
    """A hypothesis that was tried, and the difference before and after."""

    name: str
    text: str
    before: ValueDifference
    after: ValueDifference


class Diagnosis(NamedTuple):
    """A layer, and the causes that explain the difference, the simplest first; else the hypothesis that came
    nearest, if any came near. So many were tried. `explained` are the layers that the first cause explains,
    of those that differ by themselves."""

    node: Node
    causes: tuple[Cause, ...]
    nearest: Cause | None
    tried: int
    explained: frozenset[int] = frozenset()


def diagnose(run: LayerRun, comparison: NetworkComparison, fits: Fits) -> tuple[Diagnosis, ...]:
    """Why the first layer differs, and then the causes of layers that differ by themselves for other reasons.

    Where none differs by itself beyond the tolerance, it is the one that differs most. The cause may be in a
    layer before it whose value is not known. Nothing for equal networks; a layer that reads a head is left
    out."""
    layers = [one for one in (comparison.telling, *comparison.differing) if one is not None]
    waiting = [one.node for one in layers if one.node.index in comparison.inputs]
    found = list[Diagnosis]()
    while waiting and len(found) < MOST_LOOKED_AT and sum(not one.causes for one in found) < MOST_UNEXPLAINED:
        found.append(_diagnose_layer(run, comparison, node=waiting[0], fits=fits))
        done = {waiting[0].index, *found[-1].explained}
        waiting = [node for node in waiting if node.index not in done]
    return tuple(one for one in found if one.causes or one is found[0])


def _diagnose_layer(run: LayerRun, comparison: NetworkComparison, *, node: Node, fits: Fits) -> Diagnosis:
    theirs, tolerance = comparison.theirs[node.index], comparison.tolerance
    cases = _cases(run, comparison, node=node, fits=fits)
    diagnoses = [find_causes(case, theirs, tolerance) for case in cases]
    found = next((one for one in diagnoses if one.causes), diagnoses[0])
    explained = [
        layer.node.index
        for layer in comparison.differing
        if found.causes and _has_cause(run, comparison, layer=layer, cause=found.causes[0], fits=fits)
    ]
    return found._replace(explained=frozenset(explained), tried=sum(one.tried for one in diagnoses))


def _cases(run: LayerRun, comparison: NetworkComparison, *, node: Node, fits: Fits) -> Iterator[LayerCase]:
    """The layer, and a few before it whose values are not known, with those behind them as their tails."""
    inputs = comparison.inputs
    tail = list[tuple[Node, Sequence[Tensor]]]()
    for _ in range(MOST_HIDDEN):
        yield LayerCase(run, node, inputs[node.index], fits, tuple(tail))
        hidden = [one for one in node.sources if one in inputs and one not in comparison.theirs]
        if not hidden:
            return
        tail.insert(0, (node, inputs[node.index]))
        node = run.graph.nodes[hidden[0]]


def _has_cause(
    run: LayerRun, comparison: NetworkComparison, *, layer: LayerComparison, cause: Cause, fits: Fits
) -> bool:
    """Whether a layer agrees under the same hypothesis."""
    if layer.node.index not in comparison.inputs:
        return False
    theirs, tolerance = [comparison.theirs[layer.node.index]], comparison.tolerance
    cases = _cases(run, comparison, node=layer.node, fits=fits)
    return any(find_explained(case, theirs, tolerance=tolerance, cause=cause) for case in cases)


def suppose_all(case: LayerCase) -> Iterator[Hypothesis]:
    """Every hypothesis about the layer."""
    for supposing in SUPPOSING:
        yield from supposing(case)


def find_causes(case: LayerCase, theirs: Tensor, tolerance: float) -> Diagnosis:
    """Try every hypothesis about the layer."""
    ours = case.follow(case.compute())
    if ours.shape == theirs.shape:
        theirs = torch.empty_like(ours).copy_(theirs)  # in memory as ours: that is faster to compare
    before, bounds = measure(ours, theirs), _find_bounds(case, ours, [theirs])
    tried, count, limit = list[Cause](), 0, CLOSER * before.largest
    for one in suppose_all(case):
        count += 1
        # What leaves more than the limit is neither told nor the nearest: it need not be known how much.
        if bounds.find_least(one)[0] <= limit:
            tried.append(Cause(one.cause, one.text, before, one.apart(theirs)))
            limit = min(limit, max(TIE * tried[-1].after.largest, tolerance / 100))
    return _choose_causes(case, tried, tolerance)._replace(tried=count)


def _choose_causes(case: LayerCase, tried: Sequence[Cause], tolerance: float) -> Diagnosis:
    """Those that explain the difference, of causes that were tried."""
    if not tried:
        return Diagnosis(case.node, (), None, 0)
    nearest = min(tried, key=lambda cause: cause.after.largest)
    limit = max(TIE * nearest.after.largest, tolerance / 100)
    best = tuple(
        one for one in tried if one.after.largest <= limit and explains(one.before, one.after, tolerance)
    )
    closer = nearest.after.largest <= CLOSER * nearest.before.largest
    return Diagnosis(case.node, best, nearest if closer and not best else None, len(tried))


def _find_bounds(case: LayerCase, ours: Tensor, values: Sequence[Tensor]) -> PatchBounds:
    return PatchBounds(cut_patch(case, ours, values[0]) if values else None, values, suppose_all)


def explains(before: ValueDifference, after: ValueDifference, tolerance: float) -> bool:
    """Whether what differed agrees."""
    return after.largest <= _most_left(before, tolerance)


def _most_left(before: ValueDifference, tolerance: float) -> float:
    """What a cause leaves of a difference at most."""
    return min(tolerance, SHARE * before.largest)


def find_explained(
    case: LayerCase, values: Sequence[Tensor], *, tolerance: float, cause: Cause | None = None
) -> dict[int, Cause]:
    """Those of the values, by place, that the layer has under a hypothesis: any, or that of a cause."""
    ours = case.follow(case.compute())
    before, bounds = [measure(ours, theirs) for theirs in values], _find_bounds(case, ours, values)
    found: dict[int, Cause] = {}
    for one in suppose_all(case):
        if cause is not None and (one.cause, one.text) != (cause.name, cause.text):
            continue
        for place, least in enumerate(bounds.find_least(one)):
            if place in found or least > _most_left(before[place], tolerance):
                continue
            if explains(before[place], after := one.apart(values[place]), tolerance):
                found[place] = Cause(one.cause, one.text, before[place], after)
    return found


class FaultFinder:
    """Finds the value of a layer with a known fault among others."""

    def __init__(self, run: LayerRun, tolerance: float, fits: Fits) -> None:
        self._run, self._tolerance, self._fits = run, tolerance, fits
        self._last: Cause | None = None

    def __call__(
        self, node: Node, inputs: Sequence[Tensor], *, tail: Tail, values: Sequence[Tensor]
    ) -> int | None:
        """The place of the value of the layer, or of the last layer of its tail; of several it is the last
        one: those before it are steps on the way there. None if no hypothesis explains any."""
        case = LayerCase(self._run, node, inputs, self._fits, tail)
        found = (
            find_explained(case, values, tolerance=self._tolerance, cause=self._last) if self._last else {}
        )
        found = found or find_explained(case, values, tolerance=self._tolerance)
        if not found:
            return None
        self._last = found[max(found)]
        return max(found)
