"""Why a layer differs: every hypothesis is tried, and those that explain the difference are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from yolor_cfg.analysis.compare.compare import NetworkComparison
from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase, Supposing
from yolor_cfg.analysis.compare.layers import LayerRun, Tail, ValueDifference, measure
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
CLOSER = 0.5
"""What leaves more than this share of the difference is not told."""


class Cause(NamedTuple):
    """A hypothesis that was tried: the difference before and after; of the layers that differ by themselves
    it explains so many."""

    name: str
    text: str
    before: ValueDifference
    after: ValueDifference
    explained: int = 0


class Diagnosis(NamedTuple):
    """The layer, and the causes that explain the difference, the simplest first; else the hypothesis that
    came nearest, if any came near. So many were tried."""

    node: Node
    causes: tuple[Cause, ...]
    nearest: Cause | None
    tried: int


def diagnose(run: LayerRun, comparison: NetworkComparison, fits: Fits) -> Diagnosis | None:
    """Why the first layer differs, and of how many layers that is the reason; where none differs by itself
    beyond the tolerance, why the one does that differs most. The cause may be in a layer before it whose
    value is not known. None for equal networks, and where the layer cannot be computed alone."""
    layer = comparison.telling
    if layer is None or layer.node.index not in comparison.inputs:
        return None
    theirs, tolerance = comparison.theirs[layer.node.index], comparison.tolerance
    cases = list(_cases(run, comparison, node=layer.node, fits=fits))
    diagnoses = [find_causes(case, theirs, tolerance) for case in cases]
    found = next((one for one in diagnoses if one.causes), diagnoses[0])
    counted = tuple(
        cause._replace(explained=_count_explained(run, comparison, cause=cause, fits=fits))
        for cause in found.causes
    )
    return found._replace(causes=counted, tried=sum(one.tried for one in diagnoses))


def _cases(run: LayerRun, comparison: NetworkComparison, *, node: Node, fits: Fits) -> Iterator[LayerCase]:
    """The layer, and each before it whose value is not known, with those behind it as its tail."""
    inputs = comparison.inputs
    tail = list[tuple[Node, Sequence[Tensor]]]()
    while True:
        yield LayerCase(run, node, inputs[node.index], fits, tuple(tail))
        hidden = [one for one in node.sources if one in inputs and one not in comparison.theirs]
        if not hidden:
            return
        tail.insert(0, (node, inputs[node.index]))
        node = run.graph.nodes[hidden[0]]


def _count_explained(run: LayerRun, comparison: NetworkComparison, *, cause: Cause, fits: Fits) -> int:
    """How many of the layers that differ by themselves agree under the same hypothesis."""
    nodes = [layer.node for layer in comparison.differing if layer.node.index in comparison.inputs]
    counts = [
        any(
            find_explained(case, [comparison.theirs[node.index]], tolerance=comparison.tolerance, cause=cause)
            for case in _cases(run, comparison, node=node, fits=fits)
        )
        for node in nodes
    ]
    return sum(counts)


def suppose_all(case: LayerCase) -> Iterator[Hypothesis]:
    """Every hypothesis about the layer."""
    for supposing in SUPPOSING:
        yield from supposing(case)


def find_causes(case: LayerCase, theirs: Tensor, tolerance: float) -> Diagnosis:
    """Try every hypothesis about the layer."""
    before = measure(case.follow(case.compute()), theirs)
    tried = [Cause(one.cause, one.text, before, one.apart(theirs)) for one in suppose_all(case)]
    ranked = sorted(tried, key=lambda cause: cause.after.largest)
    limit = max(TIE * ranked[0].after.largest, tolerance / 100)
    best = tuple(
        cause for cause in tried if cause.after.largest <= limit and explains(before, cause.after, tolerance)
    )
    closer = ranked[0].after.largest <= CLOSER * before.largest
    return Diagnosis(case.node, best, ranked[0] if closer and not best else None, len(tried))


def explains(before: ValueDifference, after: ValueDifference, tolerance: float) -> bool:
    """Whether what differed agrees."""
    return after.largest <= min(tolerance, SHARE * before.largest)


def find_explained(
    case: LayerCase, values: Sequence[Tensor], *, tolerance: float, cause: Cause | None = None
) -> dict[int, Cause]:
    """Those of the values, by place, that the layer has under a hypothesis: any, or that of a cause."""
    ours = case.follow(case.compute())
    before = [measure(ours, theirs) for theirs in values]
    found: dict[int, Cause] = {}
    for one in suppose_all(case):
        if cause is not None and (one.cause, one.text) != (cause.name, cause.text):
            continue
        for place, theirs in enumerate(values):
            if place not in found and explains(before[place], after := one.apart(theirs), tolerance):
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
