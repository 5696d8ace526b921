"""Axes of the chart of implicit knowledge: bars around a start, sizes of anchors, matrices of similarity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from yolor_cfg.analysis.implicit import AnchorRefinement
from yolor_cfg.analysis.similarity import Similarity
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.report.figures import BLUE, DPI, FAINT, GRAY, RED, Ink, mark_empty, number_axis, tick_doublings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

ROUND_NUMBERS = (1, 1.5, 2, 3, 4, 5, 7.5, 10)
COLOR_MAP = "coolwarm"
"""Blue below, grey in the middle, red above."""
MAX_WRITTEN = 16
"""So many numbers are also written out."""
WRITTEN_ROOM = 1.45
"""The height of axes with written numbers, in units of the highest bar."""
MAX_BAR_SPACING, BAR_SHARE = 0.5, 0.75
"""Inches from bar to bar at most, and the part of it that the bar takes."""
MAX_MATRIX_SIDE, MAX_CELL_SIDE, MIN_WRITTEN_CELL = 4.1, 0.55, 0.33
"""Inches of a matrix, of a cell of it, and of a cell that a number fits into."""
SIZE_MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "size": ("anchor in the cfg", {"ls": "", "marker": "|", "color": "black", "ms": 12, "mew": 2}),
    "at_rest": ("at rest: features 0", {"ls": "", "marker": "o", "color": RED, "ms": 5}),
    "without": ("the same without z", {"ls": "", "marker": "o", "color": BLUE, "ms": 8, "mfc": "none"}),
}
"""By field of an anchor: the name in the legend, and the mark."""
MIN_LABEL_SPACING = 0.16
"""Inches between the middles of two names at an axis."""


class Area(NamedTuple):
    """A part of a strip in inches: from its left side, and from its top."""

    left: float
    right: float
    top: float
    bottom: float


class ValueScale(NamedTuple):
    """Values from center - reach to center + reach."""

    center: float
    reach: float

    @staticmethod
    def fit(values: Iterable[Doubles], center: float) -> ValueScale:
        """The least round reach that holds all of the values."""
        most = max((float(np.nanmax(np.abs(part - center), initial=0)) for part in values), default=0)
        if most <= 0 or not math.isfinite(most):
            return ValueScale(center, 1)
        power = 10.0 ** math.floor(math.log10(most))
        return ValueScale(center, next(step * power for step in ROUND_NUMBERS if step * power >= most))

    @property
    def ticks(self) -> tuple[float, float, float]:
        """The ends and the middle."""
        return self.center - self.reach, self.center, self.center + self.reach

    def shades(self, values: Doubles) -> list[Ink]:
        """The colours of values."""
        from matplotlib import colormaps

        rows = np.asarray(colormaps[COLOR_MAP]((values - self.center) / self.reach / 2 + 0.5)).tolist()
        return [(red, green, blue) for red, green, blue, _ in rows]


def write_facts(part: SubFigure, lines: Sequence[str]) -> None:
    """A few words to the left of the axes, the first in black."""
    height = part.bbox.height / DPI
    for number, line in enumerate(lines):
        y = 1 - (0.28 + 0.2 * number) / height
        part.text(0.01, y, line, fontsize=9, va="center", color=GRAY if number else "black")


def draw_bars(part: SubFigure, area: Area, values: Doubles, *, scale: ValueScale) -> Axes:
    """A bar for each value from the middle of the axes; a dot where it is NaN. Few values are written out."""
    axes = _add_axes(part, area)
    _set_up_bars(axes, area, len(values), scale=scale)
    known = ~np.isnan(values)
    if not known.any():
        mark_empty(axes, "not refined")
        return axes
    places = np.arange(len(values))
    first, last = axes.get_xlim()
    points = 72 * (area.right - area.left) / (last - first) * BAR_SHARE
    axes.vlines(places[known], scale.center, values[known], colors=scale.shades(values[known]), lw=points)
    axes.plot(places[~known], np.full((~known).sum(), scale.center), ".", color=FAINT, ms=4)
    for place in places[known].tolist() if len(values) <= MAX_WRITTEN else ():
        _write_value(axes, place, values[place], is_above=values[place] >= scale.center)
    return axes


def _write_value(axes: Axes, place: int, value: float, *, is_above: bool) -> None:
    """The number beyond the end of its bar."""
    shift, side = ((0, 2), "bottom") if is_above else ((0, -2), "top")
    axes.annotate(
        f"{value:.3f}", (place, value), shift, textcoords="offset points", ha="center", va=side, fontsize=7
    )


def _set_up_bars(axes: Axes, area: Area, count: int, *, scale: ValueScale) -> None:
    room = scale.reach * (WRITTEN_ROOM if count <= MAX_WRITTEN else 1)
    places = max(count, round((area.right - area.left) / MAX_BAR_SPACING))  # no bar is wider than that
    axes.set(xlim=(-0.5, places - 0.5), ylim=(scale.center - room, scale.center + room))
    axes.set_yticks(scale.ticks, [f"{tick:.4g}" for tick in scale.ticks])
    axes.grid(True, axis="y")
    axes.axhline(scale.center, color=FAINT, lw=0.8)
    if count <= MAX_WRITTEN:
        axes.set_xticks(range(count))
    else:
        number_axis(axes.xaxis)


def draw_spans(part: SubFigure, *, area: Area, rows: Sequence[tuple[str, AnchorRefinement]]) -> None:
    """A line for the width and one for the height of each anchor, and its sizes as marks on them."""
    axes = _add_axes(part, area)
    anchors = [anchor for _, anchor in rows]
    places = np.arange(2 * len(rows))
    low, high = (np.ravel([anchor.at_units[i] for anchor in anchors]) for i in (0, 2))
    axes.hlines(places, low, high, colors="#d7d7d7", lw=7, label="where z meets -1 to 1")
    for field, (label, style) in SIZE_MARKS.items():
        axes.plot(np.ravel([getattr(anchor, field) for anchor in anchors]), places, label=label, **style)
    axes.set_xscale("log", base=2)
    tick_doublings(axes.xaxis)
    axes.set_yticks(places, [f"{name}  {side}" for name, _ in rows for side in "wh"])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.grid(True, axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)


def matrix_side(pairs: Sequence[Similarity]) -> float:
    """Inches of the side of a matrix."""
    return min(MAX_MATRIX_SIDE, MAX_CELL_SIDE * len(_to_matrix(pairs)[0]))


def draw_matrix(
    part: SubFigure, corner: tuple[float, float], pairs: Sequence[Similarity], *, title: str
) -> None:
    """The cosine of each two things, from -1 to 1; the corner is the upper left one, in inches."""
    names, cosines = _to_matrix(pairs)
    side, (left, top) = matrix_side(pairs), corner
    axes = _add_axes(part, Area(left, left + side, top, top + side))
    image = axes.imshow(cosines, cmap=COLOR_MAP, vmin=-1, vmax=1)
    bar = _add_axes(part, Area(left + side + 0.12, left + side + 0.24, top, top + side))
    part.colorbar(image, cax=bar, ticks=(-1, 0, 1))
    step = math.ceil(MIN_LABEL_SPACING * len(names) / side)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=90)
    axes.set_yticks(range(0, len(names), step), names[::step])
    axes.set_title(title, fontsize=10)
    if side / len(names) >= MIN_WRITTEN_CELL:
        _write_cosines(axes, cosines)


def _write_cosines(axes: Axes, cosines: Doubles) -> None:
    for row, column in np.argwhere(~np.isnan(cosines)).tolist():
        cosine = cosines[row, column]
        ink = "white" if abs(cosine) > 0.7 else "black"
        axes.text(column, row, f"{cosine:.2f}", ha="center", va="center", fontsize=7, color=ink)


def _to_matrix(pairs: Sequence[Similarity]) -> tuple[list[str], Doubles]:
    """The names, and the cosines of their changes [N, N], NaN where two are not compared."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))
    cosines = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(cosines, 1.0)
    for pair in pairs:
        i, j = names.index(pair.a), names.index(pair.b)
        cosines[i, j] = cosines[j, i] = pair.of_change
    return names, cosines


def _add_axes(part: SubFigure, area: Area) -> Axes:
    width, height = part.bbox.width / DPI, part.bbox.height / DPI
    left, bottom = area.left / width, 1 - area.bottom / height
    axes = part.add_axes((left, bottom, (area.right - area.left) / width, (area.bottom - area.top) / height))
    axes.tick_params(labelsize=8)
    return axes
