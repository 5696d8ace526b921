"""The charts of a test: figures of each class as curves, and the confusion matrix.

Legend: K classes, X places on the horizontal axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.report.figures import (
    BLUE,
    FAINT,
    GRAY,
    Chart,
    Rows,
    add_legend,
    class_ink,
    mark_empty,
    shorten_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MAX_NAMED_CURVES = 20
"""Up to so many classes each have a colour and a line in the legend."""
MATRIX_SIDE, MAX_CELL_SIDE = 11.0, 0.75
"""Inches of a confusion matrix at most, and of one of its cells."""
MIN_NUMBER_POINTS = 5.5
"""The smallest size of readable numbers."""
DIGIT_WIDTH = 0.64
"""Of a digit, in units of its font size."""


class ClassCurves(NamedTuple):
    """A curve for each class: x [X], y [K, X], a row of NaN for a class that has none; both from 0 to 1."""

    title: str
    x_label: str
    y_label: str
    x: Doubles
    y: Doubles
    names: Sequence[str]
    mark: float | None = None
    """A place on the horizontal axis that a line shows."""

    @property
    def present_ids(self) -> list[int]:
        """The classes that have a curve."""
        return np.flatnonzero(~np.isnan(self.y).all(axis=1)).tolist()

    @property
    def mean(self) -> Doubles:
        """The mean curve [X] of the classes that have one; NaN where none has."""
        present = self.y[self.present_ids]
        return present.mean(axis=0) if len(present) else np.full(len(self.x), np.nan)

    @property
    def rows(self) -> Rows:
        """As a table with a column for each class and one for their mean."""
        yield (self.x_label, *self.names, "all")
        yield from np.column_stack([self.x, self.y.T, self.mean]).tolist()


def curves_chart(curves: ClassCurves, mean_name: str) -> Chart:
    """A thin curve for each class and a thick one for their mean."""
    return Chart(partial(_draw_curves, curves=curves, mean_name=mean_name))


def _draw_curves(figure: Figure, *, curves: ClassCurves, mean_name: str) -> None:
    axes = figure.subplots()
    if curves.present_ids:
        lines, labels = _draw_classes(axes, curves)
        (mean,) = axes.plot(curves.x, curves.mean, color=BLUE, lw=3)
        add_legend(figure, [*lines, mean], [*labels, mean_name])
    else:
        mark_empty(axes, "no class has labels")
    if curves.mark is not None:
        axes.axvline(curves.mark, color=GRAY, lw=1, ls="--")
    axes.set(title=curves.title, xlabel=curves.x_label, ylabel=curves.y_label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(True)


def _draw_classes(axes: Axes, curves: ClassCurves) -> tuple[list[Line2D], list[str]]:
    """The lines that the legend shows, and their names."""
    present = curves.present_ids
    if len(present) > MAX_NAMED_CURVES:
        lines = axes.plot(curves.x, curves.y[present].T, color=FAINT, lw=0.6)
        return lines[:1], [f"each of {len(present)} classes"]
    lines = [axes.plot(curves.x, curves.y[k], color=class_ink(k), lw=1.2)[0] for k in present]
    return lines, [shorten_name(curves.names[k], k) for k in present]


def confusion_chart(
    counts: NDArray[np.int64],
    names: Sequence[str],
    *,
    confidence: float | None = None,
    found: str = "detected",
) -> Chart:
    """A confusion matrix [K, K] with a row for each true class; a cell is as dark as its share of the row.

    The title names the confidence above which detections count, the axis how classes are `found`. Counts
    stand in the cells as long as they can be read.
    """
    cell = min(MAX_CELL_SIDE, MATRIX_SIDE / len(names))
    side = max(2.5, cell * len(names))
    title = "confusion matrix" + _format_confidence(confidence)
    words = title, f"{found} class"
    draw = partial(_draw_confusion, counts=counts, names=names, cell=cell, words=words)
    return Chart(draw, (side + 3.5, side + 2.2))


def _draw_confusion(
    figure: Figure, *, counts: NDArray[np.int64], names: Sequence[str], cell: float, words: tuple[str, str]
) -> None:
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", fraction=0.04, pad=0.02, aspect=30)
    axes.set(title=words[0], xlabel=words[1], ylabel="true class")
    _label_cells(axes, names, cell)
    _write_counts(axes, counts, shares, cell=cell)


def confusion_rows(
    counts: NDArray[np.int64],
    names: Sequence[str],
    *,
    confidence: float | None = None,
    found: str = "detected",
) -> Rows:
    """The confusion matrix as a table; its corner names the confidence."""
    yield (f"true \\ {found}" + _format_confidence(confidence), *names)
    for name, row in zip(names, counts.tolist(), strict=True):
        yield (name, *row)


def _format_confidence(confidence: float | None) -> str:
    return "" if confidence is None else f" at confidence {confidence:.3f}"


def _label_cells(axes: Axes, names: Sequence[str], cell: float) -> None:
    """The names at both axes; of very many only some."""
    step = max(1, round(0.1 / cell))
    numbers = range(0, len(names), step)
    labels = [shorten_name(names[k], k) for k in numbers]
    size = min(10.0, 72 * cell * step * 0.8)
    axes.set_xticks(numbers, labels, rotation=90, fontsize=size)
    axes.set_yticks(numbers, labels, fontsize=size)
    axes.tick_params(length=0)
    lines = np.arange(len(names) + 1) - 0.5
    axes.set_xticks(lines, minor=True)
    axes.set_yticks(lines, minor=True)
    axes.grid(True, which="minor", lw=0.5)
    axes.tick_params(which="minor", length=0)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: Doubles, *, cell: float) -> None:
    digits = len(str(counts.max(initial=0)))
    size = min(10.0, 72 * cell * 0.9 / (DIGIT_WIDTH * digits))
    if size < MIN_NUMBER_POINTS:
        return
    for row, column in np.argwhere(counts > 0).tolist():
        ink = "white" if shares[row, column] > 0.5 else "black"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
