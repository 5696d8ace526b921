"""The chart of `yolor bench`: images per second by engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from yolor_cfg.report.figures import BLUE, Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_HEIGHT = 0.32  # inches


def speed_chart(bars: Sequence[tuple[str, float]]) -> Chart:
    """A bar for each label, the first at the top."""
    return Chart(partial(_draw_bars, bars=bars), (10.0, 1.5 + BAR_HEIGHT * len(bars)))


def _draw_bars(figure: Figure, *, bars: Sequence[tuple[str, float]]) -> None:
    axes = figure.add_subplot()
    labels, speeds = zip(*bars, strict=True) if bars else ((), ())
    drawn = axes.barh(range(len(bars)), speeds, color=BLUE)
    axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.set_yticks(range(len(bars)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("images per second")
