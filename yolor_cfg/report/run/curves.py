"""Curves of a page: what its script draws, as plain values, and the places where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yolor_cfg.images.draw import class_color
from yolor_cfg.report.elements import plain, wrap

PALETTE = (
    *("#2f7ed8", "#d9480f", "#2b8a3e", "#9c36b5", "#c08a00", "#0b8c9a", "#c2255c", "#6a8a1f", "#7b6cf0"),
    "#868e96",
)
"""Readable on light and on dark ground."""
MOST_NAMED = 20
"""Of more curves the thin ones have no line in the legend; one at a time can be chosen."""
Points = Sequence[float | None]


class Curve(NamedTuple):
    """A line over the common x; None where it has no point. A `faint` one is thin; without a colour it has
    that of text."""

    name: str
    y: Points
    color: str
    faint: bool = False


class Plot(NamedTuple):
    """Curves over x, with vertical lines at the marks: (x, name). `unit` is the kind of numbers at the left,
    `span` their least and largest, None: those of the curves."""

    title: str
    x_name: str
    x: Sequence[float]
    curves: Sequence[Curve]
    unit: str = ""
    span: tuple[float, float] | None = None
    marks: Sequence[tuple[float, str]] = ()
    points: bool = False
    """Whether a curve has a dot for each of its values."""


class Plots:
    """All curves of a page; each is drawn in a place that `add` makes. `tables` says, for the number of a
    data set, in which plots its classes have P, R and F1 by confidence, and which classes these are."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.tables: dict[str, dict[str, Any]] = {}

    def add(self, plot: Plot) -> str:
        """The place of a plot; nothing for one without any point."""
        if not any(value is not None for curve in plot.curves for value in curve.y):
            return ""
        number = len(self.made)
        self.made.append({**plot._asdict(), "curves": [curve._asdict() for curve in plot.curves]})
        chooser = _choose_curve(plot) if _is_crowded(plot) else ""
        place = wrap("div", class_="curves", data_plot=number)
        head = wrap("figcaption", wrap("span", plain(plot.title)) + chooser)
        return wrap("figure", head + place, class_="plot")


def _is_crowded(plot: Plot) -> bool:
    return sum(curve.faint for curve in plot.curves) > MOST_NAMED


def _choose_curve(plot: Plot) -> str:
    """A list from which one of many faint curves is chosen."""
    names = [(place, curve.name) for place, curve in enumerate(plot.curves) if curve.faint]
    options = wrap("option", "all classes", value="")
    options += "".join(wrap("option", plain(name), value=place) for place, name in names)
    return wrap("select", options, class_="chooser", aria_label="Show one class")


def palette_color(place: int) -> str:
    """A colour for each of a few curves."""
    return PALETTE[place % len(PALETTE)]


def class_hex(class_id: int) -> str:
    """The colour of a class, as in images of detections."""
    return "#{:02x}{:02x}{:02x}".format(*class_color(class_id))


def rows_to_curves(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[Curve]:
    """A curve for each of these columns."""
    return [
        Curve(name, [row.get(name) for row in rows], palette_color(place)) for place, name in enumerate(names)
    ]


def class_curves(found: Mapping[str, Any], names: Sequence[str], *, word: str, mean: str) -> list[Curve]:
    """The curves of the classes of `evaluate.facts`, those of the table `word`, and their mean."""
    each = zip(found["classes"], found["each"][word], strict=True)
    curves = [Curve(names[k], row, class_hex(k), faint=True) for k, row in each]
    return [*curves, Curve(mean, found["mean"][word], "")]
