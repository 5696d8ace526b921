"""The option --plot: a command checks it before it works, and saves its chart afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.options import print_stderr

if TYPE_CHECKING:
    from yolor_cfg.report.figures import Chart

PLOT_SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".tiff")


def check_plot(path: str | None, *, drawn: tuple[str, ...] = ()) -> None:
    """Refuse a file that is no image, and ask for matplotlib where it is missing; None: nothing to draw.
    Files that end in `drawn` need none."""
    if path is None:
        return
    suffix, allowed = Path(path).suffix, (*drawn, *PLOT_SUFFIXES)
    if suffix not in allowed:
        raise click.UsageError(f"--plot must end in {', '.join(allowed)}; it ends in {suffix or 'no suffix'}")
    if suffix in drawn:
        return
    from yolor_cfg.report.figures import require_matplotlib

    require_matplotlib()


def save_plot(chart: Chart, path: str, *, force: bool) -> None:
    """Write the chart as an image of the kind that the suffix says."""
    import cv2

    from yolor_cfg.errors import YolorError
    from yolor_cfg.files import replace_file
    from yolor_cfg.report.figures import render_chart

    image = render_chart(chart)
    encoded, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert encoded, path
    replace_file(path, lambda file: file.write(data.tobytes()), fault=YolorError, force=force)
    print_stderr(f"{path}: {image.shape[1]} x {image.shape[0]} pixels", "green")
