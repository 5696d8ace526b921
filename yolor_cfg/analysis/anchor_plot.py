"""A picture of the boxes of a data set with the anchors before and after."""

from __future__ import annotations

import numpy as np

from yolor_cfg.analysis.anchors import Shapes
from yolor_cfg.images.types import Image
from yolor_cfg.report.plots import BLUE, FAINT, Axes, Color, Curve, plot_curves

RED: Color = (200, 60, 30)
MAX_POINTS = 5000
HALF_POINT, HALF_CROSS = 0.002, 0.012
"""Half a point and half a cross, as parts of an axis."""


def plot_anchors(boxes: Shapes, before: Shapes, after: Shapes) -> Image:
    """Boxes as points of width and height, the anchors before and after as crosses, all in input pixels."""
    end = 1.05 * np.concatenate([boxes, before, after]).max()
    points = boxes[:: -(-len(boxes) // MAX_POINTS)]
    name = f"{len(boxes)} boxes"
    curves = [
        Curve(*_repeat_pattern(points, np.array([[-HALF_POINT, 0], [HALF_POINT, 0]]) * end), name, FAINT, 3),
        Curve(*_cross_lines(before, end), f"{len(before)} anchors before", BLUE, 2),
        Curve(*_cross_lines(after, end), f"{len(after)} anchors after", RED, 2),
    ]
    return plot_curves(
        curves,
        Axes("sizes of boxes and anchors", "width in pixels", "height in pixels", (0.0, end), (0.0, end)),
    )


def _cross_lines(anchors: Shapes, end: float) -> tuple[Shapes, Shapes]:
    arms = [[-HALF_CROSS, 0], [HALF_CROSS, 0], [np.nan, np.nan], [0, -HALF_CROSS], [0, HALF_CROSS]]
    return _repeat_pattern(anchors, np.array(arms) * end)


def _repeat_pattern(shapes: Shapes, pattern: Shapes) -> tuple[Shapes, Shapes]:
    """x and y of the pattern [P, 2] drawn at each shape, with a break behind each."""
    broken = np.concatenate([pattern, [[np.nan, np.nan]]])
    x, y = (shapes[:, None] + broken).reshape(-1, 2).T
    return x, y
