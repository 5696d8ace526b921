"""A chart as shapes: axes, front lines, marks, names, a legend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yolor_cfg.report.picture.colors import TASKS
from yolor_cfg.report.scatter.labels import LETTER, UP, Placed, place_labels
from yolor_cfg.report.scatter.scales import Scale, fit_scale
from yolor_cfg.report.scatter.types import Dot, Drawing, Mark, Region, Scatter, Stroke, Words

WIDTH, HEIGHT = 960.0, 600.0
LEFT, RIGHT, TOP, BOTTOM = 74.0, 28.0, 62.0, 58.0
LEGEND_LINE, TICK_GAP = 20.0, 8.0
MAX_NAME = 28
X_TICKS, Y_TICKS = 8, 7


class _Field(NamedTuple):
    """Where the marks are drawn, and the scales of both axes."""

    frame: Region
    x: Scale
    y: Scale

    def spot(self, mark: Mark) -> tuple[float, float]:
        return self.x.place(mark.x), self.y.place(mark.y)


def draw_scene(chart: Scatter) -> Drawing:
    """The shapes of the chart. Marks of the front choose the places of their names first; a name that finds
    none is left out, and the chart says how many are."""
    legend = _arrange_legend(chart)
    top = TOP + LEGEND_LINE * (max((row for row, _, _ in legend), default=0) + 1 if legend else 0)
    frame = Region(LEFT, top, WIDTH - RIGHT, HEIGHT - BOTTOM)
    x = fit_scale([mark.x for mark in chart.marks], frame.left, frame.right, may_bend=True)
    y = fit_scale([mark.y for mark in chart.marks], frame.bottom, frame.top, may_bend=False)
    field = _Field(frame, x, y)
    marks = sorted(chart.marks, key=lambda mark: (not mark.is_front, mark.x))
    fronts = tuple(_draw_fronts(chart, field))
    placed = place_labels(
        [field.spot(mark) for mark in marks],
        [_shorten(mark.name) for mark in marks],
        frame=frame,
        lines=[front.points for front in fronts],
    )
    names = list(zip(marks, placed, strict=True))
    return Drawing(
        WIDTH,
        HEIGHT,
        chart.title,
        (*_draw_grid(chart, field), *fronts, *_draw_leaders(names, field)),
        (*_draw_dots(marks, field), *_legend_dots(legend)),
        (
            *_write_axes(chart, field),
            *_write_names(names, field),
            *_write_legend(legend),
            *_write_missing(placed),
        ),
    )


def group_color(group: int) -> str:
    """The colour of a group, on light and on dark ground; more than six start again."""
    return TASKS[group % len(TASKS)]


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _draw_grid(chart: Scatter, field: _Field) -> Iterator[Stroke]:
    frame = field.frame
    for value in field.x.ticks(X_TICKS):
        place = field.x.place(value)
        yield Stroke("grid", ((place, frame.top), (place, frame.bottom)))
    for value in field.y.ticks(Y_TICKS):
        place = field.y.place(value)
        yield Stroke("grid", ((frame.left, place), (frame.right, place)))
    yield Stroke("axis", ((frame.left, frame.bottom), (frame.right, frame.bottom)))


def _draw_fronts(chart: Scatter, field: _Field) -> Iterator[Stroke]:
    """For each group a line through its front."""
    for group in range(len(chart.groups)):
        front = sorted(mark[1:3] for mark in chart.marks if mark.is_front and mark.group == group)
        points = tuple((field.x.place(x), field.y.place(y)) for x, y in front)
        if len(points) > 1:
            yield Stroke("front", points, group_color(group))


def _draw_leaders(names: list[tuple[Mark, Placed | None]], field: _Field) -> Iterator[Stroke]:
    for mark, placed in names:
        if placed and placed.has_leader:
            spot = field.spot(mark)
            yield Stroke("leader", (spot, placed.region.nearest(*spot)))


def _draw_dots(marks: list[Mark], field: _Field) -> Iterator[Dot]:
    """The marks, those of the front on top."""
    for mark in reversed(marks):
        told = mark.told or mark.name
        yield Dot(*field.spot(mark), group_color(mark.group), mark.is_front, told)


def _write_axes(chart: Scatter, field: _Field) -> Iterator[Words]:
    frame = field.frame
    yield Words("heading", LEFT, 34, chart.title)
    for value in field.x.ticks(X_TICKS):
        yield Words("tick", field.x.place(value), frame.bottom + 18, chart.x.write(value), "middle")
    for value in field.y.ticks(Y_TICKS):
        yield Words("tick", frame.left - TICK_GAP, field.y.place(value) + 4, chart.y.write(value), "end")
    scale = ", logarithmic" if field.x.is_log else ""
    yield Words("axis", (frame.left + frame.right) / 2, HEIGHT - 14, chart.x.title + scale, "middle")
    yield Words("axis", 20, (frame.top + frame.bottom) / 2, chart.y.title, "middle", is_upright=True)


def _write_names(names: list[tuple[Mark, Placed | None]], field: _Field) -> Iterator[Words]:
    """Each from the end that is nearer to its mark, so that it is as near whatever the font."""
    for mark, placed in names:
        if placed is None:
            continue
        x, region = field.spot(mark)[0], placed.region
        places = {"start": region.left, "middle": (region.left + region.right) / 2, "end": region.right}
        anchor = "start" if region.left >= x else "end" if region.right <= x else "middle"
        yield Words("name", places[anchor], region.top + UP, _shorten(mark.name), anchor)


def _write_missing(placed: list[Placed | None]) -> Iterator[Words]:
    missing = sum(one is None for one in placed)
    if missing:
        text = f"no room for {missing} of {len(placed)} names"
        yield Words("faint", WIDTH - RIGHT, 34, text, "end")


LegendRow = tuple[int, float, tuple[str, bool, str]]
"""Its line, its x, and colour, whether it is filled, and what it means."""


def _arrange_legend(chart: Scatter) -> list[LegendRow]:
    """The groups where there are several or they have a name, and the rings of what is dominated."""
    items = [(group_color(i), True, name) for i, name in enumerate(chart.groups) if name]
    if not all(mark.is_front for mark in chart.marks):
        items.append((group_color(0), False, "another costs no more and reaches no less"))
    rows: list[LegendRow] = []
    line, x = 0, LEFT
    for item in items:
        width = 22 + LETTER * len(item[2])
        if x > LEFT and x + width > WIDTH - RIGHT:
            line, x = line + 1, LEFT
        rows.append((line, x, item))
        x += width + 18
    return rows


def _legend_dots(legend: list[LegendRow]) -> Iterator[Dot]:
    for line, x, (color, is_filled, _) in legend:
        yield Dot(x + 6, 54 + LEGEND_LINE * line, color, is_filled)


def _write_legend(legend: list[LegendRow]) -> Iterator[Words]:
    for line, x, (_, _, text) in legend:
        yield Words("faint", x + 18, 58 + LEGEND_LINE * line, text)
