"""The boxes of a data set, and the anchors before and after, as points of width and height."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from yolor_cfg.analysis.anchors import Shapes
from yolor_cfg.errors import count_of
from yolor_cfg.report.figures import BLUE, FAINT, RED, Chart, add_legend, tick_doublings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 5000
"""Boxes drawn as points; of more, every second, third ... one."""


def anchors_chart(boxes: Shapes, before: Shapes, after: Shapes) -> Chart:
    """Boxes [B, 2] as dots, anchors [A, 2] before and after as crosses; pixels of the input, logarithmic."""
    return Chart(partial(_draw_shapes, boxes=boxes, before=before, after=after), (9.0, 6.6))


def _draw_shapes(figure: Figure, *, boxes: Shapes, before: Shapes, after: Shapes) -> None:
    axes = figure.subplots()
    shown = boxes[:: max(1, -(-len(boxes) // MAX_POINTS))]
    handles = [
        axes.scatter(shown[:, 0], shown[:, 1], s=8, color=FAINT, alpha=0.6, lw=0),
        axes.scatter(before[:, 0], before[:, 1], s=90, color=BLUE, marker="+", lw=2),
        axes.scatter(after[:, 0], after[:, 1], s=70, color=RED, marker="x", lw=2),
    ]
    labels = [
        count_of(len(boxes), "box", spec=","),
        f"{count_of(len(before), 'anchor')} before",
        f"{count_of(len(after), 'anchor')} after",
    ]
    add_legend(figure, handles, labels)
    axes.set(title="sizes of boxes and anchors", xlabel="width in pixels", ylabel="height in pixels")
    sides = np.concatenate([boxes, before, after])
    ends = sides.min() / 1.1, sides.max() * 1.1
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    tick_doublings(axes.xaxis)
    tick_doublings(axes.yaxis)
    axes.grid(True)
