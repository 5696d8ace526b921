"""Stages in columns of about the shape of a screen, read one after the other like those of a newspaper.

Lengths are in pixels at scale 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yolor_cfg.report.picture.types import Layer, Stage

SCREEN_WIDTH, SCREEN_HEIGHT = 1600.0, 900.0
"""The space that a picture should fill well."""
ROW, PITCH, WIDTH = 21.0, 26.0, 246.0
"""Height of a layer, from one to the next, width."""
HEADER, PAD, GAP, MARGIN = 34.0, 8.0, 16.0, 24.0
"""Of a stage: height of its title, space inside, space to the next; and around everything."""
TYPICAL_GUTTER = 60.0
FEWEST_ROWS, TEAR_LOSS, STEP = 4, 0.96, 1.06
"""A stage is not torn into pieces with fewer rows; the scale that a tear costs; from height to height."""


class Piece(NamedTuple):
    """A stage, or layers of one that continue it in another column."""

    stage: Stage
    layers: tuple[Layer, ...]
    is_continued: bool = False

    @property
    def height(self) -> float:
        """Its height in a column."""
        return HEADER + len(self.layers) * PITCH - (PITCH - ROW) + PAD


Columns = list[list[Piece]]


def choose_columns(stages: Sequence[Stage]) -> Columns:
    """The columns with which the picture is largest on a screen, few stages torn apart."""
    found: list[tuple[float, Columns]] = []
    tallest, whole = HEADER + FEWEST_ROWS * PITCH, column_height([Piece(one, one.layers) for one in stages])
    while not found or tallest < whole * STEP:
        for is_torn in (False, True):
            columns = _fill_columns(stages, tallest, is_torn=is_torn)
            found.append((_scale(columns, len(stages)), columns))
        tallest *= STEP
    return max(found, key=lambda pair: pair[0])[1]


def column_height(pieces: Sequence[Piece]) -> float:
    """The height of a column with these pieces."""
    return sum(piece.height for piece in pieces) + GAP * max(len(pieces) - 1, 0)


def _scale(columns: Columns, stages: int) -> float:
    """How large a picture with these columns is on a screen, less for each tear."""
    width = len(columns) * (WIDTH + 2 * PAD + TYPICAL_GUTTER) + 2 * MARGIN
    height = max(map(column_height, columns)) + 3 * MARGIN
    tears = sum(map(len, columns)) - stages
    return min(SCREEN_WIDTH / width, SCREEN_HEIGHT / height) * TEAR_LOSS**tears


def _fill_columns(stages: Sequence[Stage], tallest: float, *, is_torn: bool) -> Columns:
    """Groups one below the other up to a height; one that does not fit is torn, or starts the next column,
    as without `is_torn` all do that are not higher than a column."""
    columns: Columns = [[]]
    for stage in stages:
        rest = Piece(stage, stage.layers)
        while rest.layers:
            above = column_height(columns[-1]) + GAP if columns[-1] else 0.0
            is_kept = not is_torn and above > 0 and tallest - above < rest.height <= tallest
            count = 0 if is_kept else _count_fitting(rest, tallest - above, is_alone=not columns[-1])
            if count:
                columns[-1].append(rest._replace(layers=rest.layers[:count]))
                rest = Piece(stage, rest.layers[count:], is_continued=True)
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
