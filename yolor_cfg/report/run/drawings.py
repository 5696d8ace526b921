"""Drawings of a page that do not move: bars, and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yolor_cfg.report.elements import plain, wrap
from yolor_cfg.report.run.markup import (
    bar_of,
    format_number,
    paragraph,
    write_table,
)

CELL_SIDES, NUMBERED_SIDE = (10, 34), 20
"""The least and the largest side of a cell in pixels; from which side on it has a number."""
MATRIX_SIDE = 860
MAX_LETTERS = 18
LETTER = 6.2
"""Pixels of a letter."""
BAR_HEIGHT, BAR_WIDTH, MAX_BARS = 18, 420, 100
MOST_CONFUSIONS = 10
MOST_ABSENT = 20
"""A matrix of more classes leaves out those that do not occur."""


def short(name: str) -> str:
    """A name that fits beside a drawing."""
    text = " ".join(name.split())
    return text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "…"


def draw_bars(items: Sequence[tuple[str, float]]) -> str:
    """A bar with its figure for each name; of too many the first ones, and a line that says so."""
    shown = items[:MAX_BARS]
    most = max((value for _, value in shown), default=0) or 1
    left = LETTER * max((len(short(name)) for name, _ in shown), default=0) + 12
    parts = [_draw_bar(*item, place=place, left=left, most=most) for place, item in enumerate(shown)]
    size = f"0 0 {left + BAR_WIDTH + 70:.0f} {BAR_HEIGHT * len(shown)}"
    drawing = wrap("svg", "".join(parts), viewBox=size, width=size.split()[2], class_="bars")
    more = f"the first {len(shown)} of {len(items)}" if len(items) > len(shown) else ""
    return wrap("div", drawing, class_="scroll") + (paragraph(more, "note") if more else "")


def _draw_bar(name: str, value: float, *, place: int, left: float, most: float) -> str:
    y, width = place * BAR_HEIGHT, BAR_WIDTH * max(value, 0) / most
    title = wrap("title", plain(f"{name}: {format_number(value)}"))
    frame = {"x": left, "y": y + 3, "width": f"{width:.1f}", "height": BAR_HEIGHT - 6}
    text = wrap("text", plain(short(name)), x=left - 6, y=y + 13, class_="name")
    figure = wrap("text", format_number(value), x=f"{left + width + 5:.1f}", y=y + 13)
    return text + wrap("rect", title, class_="bar", **frame) + figure


class Matrix(NamedTuple):
    """A confusion matrix: its cells that are not 0 as row, column, count; the names of its rows, which are
    true classes, and of its columns."""

    cells: Sequence[tuple[int, int, int]]
    rows: Sequence[str]
    columns: Sequence[str]

    @property
    def sums(self) -> list[int]:
        """The counts of each row."""
        sums = [0] * len(self.rows)
        for row, _, count in self.cells:
            sums[row] += count
        return sums


def read_matrix(found: Mapping[str, Any], names: Sequence[str]) -> Matrix:
    """The matrix of `evaluate.facts`; that of boxes has a row and a column more than classes. Of many classes
    those without any cell are left out."""
    size = int(found["size"])
    cells = [(int(row), int(column), int(count)) for row, column, count in found["cells"]]
    kept = sorted({place for row, column, _ in cells for place in (row, column)})
    kept = list(range(size)) if size <= MOST_ABSENT else kept
    places = {place: number for number, place in enumerate(kept)}
    rows, columns = ([*names, name] for name in ("background", "missed"))
    return Matrix(
        [(places[row], places[column], count) for row, column, count in cells],
        [rows[place] for place in kept],
        [columns[place] for place in kept],
    )


def draw_confusion(found: Mapping[str, Any], names: Sequence[str], *, said: str) -> str:
    """The matrix of `evaluate.facts`; a cell is as dark as its share of the row. `said` is what the columns
    are: detected or predicted. Beside it stand the most frequent errors."""
    matrix, left_out = read_matrix(found, names), int(found.get("left_out", 0))
    side = min(CELL_SIDES[1], max(CELL_SIDES[0], MATRIX_SIDE // max(len(matrix.rows), 1)))
    absent = int(found["size"]) - len(matrix.rows)
    note = f"Rows are true classes, columns {said} ones. "
    note += f"{absent} classes that neither are there nor were {said} are left out. " if absent else ""
    note += f"{left_out:,} cells with the smallest counts are left out. " if left_out else ""
    switch = wrap("input", type="checkbox", class_="raw") + " counts instead of percents of the true class"
    tools = wrap("label", switch, class_="switch") if side >= NUMBERED_SIDE else ""
    drawing = wrap("div", _draw_matrix(matrix, side), class_="scroll")
    content = wrap("div", tools + drawing) + wrap("div", _list_confusions(matrix))
    return paragraph(note, "note") + wrap("div", content, class_="confusion")


def _draw_matrix(matrix: Matrix, side: int) -> str:
    names, sums = (*matrix.rows, *matrix.columns), matrix.sums
    left = LETTER * max((len(short(name)) for name in names), default=0) + 14
    drawn = [_draw_cell(cell, matrix, whole=sums[cell[0]], side=side) for cell in matrix.cells]
    width = len(matrix.rows) * side
    frame = wrap("rect", width=width, height=width, class_="frame")
    content = frame + "".join(drawn) + _draw_names(matrix, side)
    grid = wrap("g", content, transform=f"translate({left:.0f} {left:.0f})")
    whole = f"{left + width + 4:.0f}"
    return wrap("svg", grid, viewBox=f"0 0 {whole} {whole}", width=whole, class_="matrix")


def _draw_cell(cell: tuple[int, int, int], matrix: Matrix, *, whole: int, side: int) -> str:
    row, column, count = cell
    share, true = count / max(whole, 1), matrix.rows[row]
    title = wrap("title", plain(f"{true} → {matrix.columns[column]}: {count:,} ({share:.1%} of {true})"))
    place = {"x": column * side, "y": row * side}
    square = wrap("rect", title, **place, width=side, height=side, style=f"--share:{share:.3f}")
    if side < NUMBERED_SIDE:
        return square
    middle = {"x": (column + 0.5) * side, "y": (row + 0.5) * side + 4}
    ink = "dark" if share > 0.5 else ""
    shares = wrap("text", f"{share * 100:.0f}", **middle, class_=f"share {ink}")
    return square + shares + wrap("text", _short_count(count), **middle, class_=f"count {ink}")


def _short_count(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _draw_names(matrix: Matrix, side: int) -> str:
    size = min(12, side - 1)
    style, parts = f"font-size:{size}px", []
    for place, (row, column) in enumerate(zip(matrix.rows, matrix.columns, strict=True)):
        middle = (place + 0.5) * side + size / 3
        parts.append(wrap("text", plain(short(row)), x=-6, y=f"{middle:.1f}", class_="name", style=style))
        turn = f"translate({middle:.1f} -6) rotate(-90)"
        parts.append(wrap("text", plain(short(column)), transform=turn, style=style))
    return "".join(parts)


def _list_confusions(matrix: Matrix) -> str:
    """The most frequent errors as a table."""
    wrong = sorted((cell for cell in matrix.cells if cell[0] != cell[1]), key=lambda cell: -cell[2])
    if not wrong:
        return paragraph("No two classes are confused.", "note")
    sums = matrix.sums
    rows = [
        (matrix.rows[row], matrix.columns[column], count, bar_of(count / max(sums[row], 1)))
        for row, column, count in wrong[:MOST_CONFUSIONS]
    ]
    title = f"The most frequent errors: {len(rows)} of {len(wrong)} kinds"
    return paragraph(title, "note") + write_table(("true", "said", "count", "share of the true class"), rows)


def size_bars(numbers: Mapping[str, Any]) -> str:
    """COCO's AP and AR of small, medium and large boxes as a table with bars."""
    sizes = (("small, below 32²", "s"), ("medium", "m"), ("large, from 96²", "l"))
    rows = [(name, bar_of(numbers.get(f"AP{end}")), bar_of(numbers.get(f"AR{end}"))) for name, end in sizes]
    return write_table(("size in pixels of the image", "AP", "AR"), rows)
