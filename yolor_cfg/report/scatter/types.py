"""What a chart shows, and the shapes that it is drawn by. Lengths are pixels, y grows downwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Mark(NamedTuple):
    """A point with its name. `group` is the place of its data among the groups; `is_front` says whether no
    other of its group is better; `told` is what a viewer shows beside it."""

    name: str
    x: float
    y: float
    group: int = 0
    is_front: bool = True
    told: str = ""


class AxisText(NamedTuple):
    """The title of an axis, and how a value is written at it."""

    title: str
    write: Callable[[float], str]


class Scatter(NamedTuple):
    """A chart of marks; the names of their groups."""

    title: str
    x: AxisText
    y: AxisText
    marks: tuple[Mark, ...]
    groups: tuple[str, ...]


class Region(NamedTuple):
    """A rectangle by its sides."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Region) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def grow(self, by: float) -> Region:
        """The rectangle with a margin."""
        return Region(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def holds(self, x: float, y: float) -> bool:
        """Whether the point is inside."""
        return self.left < x < self.right and self.top < y < self.bottom

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of it that is nearest to another one."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


class Stroke(NamedTuple):
    """A line through points; `kind` is grid, axis, leader or front; with `color` "" that of the kind."""

    kind: str
    points: tuple[tuple[float, float], ...]
    color: str = ""


class Dot(NamedTuple):
    """A disc, or a ring if it is not `filled`."""

    x: float
    y: float
    color: str
    is_filled: bool
    told: str = ""


class Words(NamedTuple):
    """A text on its base line; `kind` is heading, axis, tick, name or faint; `anchor` start, middle or end;
    `is_upright` turns it to be read from the right."""

    kind: str
    x: float
    y: float
    text: str
    anchor: str = "start"
    is_upright: bool = False


class Drawing(NamedTuple):
    """All shapes of a chart, the first at the bottom."""

    width: float
    height: float
    title: str
    strokes: tuple[Stroke, ...]
    dots: tuple[Dot, ...]
    words: tuple[Words, ...]
