"""Curves and a matrix as RGB pictures, drawn with OpenCV, so that no plotting library is needed.

Legend: K classes, X places on the horizontal axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.draw import Color, class_color, drawable_name
from yolor_cfg.images.preprocess import AnyFloats
from yolor_cfg.images.types import Image

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK = (255, 255, 255), (20, 20, 20)
GRAY, FAINT, PALE = (120, 120, 120), (185, 185, 185), (230, 230, 230)
BLUE: Color = (20, 70, 200)
CHART_SIZE = (700, 1000)
"""Height and width of a chart in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 90, 250, 60, 80
MAX_NAMED_CURVES = 20
"""Curves that the legend names; of more classes only the mean."""
SUBPIXEL_BITS = 4
"""Bits below the pixel for smooth lines."""
TICK_COUNT = 5


class Curve(NamedTuple):
    """A line through points [X]; NaN breaks it."""

    x: AnyFloats
    y: AnyFloats
    name: str = ""
    color: Color = BLUE
    width: int = 1


class Axes(NamedTuple):
    """What stands at the axes, and their ends."""

    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)


def plot_curves(curves: Sequence[Curve], axes: Axes) -> Image:
    """The curves in a frame with ticks, grid and a legend of those that have a name."""
    canvas = np.full((*CHART_SIZE, 3), WHITE, np.uint8)
    _draw_grid(canvas, axes)
    for curve in curves:
        _draw_curve(canvas, curve, axes)
    for row, curve in enumerate([curve for curve in curves if curve.name]):
        y, x = TOP + 22 * row + 10, CHART_SIZE[1] - RIGHT + 15
        cv2.line(canvas, (x, y), (x + 22, y), curve.color, max(2, curve.width))
        _draw_text(canvas, curve.name[:26], (x + 30, y + 4), size=0.42)
    return canvas


def class_curves(x: AnyFloats, table: AnyFloats, *, names: Sequence[str], mean_name: str) -> list[Curve]:
    """A curve for each class of table [K, X] and a thick one for their mean; NaN rows are left out."""
    there = [k for k in range(len(table)) if not np.isnan(table[k]).all()]
    few = len(there) <= MAX_NAMED_CURVES
    if few:
        thin = [Curve(x, table[k], drawable_name(names[k], k), class_color(k)) for k in there]
    else:
        thin = [Curve(x, table[k], "", FAINT) for k in there]
    return [*thin, Curve(x, table[there].mean(axis=0), mean_name, BLUE, 3)] if there else []


def plot_confusion_matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Image:
    """A confusion matrix [K, K] with a row for each true class; a cell is as dark as its share of the row.

    Numbers stand in the cells as long as there is room for them.
    """
    size = len(names)
    cell = max(8, min(70, 900 // size))
    margin = 150
    canvas = np.full((margin + cell * size + 60, margin + cell * size + 60, 3), WHITE, np.uint8)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i, j in np.ndindex(size, size):
        corner = margin + j * cell, margin + i * cell
        _draw_cell(canvas, corner, cell, share=float(share[i, j]), count=int(counts[i, j]))
    for i, name in enumerate(names):
        label = drawable_name(name, i)[: margin // 8]
        _draw_text(canvas, label, (8, margin + i * cell + cell // 2 + 4), size=_text_size(cell))
        _draw_upright_text(
            canvas, label, (margin + i * cell + cell // 2 + 4, margin - 8), size=_text_size(cell)
        )
    _draw_text(canvas, "rows: true, columns: detected", (8, canvas.shape[0] - 20), size=0.5)
    return canvas


def _draw_cell(canvas: Image, corner: tuple[int, int], cell: int, *, share: float, count: int) -> None:
    far = corner[0] + cell - 1, corner[1] + cell - 1
    colour = tuple(round(255 + (part - 255) * share) for part in BLUE)
    cv2.rectangle(canvas, corner, far, colour, cv2.FILLED)
    cv2.rectangle(canvas, corner, far, PALE, 1)
    if count and cell >= 30:
        colour = WHITE if share > 0.5 else BLACK
        _draw_text(canvas, str(count), (corner[0] + 3, corner[1] + cell // 2 + 4), size=0.38, color=colour)


def _text_size(cell: int) -> float:
    return min(0.5, max(0.25, cell / 60))


def _draw_grid(canvas: Image, axes: Axes) -> None:
    left, top, right, bottom = _frame_box()
    for share in np.linspace(0, 1, TICK_COUNT + 1):
        x, y = round(left + share * (right - left)), round(bottom - share * (bottom - top))
        cv2.line(canvas, (x, top), (x, bottom), PALE, 1)
        cv2.line(canvas, (left, y), (right, y), PALE, 1)
        _draw_text(canvas, f"{_lerp(axes.x_range, share):.4g}", (x - 12, bottom + 24), size=0.45)
        _draw_text(canvas, f"{_lerp(axes.y_range, share):.4g}", (left - 55, y + 5), size=0.45)
    cv2.rectangle(canvas, (left, top), (right, bottom), GRAY, 1)
    _draw_text(canvas, axes.title, (left, top - 22), size=0.7)
    _draw_text(canvas, axes.x_label, ((left + right) // 2 - 40, bottom + 56), size=0.55)
    _draw_upright_text(canvas, axes.y_label, (25, (top + bottom) // 2 + 40), size=0.55)


def _lerp(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def _frame_box() -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the frame."""
    return LEFT, TOP, CHART_SIZE[1] - RIGHT, CHART_SIZE[0] - BOTTOM


def _draw_curve(canvas: Image, curve: Curve, axes: Axes) -> None:
    left, top, right, bottom = _frame_box()
    (x0, x1), (y0, y1) = axes.x_range, axes.y_range
    x = left + (np.asarray(curve.x, np.float64) - x0) / (x1 - x0) * (right - left)
    y = bottom - (np.asarray(curve.y, np.float64) - y0) / (y1 - y0) * (bottom - top)
    there = np.isfinite(x) & np.isfinite(y)
    for run in np.split(np.arange(len(x)), np.flatnonzero(np.diff(there.astype(int))) + 1):
        if len(run) and there[run[0]]:
            points = np.stack([x[run], y[run].clip(top, bottom)], axis=1) * 2**SUBPIXEL_BITS
            shape = [points.round().astype(np.int32)]
            cv2.polylines(canvas, shape, False, curve.color, curve.width, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_text(canvas: Image, text: str, at: tuple[int, int], *, size: float, color: Color = BLACK) -> None:
    cv2.putText(canvas, text, at, FONT, size, color, 1, cv2.LINE_AA)


def _draw_upright_text(canvas: Image, text: str, at: tuple[int, int], *, size: float) -> None:
    """Text that runs upwards from its lower end at `at`."""
    turned = np.ascontiguousarray(np.rot90(canvas, -1))
    _draw_text(turned, text, (canvas.shape[0] - 1 - at[1], at[0]), size=size)
    canvas[:] = np.rot90(turned)
