"""The parts of the page of `yolor bench --json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from yolor_cfg.report.run.markup import PagePart, bar_of, number_cell, write_table
from yolor_cfg.report.run.read import BENCH, RunFiles, name_contestant
from yolor_cfg.runs import list_objects

HEADER = ("what", "ms", "quartiles", "images/s", "speedup", "MiB", "difference")


def list_bench(run: RunFiles) -> Iterator[PagePart]:
    """All figures; nothing of another kind of run."""
    if run.kind == BENCH:
        yield PagePart("Engines", lambda: list_engines(list_objects(run.record["results"])))


def list_engines(results: Sequence[dict[str, Any]]) -> str:
    """A row for each engine, precision and batch; the reason where one did not run."""
    ran = [one for one in results if "failed" not in one]
    most = max((float(one["images_per_second"]) for one in ran), default=1.0)
    rows = [_write_row(one, _find_first(ran, one), most=most) for one in ran]
    failed = [(name_contestant(one), str(one["failed"])) for one in results if "failed" in one]
    listed = write_table(HEADER, rows, sortable=True, id_="engines") if rows else ""
    return listed + (write_table(("what", "why it did not run"), failed) if failed else "")


def _find_first(results: Sequence[dict[str, Any]], one: dict[str, Any]) -> dict[str, Any]:
    """The network as it is written, with the same batch."""
    same = ("cfg", "weights", "batch")
    return next(other for other in results if all(other.get(key) == one.get(key) for key in same))


def _write_row(one: dict[str, Any], first: dict[str, Any], *, most: float) -> list[object]:
    low, median, high = (float(one[name]) for name in ("low_ms", "median_ms", "high_ms"))
    ratio = float(first["median_ms"]) / median if median else None
    speed = bar_of(one["images_per_second"], most=most, digits=1)
    numbers = (number_cell(median, 1), f"{low:.1f} to {high:.1f}", speed)
    more = (number_cell(ratio, 2), number_cell(one["peak_mib"], 0), f"{one['difference']:.1e}")
    return [name_contestant(one), *numbers, *more]
