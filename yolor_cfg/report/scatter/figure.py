"""A chart by matplotlib, for images: the same shapes at the same places as in SVG."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from yolor_cfg.report.figures import Chart
from yolor_cfg.report.picture.colors import LIGHT
from yolor_cfg.report.scatter.labels import RADIUS
from yolor_cfg.report.scatter.types import Drawing, Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_PER_INCH, POINTS_PER_INCH = 96.0, 72.0
SIZES = {"heading": 19.0, "axis": 13.0, "name": 10.5}
"""Of the letters, in pixels; those of matplotlib's font are wider than those of most viewers."""
USUAL_SIZE = 11.0
STROKES: dict[str, dict[str, Any]] = {
    "grid": {"color": LIGHT.edge, "lw": 0.7, "alpha": 0.7, "zorder": 1},
    "axis": {"color": LIGHT.faint, "lw": 0.8, "zorder": 1},
    "front": {"lw": 1.6, "alpha": 0.55, "zorder": 2},
    "leader": {"color": LIGHT.faint, "lw": 0.6, "zorder": 2},
}
ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def scene_chart(scene: Drawing) -> Chart:
    """The chart of these shapes."""
    size = scene.width / PIXELS_PER_INCH, scene.height / PIXELS_PER_INCH
    return Chart(partial(_draw, scene=scene), size, has_layout=False)


def _draw(figure: Figure, *, scene: Drawing) -> None:
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    for stroke in scene.strokes:
        style = STROKES[stroke.kind] | ({"color": stroke.color} if stroke.color else {})
        axes.plot(*zip(*stroke.points, strict=True), **style)
    side = 2 * (RADIUS - 1) * POINTS_PER_INCH / PIXELS_PER_INCH
    for dot in scene.dots:
        fill = dot.color if dot.is_filled else "white"
        axes.plot(dot.x, dot.y, "o", ms=side, mec=dot.color, mfc=fill, mew=1.5, zorder=3)
    for words in scene.words:
        _write(axes, words)


def _write(axes: Any, words: Words) -> None:
    points = SIZES.get(words.kind, USUAL_SIZE) * POINTS_PER_INCH / PIXELS_PER_INCH
    axes.text(
        words.x,
        words.y,
        words.text,
        fontsize=points,
        color=LIGHT.faint if words.kind in ("tick", "faint") else LIGHT.text,
        ha=ANCHORS[words.anchor],
        va="baseline",
        rotation=90 if words.is_upright else 0,
        weight="semibold" if words.kind == "heading" else "normal",
        zorder=4,
    )
