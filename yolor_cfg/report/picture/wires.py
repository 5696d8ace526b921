"""The lines between layers: in the gutters beside the columns, and below all of them to columns further on.

What leaves one layer shares one line in a gutter, and branches off it. Lines that overlap lie side by side in
lanes, the shortest next to the column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from yolor_cfg.report.picture.columns import PAD, WIDTH
from yolor_cfg.report.picture.types import Link

LANE, GUTTER, ARROW = 6.0, 10.0, 14.0
"""Between two lines side by side, before the first of them, after the last."""
DEPTH = 14.0
"""From the columns down to the first line below them."""
PORT, CLEARANCE = 4.0, 3.0
"""A line leaves so far below the middle of a layer and enters so far above; the least space in a lane."""
Point = tuple[float, float]


class Span(NamedTuple):
    """The part of a lane that the lines from one layer take."""

    low: float
    high: float
    source: int


class Wires:
    """The lanes of all links; `columns` and `rows` give the column and the middle of each layer, in order."""

    def __init__(
        self, links: Sequence[Link], columns: Mapping[int, int], rows: Mapping[int, float], *, bottom: float
    ) -> None:
        self.links, self._columns, self._rows, self._bottom = links, columns, rows, bottom
        self._places = {number: place for place, number in enumerate(rows)}
        spans = self._find_spans()
        self._lanes = {gutter: _share_lanes(found) for gutter, found in spans.items()}
        self._tracks = _share_lanes(self._find_far_spans())

    def gutter_width(self, gutter: int) -> float:
        """The space that the lines beside a column need."""
        return GUTTER + LANE * _count_lanes(self._lanes.get(gutter, {})) + ARROW

    @property
    def lowest(self) -> float:
        """The lower edge of everything."""
        count = _count_lanes(self._tracks)
        return self._bottom + (DEPTH + LANE * count if count else 0.0)

    def is_straight(self, link: Link) -> bool:
        """Whether the target stands right below the source."""
        is_next = self._places[link.target] == self._places[link.source] + 1
        return is_next and self._columns[link.source] == self._columns[link.target]

    def route(self, link: Link, lefts: Sequence[float]) -> list[Point]:
        """The corners of a link that is not straight; `lefts` are the left edges of the layers by column."""
        source, target = link.source, link.target
        start, end = self._columns[source], self._columns[target]
        out, into = self._rows[source] + PORT, self._rows[target] - PORT
        first = self._lane_x(start, source, lefts)
        corners = [(lefts[start] + WIDTH, out), (first, out)]
        if end - start > 1:
            below = self._bottom + DEPTH + LANE * self._tracks[source]
            first = self._lane_x(end - 1, source, lefts)
            corners += [(corners[-1][0], below), (first, below)]
        tip = lefts[end] if end > start else lefts[end] + WIDTH
        return [*corners, (first, into), (tip, into)]

    def _lane_x(self, gutter: int, source: int, lefts: Sequence[float]) -> float:
        return lefts[gutter] + WIDTH + PAD + GUTTER + LANE * self._lanes[gutter][source]

    def _find_spans(self) -> dict[int, list[Span]]:
        """In each gutter what each source needs of a lane."""
        ends: dict[tuple[int, int], list[float]] = {}
        for link in self.links:
            if self.is_straight(link):
                continue
            start, end = self._columns[link.source], self._columns[link.target]
            out, into = self._rows[link.source] + PORT, self._rows[link.target] - PORT
            is_far = end - start > 1
            ends.setdefault((start, link.source), []).extend((out, self._bottom if is_far else into))
            if is_far:
                ends.setdefault((end - 1, link.source), []).extend((self._bottom, into))
        spans: dict[int, list[Span]] = {}
        for (gutter, source), places in ends.items():
            spans.setdefault(gutter, []).append(Span(min(places), max(places), source))
        return spans

    def _find_far_spans(self) -> list[Span]:
        """Below the columns, in gutters, what each source needs of a track."""
        far: dict[int, int] = {}
        for link in self.links:
            if self._columns[link.target] - self._columns[link.source] > 1:
                gutter = self._columns[link.target] - 1
                far[link.source] = max(far.get(link.source, 0), gutter)
        return [Span(self._columns[source], last, source) for source, last in far.items()]


def _share_lanes(spans: Iterable[Span]) -> dict[int, int]:
    """A lane for each source, from the shortest span on, the first lane in which it touches no other."""
    lanes: list[list[Span]] = []
    found: dict[int, int] = {}
    for span in sorted(spans, key=lambda one: (one.high - one.low, one.low)):
        free = (place for place, lane in enumerate(lanes) if not any(_touches(span, one) for one in lane))
        place = next(free, len(lanes))
        lanes[place:] = lanes[place:] or [[]]
        lanes[place].append(span)
        found[span.source] = place
    return found


def _touches(one: Span, other: Span) -> bool:
    return one.low < other.high + CLEARANCE and other.low < one.high + CLEARANCE


def _count_lanes(lanes: Mapping[int, int]) -> int:
    return max(lanes.values(), default=-1) + 1
