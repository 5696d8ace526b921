"""Where everything stands.

Networks are nearly chains, so layers stand one below the other in cfg order, and only what skips a layer
needs a line: beside its column, or below all columns to one further on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from yolor_cfg.report.picture.columns import (
    GAP,
    HEADER,
    MARGIN,
    PAD,
    PITCH,
    ROW,
    WIDTH,
    Piece,
    choose_columns,
    column_height,
)
from yolor_cfg.report.picture.types import Layer, Link, Picture
from yolor_cfg.report.picture.wires import Point, Wires

SPINE = 17.0
"""From the left edge of a layer to the line that leads down to the next one."""


class Rectangle(NamedTuple):
    """A rectangle: its upper left corner, its size."""

    x: float
    y: float
    width: float
    height: float


class Card(NamedTuple):
    """A stage, or a piece of one, in its column."""

    piece: Piece
    box: Rectangle


class Spot(NamedTuple):
    """A layer and its place."""

    layer: Layer
    box: Rectangle


class Wire(NamedTuple):
    """A link with the corners of its line; the last one is its tip."""

    link: Link
    points: tuple[Point, ...]


class Arrangement(NamedTuple):
    """A picture with its places, in pixels."""

    picture: Picture
    width: float
    height: float
    cards: tuple[Card, ...]
    spots: tuple[Spot, ...]
    lines: tuple[Wire, ...]


def arrange(picture: Picture) -> Arrangement:
    """The picture laid out."""
    columns = choose_columns(picture.stages)
    tops = {index: top for pieces in columns for index, top in _stack(pieces)}
    column_of = {
        layer.number: number
        for number, pieces in enumerate(columns)
        for piece in pieces
        for layer in piece.layers
    }
    bottom = MARGIN + max(map(column_height, columns))
    wires = Wires(
        picture.links, column_of, {index: top + ROW / 2 for index, top in tops.items()}, bottom=bottom
    )
    lefts = _find_lefts(len(columns), wires)
    cards = tuple(card for left, pieces in zip(lefts, columns, strict=False) for card in _place(left, pieces))
    boxes = {index: Rectangle(lefts[column_of[index]], top, WIDTH, ROW) for index, top in tops.items()}
    lines = tuple(_draw(link, wires, (lefts, boxes)) for link in picture.links)
    spots = tuple(Spot(layer, boxes[layer.number]) for layer in picture.layers)
    return Arrangement(picture, lefts[-1] - PAD - MARGIN / 2, wires.lowest + MARGIN, cards, spots, lines)


def _stack(pieces: Sequence[Piece]) -> Iterator[tuple[int, float]]:
    """The upper edge of each layer of a column."""
    for card in _place(0.0, pieces):
        for place, layer in enumerate(card.piece.layers):
            yield layer.number, card.box.y + HEADER + place * PITCH


def _place(left: float, pieces: Sequence[Piece]) -> Iterator[Card]:
    """The cards of a column whose layers have this left edge."""
    top = MARGIN
    for piece in pieces:
        yield Card(piece, Rectangle(left - PAD, top, WIDTH + 2 * PAD, piece.height))
        top += piece.height + GAP


def _find_lefts(count: int, wires: Wires) -> list[float]:
    """The left edge of the layers of each column, and that of one more."""
    lefts = [MARGIN + PAD]
    for number in range(count):
        lefts.append(lefts[-1] + WIDTH + 2 * PAD + wires.gutter_width(number))
    return lefts


def _draw(link: Link, wires: Wires, places: tuple[list[float], Mapping[int, Rectangle]]) -> Wire:
    """The line of a link; `places` are the left edges of columns and the boxes of layers."""
    lefts, boxes = places
    if not wires.is_straight(link):
        return Wire(link, tuple(wires.route(link, lefts)))
    above, below = boxes[link.source], boxes[link.target]
    is_in_card = below.y - above.y < PITCH + 1
    tip = below.y if is_in_card else below.y - HEADER
    return Wire(link, ((above.x + SPINE, above.y + ROW), (above.x + SPINE, tip)))
