"""Compares each layer with what another program, file or engine computes there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from yolor_cfg.analysis.compare.layers import LayerRun, ValueDifference, measure
from yolor_cfg.analysis.compare.values import OtherValues
from yolor_cfg.graph import Node

TOLERANCE = 1e-4
"""Of our largest value: what the order of sums makes in a deep network of float32."""
EQUAL, DIFFERS, INHERITS, ABSENT = "equal", "differs", "input differs", "not known"
VERDICTS = {
    EQUAL: "within the tolerance",
    DIFFERS: "its own computation differs, on equal inputs too",
    INHERITS: "equal if computed from the other side's inputs",
    ABSENT: "its value is not known: part of another layer there, or behind too many differences",
}


class LayerComparison(NamedTuple):
    """A layer: how far the other side's value is from ours, and from what our layer makes of the other side's
    inputs (`own`); None where they are not known."""

    node: Node
    verdict: str
    difference: ValueDifference | None = None
    own: ValueDifference | None = None


class NetworkComparison(NamedTuple):
    """All layers in order, and the other side's inputs and value of each that can be computed alone."""

    layers: tuple[LayerComparison, ...]
    tolerance: float
    inputs: Mapping[int, list[Tensor]]
    theirs: Mapping[int, Tensor]

    @property
    def is_equal(self) -> bool:
        """Whether no layer differs."""
        return self.first is None

    @property
    def first(self) -> LayerComparison | None:
        """The first layer that differs."""
        return next((one for one in self.layers if one.verdict in (DIFFERS, INHERITS)), None)

    @property
    def telling(self) -> LayerComparison | None:
        """The layer that tells most about the cause: the first one that differs, or if small differences only
        add up, the one up to there that differs most by itself."""
        first = self.first
        if first is None or first.verdict == DIFFERS:
            return first
        before = self.layers[: first.node.index + 1]
        return max(before, key=lambda one: one.own.largest if one.own else 0.0)

    @property
    def differing(self) -> tuple[LayerComparison, ...]:
        """The layers that differ by themselves."""
        return tuple(one for one in self.layers if one.verdict == DIFFERS)


def compare_layers(run: LayerRun, other: OtherValues, tolerance: float = TOLERANCE) -> NetworkComparison:
    """Our layers, on the images of the run, beside those of the other side."""
    ours, known = run.values(), dict[int, Tensor]()
    inputs, rows = dict[int, list[Tensor]](), list[LayerComparison]()
    for node in run.graph.nodes:
        theirs, expected = other.layers.get(node.index), ours[node.index]
        if run.can_compute(node):
            inputs[node.index] = run.inputs(node, known)
            expected = run.compute(node, inputs[node.index])
        fits = theirs is not None and theirs.shape == expected.shape
        known[node.index] = theirs if fits and theirs is not None else expected
        rows.append(_compare(node, theirs, ours=ours[node.index], expected=expected, tolerance=tolerance))
    return NetworkComparison(tuple(rows), tolerance, inputs, other.layers)


def _compare(
    node: Node, theirs: Tensor | None, *, ours: Tensor, expected: Tensor, tolerance: float
) -> LayerComparison:
    if theirs is None:
        return LayerComparison(node, ABSENT)
    whole, own = measure(ours, theirs), measure(expected, theirs)
    if whole.largest <= tolerance:
        verdict = EQUAL
    else:
        verdict = INHERITS if own.largest <= tolerance else DIFFERS
    return LayerComparison(node, verdict, whole, own)
