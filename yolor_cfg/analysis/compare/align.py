"""Which tensors of another program are the values of which layers, where no name says so.

A layer's value is looked for among the tensors of its shape. What it has to be is computed by our layer from
the values of the other side that are known by then, so the search goes on behind a layer that differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import NamedTuple

from torch import Tensor

from yolor_cfg.analysis.compare.layers import Difference, LayerRun, measure
from yolor_cfg.graph import IMAGE_INDEX, Node
from yolor_cfg.model import BoxHead

MOST_FAULTS = 12
"""Behind so many layers that differ the search ends: those after them are not known."""


class _Match(NamedTuple):
    """A tensor, its number in the order of the other program, and how far it is from what it should be."""

    number: int
    tensor: Tensor
    apart: Difference


class Alignment:
    """The search for the values of all layers among tensors in the order in which they were computed."""

    def __init__(self, run: LayerRun, tensors: Sequence[Tensor], tolerance: float) -> None:
        self._run, self._tolerance = run, tolerance
        self._by_shape: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
        for number, tensor in enumerate(tensors):
            self._by_shape[tuple(tensor.shape)].append((number, tensor))
        self._own = run.values()
        self._matches: dict[int, _Match] = {}
        self._known: dict[int, Tensor] = {}
        self._nodes = [node for node in run.graph.nodes if not is_box_head(run, node)]
        self._readers = {
            node.index: [one.index for one in run.graph.nodes if node.index in one.sources]
            for node in run.graph.nodes
        }
        self._sought = _find_sought(run)

    def find(self) -> dict[int, Tensor]:
        """The value of each layer that the other program has. Layers that are part of a later one there have
        none."""
        start, faults = 0, 0
        while faults < MOST_FAULTS:
            self._match_from(start)
            lost = self._first_lost()
            if lost is None:
                break
            faults += self._take_nearest(lost)
            self._sought.discard(lost.index)
            start = lost.index + 1
        return {index: match.tensor for index, match in self._matches.items()}

    def _match_from(self, start: int) -> None:
        """Look for the values of the layers from this one on."""
        for node in (node for node in self._nodes if node.index >= start):
            self._matches.pop(node.index, None)
            expected = self._expect(node)
            match = self._nearest(node, expected)
            self._known[node.index] = expected
            if match is not None and match.apart.largest <= self._tolerance:
                self._matches[node.index], self._known[node.index] = match, match.tensor

    def _expect(self, node: Node) -> Tensor:
        """What our layer makes of the other program's values."""
        if not self._run.can_compute(node):
            return self._own[node.index]
        return self._run.compute(node, self._run.inputs(node, self._known))

    def _nearest(self, node: Node, expected: Tensor, without: Container[int] = ()) -> _Match | None:
        """The tensor of that shape that is nearest, of equal ones the first; none from before the inputs."""
        sources = [self._matches[source].number for source in node.sources if source in self._matches]
        first = max(sources, default=-1)
        found = [
            _Match(number, tensor, measure(expected, tensor))
            for number, tensor in self._by_shape[tuple(expected.shape)]
            if number >= first and number not in without
        ]
        return min(found, key=lambda match: (match.apart.largest, match.number), default=None)

    def _first_lost(self) -> Node | None:
        """The first layer that has no value and is part of none that has."""
        reached = set[int]()
        for node in reversed(self._nodes):
            if node.index in self._matches or reached.intersection(self._readers[node.index]):
                reached.add(node.index)
        return next((node for node in self._nodes if node.index in self._sought - reached), None)

    def _take_nearest(self, node: Node) -> bool:
        """Take the nearest tensor that is no other layer's for the value of a layer; False if none is left."""
        taken = {match.number for match in self._matches.values()}
        match = self._nearest(node, self._known[node.index], without=taken)
        if match is not None:
            self._matches[node.index], self._known[node.index] = match, match.tensor
        return match is not None


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
