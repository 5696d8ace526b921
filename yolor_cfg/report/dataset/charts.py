"""Charts as SVG text: bars, histograms, maps. Their colours come from the style of the page."""

from __future__ import annotations

from collections.abc import Sequence

from yolor_cfg.data.types import Integers
from yolor_cfg.report.elements import plain, wrap, wrap_svg

ROW, LETTERS = 22, 22
"""Pixels of a bar with its space; characters of a name beside it."""
BARS, WIDE = 1080, 520
"""Pixels across of bars, and of a histogram."""
PARTS = ("bar2", "bar", "bar3")
"""Styles of the parts of a bar."""
LEFT, RIGHT, BASE = 44, 8, 170
"""Of a histogram: where its bars begin, what is free behind them, and the height of their foot."""
NAMED = 9
"""Labels below a histogram, about."""


def bars_svg(rows: Sequence[tuple[str, Sequence[int]]]) -> str:
    """A bar for each name, in up to three parts one behind the other, and their sum at its end."""
    most = max((sum(parts) for _, parts in rows), default=0) or 1
    left, room = 170, BARS - 170 - 80
    lines = []
    for number, (name, parts) in enumerate(rows):
        y, x = number * ROW, float(left)
        lines.append(_text(left - 8, y + 15, _cut(name), anchor="end"))
        for style, part in zip(PARTS, parts, strict=False):
            width = room * part / most
            lines.append(_bar(x, y + 3, (width, ROW - 6), style=style, tip=f"{name}: {part:,}"))
            x += width
        lines.append(_text(x + 6, y + 15, f"{sum(parts):,}", class_="faint"))
    return wrap_svg(BARS, len(rows) * ROW, lines)


def histogram_svg(counts: Sequence[int], labels: Sequence[str], *, x_label: str) -> str:
    """A column for each count, named below as far as there is room."""
    most = max(counts, default=0) or 1
    step = (WIDE - LEFT - RIGHT) / max(1, len(counts))
    every = max(1, round(len(counts) / NAMED))
    lines = [
        wrap("line", class_="line", x1=LEFT, x2=WIDE - RIGHT, y1=f"{y:g}", y2=f"{y:g}")
        + _text(LEFT - 6, y + 4, f"{most * share:,.12g}", anchor="end", class_="faint")
        for share in (0, 0.5, 1)
        for y in (BASE - 150 * share,)
    ]
    for number, (count, label) in enumerate(zip(counts, labels, strict=True)):
        height, x = 150 * count / most, LEFT + number * step
        lines.append(_bar(x + step * 0.08, BASE - height, (step * 0.84, height), tip=f"{label}: {count:,}"))
        if number % every == 0:
            lines.append(_text(x + step / 2, BASE + 16, label, anchor="middle", class_="faint"))
    lines.append(_text((LEFT + WIDE) / 2, BASE + 36, x_label, anchor="middle"))
    return wrap_svg(WIDE, BASE + 44, lines)


def map_svg(counts: Integers, *, side: int = 320) -> str:
    """A square of cells [rows, columns], each as dark as its count."""
    most, cell = int(counts.max(initial=0)) or 1, side / max(counts.shape)
    lines = [
        _cell(column * cell, row * cell, cell, share=count / most, tip=f"{count:,}")
        for (row, column), count in _entries(counts)
    ]
    lines.append(wrap("rect", class_="frame", x=0.5, y=0.5, width=side - 1, height=side - 1))
    return wrap_svg(side, side, lines)


def matrix_svg(counts: Integers, names: Sequence[str]) -> str:
    """A square of counts [K, K], each as dark as its share of the row's diagonal; names at both sides."""
    cell, left, top = 26 if len(names) <= 12 else 17, 150, 90
    lines = []
    for number, name in enumerate(names):
        at = number * cell + cell / 2
        lines.append(_text(left - 8, top + at + 4, _cut(name), anchor="end"))
        turn = f"rotate(-50 {left + at:g} {top - 6})"
        lines.append(_text(left + at, top - 6, _cut(name, 14), transform=turn))
    for (row, column), count in _entries(counts):
        share, place = count / max(1, int(counts[row, row])), (left + column * cell, top + row * cell)
        tip = f"{names[row]} and {names[column]}: {count:,} images, {share:.0%} of those with {names[row]}"
        lines.append(_cell(*place, cell, share=share, tip=tip))
    side = cell * len(names)
    lines.append(wrap("rect", class_="frame", x=left, y=top, width=side, height=side))
    return wrap_svg(left + side + 90, top + side + 4, lines)


def _entries(counts: Integers) -> list[tuple[tuple[int, int], int]]:
    """The places of a table that are not 0, with what stands there."""
    places = zip(*(axis.tolist() for axis in counts.nonzero()), strict=True)
    return [((row, column), int(counts[row, column])) for row, column in places]


def _cell(x: float, y: float, side: float, *, share: float, tip: str) -> str:
    color = f"fill: rgba(var(--cell), {0.06 + 0.94 * share:.3f})"
    place = {"x": f"{x:g}", "y": f"{y:g}", "width": f"{side:g}", "height": f"{side:g}"}
    return wrap("rect", wrap("title", plain(tip)), **place, style=color)


def _bar(x: float, y: float, size: tuple[float, float], *, tip: str, style: str = "bar") -> str:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{size[0]:.1f}", "height": f"{size[1]:.1f}"}
    return wrap("rect", wrap("title", plain(tip)), class_=style, **place, rx=1.5)


def _text(x: float, y: float, words: str, *, anchor: str = "start", **more: str) -> str:
    return wrap("text", plain(words), x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, **more)


def _cut(name: str, most: int = LETTERS) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
