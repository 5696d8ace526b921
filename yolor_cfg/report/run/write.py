"""Writes report.html: the page of a run, or of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolor_cfg.errors import YolorError
from yolor_cfg.files import replace_file
from yolor_cfg.report.run.page import draw_comparison, draw_run
from yolor_cfg.report.run.read import RunFiles, read_run
from yolor_cfg.runs import save_text

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Write report.html into the folder of a run, in place of an older one; returns its path."""
    run = read_run(folder)
    save_text(run.folder / REPORT, draw_run(run))
    return run.folder / REPORT


def write_page(runs: Sequence[RunFiles], path: Path, *, force: bool) -> None:
    """The page of one run, or of several side by side, as a file; raises YolorError where one exists, unless
    forced."""
    text = draw_run(runs[0]) if len(runs) == 1 else draw_comparison(runs)
    replace_file(path, lambda file: file.write(text.encode()), fault=YolorError, force=force)
