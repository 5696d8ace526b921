"""Receptive fields: how much of the image a cell of a map is computed from, whatever is learned."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from yolor_cfg.graph import IMAGE_INDEX, Graph, Node
from yolor_cfg.ops.windows import ALL, CellSpan, Path, Sight

DOWN, ACROSS = 0, 1
MOST_CELLS = 1024  # neighbouring cells that are looked at, where upsampling makes them differ


class ReceptiveField(NamedTuple):
    """Height and width in pixels of the network's input; None: all of it, whatever its size. Of cells that
    see differently much, as behind an [upsample], it is that of the cell that sees most. Borders are not
    counted: it may be larger than the image, and is 0 where nothing depends on the image."""

    height: int | None
    width: int | None

    @property
    def area(self) -> float:
        """Height times width."""
        return math.prod(math.inf if side is None else side for side in self)


def find_field(graph: Graph, index: int) -> ReceptiveField:
    """The receptive field of the cells of a node."""
    return ReceptiveField(_measure(graph, index, DOWN), _measure(graph, index, ACROSS))


def _measure(graph: Graph, index: int, axis: int) -> int | None:
    cells = range(min(_find_period(graph, index, axis), MOST_CELLS))
    spans = [trace_span(graph, index, CellSpan(cell, cell), axis=axis) for cell in cells]
    largest = max(0.0 if span.is_empty else span.last - span.first + 1 for span in spans)
    return None if math.isinf(largest) else int(largest)


def trace_span(graph: Graph, index: int, cells: CellSpan, *, axis: int) -> CellSpan:
    """The rows (axis 0) or columns of the image that these of a node are computed from, through all
    branches."""
    seen = {index: cells}
    for node, source, path in _edges(graph, index, axis):
        if node.index not in seen:
            continue
        reached = _reach(seen[node.index], path)
        if not reached.is_empty:
            seen[source] = seen[source].join(reached) if source in seen else reached
    return seen.get(IMAGE_INDEX, CellSpan(0, -1))


def _reach(cells: CellSpan, path: Path) -> CellSpan:
    if path is None:
        return ALL
    for window in path:
        if cells.is_empty:
            break
        cells = window.reach(cells)
    return cells


def _edges(graph: Graph, index: int, axis: int) -> Iterator[tuple[Node, int, Path]]:
    """Each node with each of its sources and what it reads there, from this one back to the image."""
    for node in reversed(graph.nodes[: index + 1]):
        for source, sight in zip(node.sources, node.derive(_list_sights), strict=True):
            yield node, source, sight[axis]


def _list_sights(node: Node) -> tuple[Sight, ...]:
    return node.section.sights(node.shape, *node.inputs)


def _find_period(graph: Graph, index: int, axis: int) -> int:
    """How many cells further what is seen only moves: by a whole number of cells in every map on the way."""
    moves = defaultdict[int, set[Fraction]](set, {index: {Fraction(1)}})
    period = 1
    for node, source, path in _edges(graph, index, axis):
        for move in moves[node.index]:
            steps = list(_list_moves(move, path))
            period = math.lcm(period, *(step.denominator for step in steps))
            if path is not None:
                moves[source].add(steps[-1])
    return period


def _list_moves(move: Fraction, path: Path) -> Iterator[Fraction]:
    """By how many cells what is read moves, after each window."""
    yield move
    for window in path or ():
        move *= Fraction(window.step, window.parts)
        yield move
