"""A picture of the boxes of a data set with the anchors before and after."""

from __future__ import annotations

import numpy as np

from yolor_cfg.analysis.anchors import Shapes
from yolor_cfg.images.types import Image
from yolor_cfg.report.plots import BLUE, FAINT, Axes, Colour, Curve, chart

RED: Colour = (200, 60, 30)
MOST_POINTS = 5000
DOT, ARM = 0.002, 0.012
"""Half a point and half a cross, as parts of an axis."""


def shapes_picture(boxes: Shapes, before: Shapes, after: Shapes) -> Image:
    """Boxes as points of width and height, the anchors before and after as crosses, all in input pixels."""
    end = 1.05 * np.concatenate([boxes, before, after]).max()
    points = boxes[:: -(-len(boxes) // MOST_POINTS)]
    name = f"{len(boxes)} boxes"
    curves = [
        Curve(*_strokes(points, np.array([[-DOT, 0], [DOT, 0]]) * end), name, FAINT, 3),
        Curve(*_crosses(before, end), f"{len(before)} anchors before", BLUE, 2),
        Curve(*_crosses(after, end), f"{len(after)} anchors after", RED, 2),
    ]
    return chart(
        curves,
        Axes("sizes of boxes and anchors", "width in pixels", "height in pixels", (0.0, end), (0.0, end)),
    )


def _crosses(anchors: Shapes, end: float) -> tuple[Shapes, Shapes]:
    arms = [[-ARM, 0], [ARM, 0], [np.nan, np.nan], [0, -ARM], [0, ARM]]
    return _strokes(anchors, np.array(arms) * end)


def _strokes(shapes: Shapes, pattern: Shapes) -> tuple[Shapes, Shapes]:
    """x and y of the pattern [P, 2] drawn at each shape, with a break behind each."""
    broken = np.concatenate([pattern, [[np.nan, np.nan]]])
    x, y = (shapes[:, None] + broken).reshape(-1, 2).T
    return x, y
