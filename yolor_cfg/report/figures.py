"""Charts by matplotlib, an optional library: where it is missing, the numbers of a chart are saved as CSV.

Nothing here imports matplotlib before the first chart is drawn. A chart looks the same whatever the user's
matplotlibrc says, and equal data give equal bytes.
"""

from __future__ import annotations

import csv
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from yolor_cfg.errors import MissingExtra, YolorError
from yolor_cfg.images.draw import class_color
from yolor_cfg.images.types import Image
from yolor_cfg.runs import save_image, save_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Ink = tuple[float, float, float]
"""Red, green, blue from 0 to 1."""
Rows = Iterable[Sequence[object]]

DPI = 120
BLUE, RED, GREEN, PURPLE = "#1446c8", "#c83c1e", "#1e8c3c", "#963caa"
ORANGE, CYAN = "#c87800", "#008ca0"
GRAY, FAINT = "#787878", "#b9b9b9"
MAX_FINE_RANGE = 32
"""Up to this ratio of its ends, a logarithmic axis is short."""
MAX_NAME_LENGTH = 26
"""Characters of a class name in a chart."""
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)
"""The first comes with matplotlib; the others draw what it lacks, where they are installed."""
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.axisbelow": True,
    "figure.constrained_layout.w_pad": 0.1,  # inches
    "figure.constrained_layout.h_pad": 0.1,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 9,
}
NO_CHARTS = "charts need matplotlib: pip install 'yolor-cfg[plot]'; "


class Chart(NamedTuple):
    """What draws a chart into an empty figure, and the figure's width and height in inches.

    With `has_layout` matplotlib finds room for titles, labels and the legend; otherwise the chart does.
    """

    draw: Callable[[Figure], None]
    size: tuple[float, float] = (10.0, 6.0)
    has_layout: bool = True


def require_matplotlib() -> None:
    """Import matplotlib; raises MissingExtra where it is missing, YolorError where it does not start."""
    try:
        with _quiet_logging():
            import matplotlib.backends.backend_agg
            import matplotlib.figure
            import matplotlib.style  # noqa: F401
    except ImportError as cause:
        raise MissingExtra("plot") from cause
    except OSError as cause:  # no folder is writable, not even a temporary one
        raise YolorError(
            "matplotlib does not start", found=str(cause), hint="let MPLCONFIGDIR name a writable folder"
        ) from cause


def can_draw() -> bool:
    """Whether matplotlib can be used."""
    try:
        require_matplotlib()
    except YolorError:
        return False
    return True


def save_chart(path: Path, chart: Chart, *, rows: Callable[[], Rows]) -> None:
    """The chart as an image; where matplotlib cannot be used, its numbers as CSV beside that name."""
    if can_draw():
        save_image(path, render_chart(chart))
    else:
        save_text(path.with_suffix(".csv"), _to_csv(rows()))


def render_chart(chart: Chart) -> Image:
    """The chart as an RGB image [H, W, 3]; raises as `require_matplotlib`."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _chart_style():
        figure = Figure(chart.size, dpi=DPI, layout="constrained" if chart.has_layout else None)
        canvas: Any = FigureCanvasAgg(figure)
        chart.draw(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()


def add_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend to the right of the axes, where it covers no data."""
    if handles:
        figure.legend(list(handles), list(labels), loc="outside right upper")


def number_axis(axis: Axis) -> None:
    """Ticks of an axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def tick_doublings(axis: Axis) -> None:
    """Ticks of a logarithmic axis wherever the value doubles; on a short axis, one between."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    subs = (1.0, 1.5) if high / low < MAX_FINE_RANGE else (1.0,)
    axis.set_major_locator(LogLocator(2, subs=subs, numticks=30))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def mark_empty(axes: Axes, text: str) -> None:
    """Say in the middle of empty axes why they are empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GRAY)


def class_ink(class_id: int) -> Ink:
    """The colour of a class, as in images of detections."""
    red, green, blue = class_color(class_id)
    return red / 255, green / 255, blue / 255


def shorten_name(name: str, class_id: int) -> str:
    """A class name on one line and no longer than charts have room for; its number where it is blank."""
    text = " ".join(name.encode("utf-8", "replace").decode().split()) or str(class_id)
    return text if len(text) <= MAX_NAME_LENGTH else text[: MAX_NAME_LENGTH - 1] + "…"


@contextmanager
def _chart_style() -> Iterator[None]:
    """Our settings instead of the user's, and no word about letters that no font has."""
    from matplotlib import font_manager, rc_context, style

    with _quiet_logging(), warnings.catch_warnings(), rc_context():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        installed = set(font_manager.fontManager.get_font_names())
        style.use(["default", STYLE | {"font.family": [name for name in FONTS if name in installed]}])
        yield


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Hide matplotlib's remarks on its folders and its fonts."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _to_csv(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_format_row, rows))
    return text.getvalue()


def _format_row(row: Sequence[object]) -> list[object]:
    """Five digits of a fraction; an empty cell for NaN."""
    return [("" if np.isnan(cell) else f"{cell:.5g}") if isinstance(cell, float) else cell for cell in row]
