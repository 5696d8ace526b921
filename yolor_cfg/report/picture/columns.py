"""Groups in columns of about the shape of a screen, read one after the other like those of a newspaper.

Lengths are in pixels at scale 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yolor_cfg.report.picture.types import Group, Layer

SCREEN_WIDTH, SCREEN_HEIGHT = 1600.0, 900.0
"""The space that a picture should fill well."""
ROW, PITCH, WIDTH = 21.0, 26.0, 246.0
"""Height of a layer, from one to the next, width."""
HEADER, PAD, GAP, MARGIN = 34.0, 8.0, 16.0, 24.0
"""Of a group: height of its title, space inside, space to the next; and around everything."""
TYPICAL_GUTTER = 60.0
FEWEST_ROWS, TEAR_LOSS, STEP = 4, 0.97, 1.06
"""A group is not torn into pieces with fewer rows; each tear is worth this factor of scale; heights to try."""


class Piece(NamedTuple):
    """A group, or layers of one that continue it in another column."""

    group: Group
    layers: tuple[Layer, ...]
    is_continued: bool = False

    @property
    def height(self) -> float:
        """Its height in a column."""
        return HEADER + len(self.layers) * PITCH - (PITCH - ROW) + PAD


Columns = list[list[Piece]]


def choose_columns(groups: Sequence[Group]) -> Columns:
    """The columns with which the picture is largest on a screen, few groups torn apart."""
    found = []
    tallest, whole = HEADER + FEWEST_ROWS * PITCH, column_height([Piece(one, one.layers) for one in groups])
    while not found or tallest < whole * STEP:
        columns = _fill_columns(groups, tallest)
        found.append((_scale(columns, len(groups)), columns))
        tallest *= STEP
    return max(found, key=lambda pair: pair[0])[1]


def column_height(pieces: Sequence[Piece]) -> float:
    """The height of a column with these pieces."""
    return sum(piece.height for piece in pieces) + GAP * max(len(pieces) - 1, 0)


def _scale(columns: Columns, groups: int) -> float:
    """How large a picture with these columns is on a screen, less for each tear."""
    width = len(columns) * (WIDTH + 2 * PAD + TYPICAL_GUTTER) + 2 * MARGIN
    height = max(map(column_height, columns)) + 3 * MARGIN
    tears = sum(map(len, columns)) - groups
    return min(SCREEN_WIDTH / width, SCREEN_HEIGHT / height) * TEAR_LOSS**tears


def _fill_columns(groups: Sequence[Group], tallest: float) -> Columns:
    """Groups one below the other up to a height; one that does not fit is torn, or starts the next column."""
    columns: Columns = [[]]
    for group in groups:
        rest = Piece(group, group.layers)
        while rest.layers:
            above = column_height(columns[-1]) + GAP if columns[-1] else 0.0
            count = _count_fitting(rest, tallest - above, is_alone=not columns[-1])
            if count:
                columns[-1].append(rest._replace(layers=rest.layers[:count]))
                rest = Piece(group, rest.layers[count:], is_continued=True)
            if rest.layers:
                columns.append([])
    return columns


def _count_fitting(piece: Piece, room: float, *, is_alone: bool) -> int:
    """The layers of a piece to put into a room; none if that would tear off too few."""
    if piece.height <= room:
        return len(piece.layers)
    fitting = min(int((room - HEADER - PAD) // PITCH), len(piece.layers) - FEWEST_ROWS)
    if fitting >= FEWEST_ROWS:
        return fitting
    return min(FEWEST_ROWS, len(piece.layers)) if is_alone else 0
