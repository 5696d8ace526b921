"""Which cells of its inputs a cell of a map is computed from. Needs no torch, like the geometry.

An axis is down or across. Cells are numbered as if the map had no borders, so numbers may be negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class CellSpan(NamedTuple):
    """Cells along one axis, from the first to the last; ALL of them have infinite ends. Empty if the last is
    before the first."""

    first: float
    last: float

    @property
    def is_empty(self) -> bool:
        """Whether there is no cell in it."""
        return self.last < self.first

    def join(self, other: CellSpan) -> CellSpan:
        """The smallest span that holds both."""
        return CellSpan(min(self.first, other.first), max(self.last, other.last))


ALL = CellSpan(-math.inf, math.inf)


class CellWindow(NamedTuple):
    """Along one axis, cell i reads the cells from (i * step - before) / parts to (i * step + after) / parts,
    both rounded down. With step 0 it reads the same ones wherever it is."""

    step: int = 1
    before: int = 0
    after: int = 0
    parts: int = 1

    def reach(self, cells: CellSpan) -> CellSpan:
        """What these cells read."""
        if not self.step:
            cells = CellSpan(0, 0)
        if cells == ALL:
            return ALL
        first, last = cells.first * self.step - self.before, cells.last * self.step + self.after
        return CellSpan(first // self.parts, last // self.parts)


Path = tuple[CellWindow, ...] | None
"""Windows one after another along an axis, from an output back to its input; None: it reads all cells."""


class Sight(NamedTuple):
    """What the cells of an output read of one input, down and across."""

    down: Path
    across: Path

    def then(self, earlier: Sight) -> Sight:
        """Through this, and what it reads through an earlier one."""
        pairs = zip(self, earlier, strict=True)
        return Sight(*(None if one is None or other is None else one + other for one, other in pairs))


EACH_CELL = Sight((), ())
ALL_CELLS = Sight(None, None)
NO_CELL = Sight(*[(CellWindow(step=0, before=-1),)] * 2)


def square(window: CellWindow) -> Sight:
    """The same window down and across."""
    return Sight((window,), (window,))


def blocks(side: int) -> Sight:
    """A cell reads a block of so many cells each way, the next cell the next block."""
    return square(CellWindow(side, 0, side - 1))


def pieces(side: int) -> Sight:
    """So many neighbouring cells each way read the same cell."""
    return square(CellWindow(parts=side))


def widest(sights: Iterable[Sight]) -> Sight:
    """What single windows of the same step read together."""
    downs, acrosses = zip(*sights, strict=True)
    return Sight(_join_windows(downs), _join_windows(acrosses))


def _join_windows(paths: Iterable[tuple[CellWindow]]) -> tuple[CellWindow]:
    windows = [window for (window,) in paths]
    before, after = (max(getattr(one, side) for one in windows) for side in ("before", "after"))
    return (windows[0]._replace(before=before, after=after),)


def usual_sight(out: tuple[int, int], x: tuple[int, int]) -> Sight:
    """What is read of an input by its height and width and those of the output: along an axis of the same
    length each cell itself, of an axis of one cell that one, else everything."""
    return Sight(*(_usual_path(*lengths) for lengths in zip(out, x, strict=True)))


def _usual_path(out: int, x: int) -> Path:
    if x == out:
        return ()
    return (CellWindow(step=0),) if x == 1 else None
