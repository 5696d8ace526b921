"""The parts of a page that values become: numbers, cells, tables, folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from yolor_cfg.report.elements import plain, wrap

DASH = "–"
DAMAGES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What a record raises that is not as it was written."""
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


class Cell(NamedTuple):
    """A cell of a table: its HTML, and the number or the text by which rows are sorted."""

    html: str
    key: float | str = ""
    kind: str = ""


class PagePart(NamedTuple):
    """A part of the page: its heading, what makes its content ("" leaves it out), and the heading of the
    group that it belongs to."""

    title: str
    build: Callable[[], str]
    group: str = ""


def format_number(value: Any) -> str:
    """Whole numbers with commas, others with three decimals, or as many as make sense; a dash for none."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    return f"{value:.3g}" if 0 < size < 0.01 else f"{value:,.1f}" if size >= 100 else f"{value:.3f}"


def format_seconds(seconds: float) -> str:
    """`45.2 s`, `12.5 min`, `3.4 h`."""
    for length, name in UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.3g} s"


def number_cell(value: Any, digits: int | None = None) -> Cell:
    """A cell with a number; COCO's -1 and None are a dash, and last in any order."""
    if value is None or value == -1 or not math.isfinite(value):
        return Cell(DASH, -math.inf, "number")
    text = format_number(value) if digits is None else f"{value:.{digits}f}"
    return Cell(text, float(value), "number")


def text_cell(value: object) -> Cell:
    """A cell with text."""
    text = " ".join(str(value).split())
    return Cell(plain(text), text.lower())


def to_cell(value: Any) -> Cell:
    """A cell of a table; text and numbers become one."""
    if isinstance(value, Cell):
        return value
    return text_cell(value) if isinstance(value, str) else number_cell(value)


def bar_of(value: Any, *, most: float = 1.0, digits: int = 3) -> Cell:
    """A number from 0 to `most` with a bar behind it."""
    cell = number_cell(value, digits)
    share = max(0.0, min(1.0, cell.key / most)) if isinstance(cell.key, float) and most else 0.0
    return cell._replace(html=f'<i style="--share:{share:.3f}"></i><b>{cell.html}</b>', kind="number bar")


def change_of(value: float | None, *, is_score: bool) -> Cell:
    """A difference with its sign; that of a score, of which more is better, is coloured."""
    if value is None or not math.isfinite(value):
        return Cell(DASH, -math.inf, "number")
    text = f"{value:+,.1f}" if abs(value) >= 100 else f"{value:+.3f}"
    is_same = not any(letter in "123456789" for letter in text)
    kind = "same" if is_same else "" if not is_score else "up" if value > 0 else "down"
    return Cell(text, value, f"number {kind}".rstrip())


def write_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, sortable: bool = False, id_: str | None = None
) -> str:
    """A table; a sortable one has buttons in its header."""
    made = [[to_cell(value) for value in row] for row in rows]
    kinds = [cell.kind.partition(" ")[0] for cell in made[0]] if made else [""] * len(header)
    head = "".join(
        wrap("th", _sort_button(text) if sortable else plain(text), scope="col", class_=kind or None)
        for text, kind in zip(header, kinds, strict=True)
    )
    body = "".join(wrap("tr", "".join(map(_write_cell, row))) for row in made)
    whole = wrap(
        "table", wrap("thead", wrap("tr", head)) + wrap("tbody", body), id=id_, class_=_sorting(sortable)
    )
    return wrap("div", whole, class_="scroll")


def _sorting(sortable: bool) -> str | None:
    return "sortable" if sortable else None


def _sort_button(text: str) -> str:
    return wrap("button", plain(text), type="button")


def _write_cell(cell: Cell) -> str:
    key = cell.key if isinstance(cell.key, str) else f"{cell.key:.9g}"
    return wrap("td", cell.html, class_=cell.kind or None, data_sort=key)


def write_pairs(items: Iterable[tuple[str, object]]) -> str:
    """Names with their values; those without one are left out."""
    rows = ((name, value) for name, value in items if value not in (None, "", [], ()))
    return wrap("dl", "".join(wrap("dt", plain(name)) + wrap("dd", plain(value)) for name, value in rows))


def paragraph(text: str, class_: str | None = None) -> str:
    """A paragraph of plain text."""
    return wrap("p", plain(text), class_=class_)


def fold_content(title: str, content: str) -> str:
    """Content behind a title that opens it."""
    return wrap("details", wrap("summary", plain(title)) + content)


def list_lines(lines: Sequence[str]) -> str:
    """The lines as they were printed."""
    return wrap("pre", plain("\n".join(lines))) if lines else ""


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Figures in large type: name, figure, and a remark."""
    return wrap(
        "div",
        "".join(
            wrap("div", wrap("b", plain(figure)) + wrap("span", plain(name)) + wrap("small", plain(more)))
            for name, figure, more in items
        ),
        class_="tiles",
    )
