"""Where the names of marks stand: beside them, further off with a line where that is taken, or nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from yolor_cfg.report.scatter.types import Region

Pixel = tuple[float, float]
LETTER, UP, DOWN = 6.9, 10.0, 3.5
"""The width of a letter, and how far a line of text reaches above and below its base line."""
RADIUS = 6.0
DISTANCES = (5.0, 14.0, 26.0, 40.0, 58.0, 80.0)
DIRECTIONS = 16
LEADER = 12.0
"""From this distance on a line leads from the mark to its name."""
CROSSING, COVERING, NEAR_REGION = 40.0, 9.0, 2.0
"""What it costs, in pixels of distance, to lead across something, or to cover a part of a line."""
PIECE = 6.0
"""Pixels between the points that stand for a line."""


class Placed(NamedTuple):
    """The region of a name, and whether a line leads to it."""

    region: Region
    has_leader: bool


class Taken(NamedTuple):
    """What names have to stand clear of: the frame around all, marks, points of lines; names before them."""

    frame: Region
    marks: dict[Pixel, Region]
    lines: Sequence[Pixel]
    names: list[Region]


def place_labels(
    spots: Sequence[Pixel], texts: Sequence[str], *, frame: Region, lines: Sequence[Sequence[Pixel]] = ()
) -> list[Placed | None]:
    """For each spot the place of its text, within the frame and free of all spots and of other texts, and of
    lines where that can be; None where there is none. The first spots choose first."""
    points = [point for line in lines for point in _divide(line)]
    taken = Taken(frame, {spot: around(*spot) for spot in spots}, points, [])
    found: list[Placed | None] = []
    for spot, text in zip(spots, texts, strict=True):
        best = _choose(spot, text, taken)
        found.append(best)
        taken.names.extend([best.region.grow(NEAR_REGION)] if best else [])
    return found


def _choose(spot: Pixel, text: str, taken: Taken) -> Placed | None:
    """The best free place; those further off than it costs already are not tried."""
    best, least = None, math.inf
    for one in _list_places(spot, text):
        if math.dist(one.region.nearest(*spot), spot) < least and _is_free(one.region, taken):
            cost = _cost(one, spot, taken)
            best, least = (one, cost) if cost < least else (best, least)
    return best


def _divide(line: Sequence[Pixel]) -> Iterator[Pixel]:
    """Points close together along a line."""
    for (x, y), (to_x, to_y) in pairwise(line):
        count = int(math.hypot(to_x - x, to_y - y) / PIECE) + 1
        yield from ((x + (to_x - x) * i / count, y + (to_y - y) * i / count) for i in range(count))


def _list_places(spot: Pixel, text: str) -> Iterator[Placed]:
    """Regions around the spot, to the right first."""
    x, y = spot
    width, height = LETTER * len(text), UP + DOWN
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            turn = 2 * math.pi * step / DIRECTIONS
            away, down = math.cos(turn), -math.sin(turn)
            # The region touches the circle around the mark with the side or corner that faces it.
            left = x + (RADIUS + distance) * away - width * (1 - away) / 2
            top = y + (RADIUS + distance) * down - height * (1 - down) / 2
            yield Placed(Region(left, top, left + width, top + height), distance >= LEADER)


def _is_free(region: Region, taken: Taken) -> bool:
    frame = taken.frame
    is_inside = region.left >= frame.left and region.right <= frame.right
    is_inside = is_inside and region.top >= frame.top and region.bottom <= frame.bottom
    return is_inside and not any(region.overlap(other) for other in (*taken.names, *taken.marks.values()))


def around(x: float, y: float) -> Region:
    """The region of a mark."""
    return Region(x, y, x, y).grow(RADIUS)


def _cost(one: Placed, spot: Pixel, taken: Taken) -> float:
    """How far off it is, what it covers, and what its line would cross."""
    end = one.region.nearest(*spot)
    distance = math.dist(end, spot)
    aside = 3.0 * (one.region.left < spot[0])  # to the right of the mark where it is as good
    covered = COVERING * sum(one.region.holds(*point) for point in taken.lines)
    if not one.has_leader:
        return distance + aside + covered
    way = [*_divide((spot, end)), end]
    others = [*taken.names, *(region for other, region in taken.marks.items() if other != spot)]
    crossed = sum(any(other.holds(*point) for point in way) for other in others)
    return distance + aside + covered + CROSSING * crossed
