"""Which tensors of another program are the values of which layers, where no name says so.

A layer's value is looked for among the tensors of its shape. What it has to be is computed by our layer from
the values of the other side that are known by then, so the search goes on behind a layer that differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from yolor_cfg.analysis.compare.layers import LayerRun, Tail, ValueDifference, measure
from yolor_cfg.graph import IMAGE_INDEX, Node
from yolor_cfg.model import BoxHead

MOST_UNEXPLAINED = 4
"""Behind so many layers that differ for unknown reasons the search ends: those after them are not known."""
LOOKAHEAD = 16
"""A layer whose value is not there is part of one of the next so many layers, or it differs."""


MOST_CANDIDATES = 6
"""So many tensors of the right shape are looked at for a layer that differs."""
MOST_TAIL = 2
"""A layer may be part of the second one behind it."""
DOUBTFUL, NEAR, BETTER = 0.1, 0.05, 3.0
"""A layer whose value is not found is a part of a later one, unless that one agrees no better than by this
share of the tolerance, and better by such a factor once a tensor that is near is taken for the layer's."""


class FindValue(Protocol):
    """Finds the value of a layer with a known fault among others."""

    def __call__(
        self, node: Node, inputs: Sequence[Tensor], *, tail: Tail, values: Sequence[Tensor]
    ) -> int | None:
        """The place of the value of the layer, or of the last layer of its tail; None if it is not there."""


class _Match(NamedTuple):
    """A tensor, its number in the order of the other program, and how far it is from what it should be."""

    number: int
    tensor: Tensor
    apart: ValueDifference


class Alignment:
    """The search for the values of all layers among tensors in the order in which they were computed."""

    def __init__(
        self,
        run: LayerRun,
        tensors: Sequence[Tensor],
        *,
        tolerance: float,
        find_value: FindValue,
        heads: Mapping[int, Tensor],
    ) -> None:
        """`find_value` tells the value of a layer with a known fault from others. `heads` are the boxes of
        heads, where they are known: a layer without a value may be part of one that agrees."""
        self._run, self._tolerance, self._find_value = run, tolerance, find_value
        self._by_shape: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
        for number, tensor in enumerate(tensors):
            self._by_shape[tuple(tensor.shape)].append((number, tensor))
        self._own = run.values()
        apart = {index: measure(self._own[index], boxes).largest for index, boxes in heads.items()}
        self._heads = {index: largest for index, largest in apart.items() if largest <= tolerance}
        self._matches: dict[int, _Match] = {}
        self._known: dict[int, Tensor] = {}
        self._nodes = [node for node in run.graph.nodes if not is_box_head(run, node)]
        self._readers = {
            node.index: [one.index for one in run.graph.nodes if node.index in one.sources]
            for node in run.graph.nodes
        }
        self._sought = _find_sought(run)
        self._unexplained = 0

    def find(self) -> dict[int, Tensor]:
        """The value of each layer that the other program has. Layers that are part of a later one there have
        none."""
        self._match_from(0)
        while self._unexplained < MOST_UNEXPLAINED:
            lost = self._first_lost() or self._first_doubtful()
            if lost is None:
                break
            last = self._take_faulty(lost)
            self._sought -= set(range(lost.index, last + 1))
            self._match_from(last + 1)
        return {index: match.tensor for index, match in self._matches.items()}

    def _match_from(self, start: int) -> None:
        """Look for the values of the layers from this one on, as far as they do not depend on one that is
        lost."""
        later = [node for node in self._nodes if node.index >= start]
        for node in later:
            self._matches.pop(node.index, None)
        for node in later:
            lost = self._first_lost()
            if lost is not None and node.index > max([lost.index, *self._readers[lost.index]]) + LOOKAHEAD:
                break
            self._known[node.index] = self._expect(node)
            match = self._nearest(node)
            if match is not None and match.apart.largest <= self._tolerance:
                self._take(node, match)

    def _expect(self, node: Node) -> Tensor:
        """What our layer makes of the other program's values."""
        if not self._run.can_compute(node):
            return self._own[node.index]
        return self._run.compute(node, self._run.inputs(node, self._known))

    def _candidates(self, node: Node, without: Container[int] = ()) -> list[_Match]:
        """The tensors of the shape of a layer's value, in order; none from before its inputs."""
        expected = self._known[node.index]
        sources = [self._matches[source].number for source in node.sources if source in self._matches]
        first = max(sources, default=-1)
        return [
            _Match(number, tensor, measure(expected, tensor))
            for number, tensor in self._by_shape[tuple(expected.shape)]
            if number >= first and number not in without
        ]

    def _nearest(self, node: Node, without: Container[int] = ()) -> _Match | None:
        return min(self._candidates(node, without), key=lambda one: one.apart.largest, default=None)

    def _first_lost(self) -> Node | None:
        """The first layer that has no value and is part of none that has."""
        reached = set(self._heads)
        for node in reversed(self._nodes):
            if node.index in self._matches or reached.intersection(self._readers[node.index]):
                reached.add(node.index)
        return next((node for node in self._nodes if node.index in self._sought - reached), None)

    def _first_doubtful(self) -> Node | None:
        """The first layer that seemed to be part of a later one, but whose value is there and differs a
        little."""
        for node in self._nodes:
            if node.index in self._sought and node.index not in self._matches and self._has_near_value(node):
                return node
        return None

    def _has_near_value(self, node: Node) -> bool:
        """Whether what follows agrees much better once the nearest tensor is taken for the layer's value."""
        taken = {match.number for match in self._matches.values()}
        before, nearest = self._agreement(node), self._nearest(node, taken)
        if before <= DOUBTFUL * self._tolerance or nearest is None or nearest.apart.largest > NEAR:
            return False
        kept = dict(self._matches), dict(self._known)
        self._take(node, nearest)
        self._match_from(node.index + 1)
        is_better = self._agreement(node) * BETTER < before
        self._matches, self._known = kept
        return is_better

    def _agreement(self, node: Node) -> float:
        """How far the first layers behind this one that have values are from what they should be."""
        found, waiting = list[float](), list(self._readers[node.index])
        while waiting:
            index = waiting.pop()
            if index in self._matches:
                found.append(self._matches[index].apart.largest)
            elif index in self._heads:
                found.append(self._heads[index])
            else:
                waiting += self._readers[index]
        return max(found, default=float("inf"))

    def _take_faulty(self, node: Node) -> int:
        """Take a tensor that is no other layer's for the value of a layer, or of one that follows it and that
        it is part of: one that a known fault explains, else the nearest to it, if any is left. The number of
        the layer up to which all is known then."""
        taken = {match.number for match in self._matches.values()}
        for tail in self._tails(node):
            end = tail[-1][0] if tail else node
            matches = self._candidates(end, taken)[:MOST_CANDIDATES]
            inputs = self._run.inputs(node, self._known)
            place = self._find_value(node, inputs, tail=tail, values=[match.tensor for match in matches])
            if place is not None:
                self._take(end, matches[place])
                return end.index
        nearest = self._nearest(node, taken)
        if nearest is not None:
            self._take(node, nearest)
            self._unexplained += 1
        return node.index

    def _take(self, node: Node, match: _Match) -> None:
        self._matches[node.index], self._known[node.index] = match, match.tensor

    def _tails(self, node: Node) -> list[Tail]:
        """No layers behind this one, the one that alone reads it, and so on."""
        tails: list[Tail] = [()]
        while len(tails) <= MOST_TAIL and len(self._readers[node.index]) == 1:
            node = self._run.graph.nodes[self._readers[node.index][0]]
            if node.index in self._matches or node.index not in self._known:
                break
            tails.append([*tails[-1], (node, self._run.inputs(node, self._known))])
        return tails


def is_box_head(run: LayerRun, node: Node) -> bool:
    """Whether the layer predicts boxes: its value is compared as such."""
    return node.section.is_head and isinstance(run.network.module_list[node.index], BoxHead)


def _find_sought(run: LayerRun) -> set[int]:
    """The layers that the predictions depend on and that depend on the image: others may be left out of a
    file, or be constants there."""
    nodes = run.graph.nodes
    used, live = set(run.graph.outputs), set[int]()
    for node in reversed(nodes):
        used.update(node.sources if node.index in used else ())
    for node in nodes:
        if any(source == IMAGE_INDEX or source in live for source in node.sources):
            live.add(node.index)
    return {index for index in used & live if not is_box_head(run, nodes[index])}
