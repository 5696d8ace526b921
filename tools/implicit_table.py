"""The csv files of the experiments: a row is a finished run, and a run that has a row is not done again."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from yolor_cfg.errors import DataError
from yolor_cfg.files import replace_file

FOLDER = Path("docs/experiments")
Row = dict[str, str]


class RunTable:
    """Runs by what tells them apart (`keys`), with what was measured (`values`)."""

    def __init__(self, path: Path, keys: Sequence[str], values: Sequence[str]) -> None:
        self.path, self.keys, self.values = path, tuple(keys), tuple(values)

    def read(self) -> list[Row]:
        """All rows; raises DataError if the columns are others."""
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if tuple(reader.fieldnames or ()) != (*self.keys, *self.values):
            raise DataError("not a table of these runs", path=str(self.path), allowed=",".join(self.keys))
        return rows

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, (*self.keys, *self.values), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*self.read(), {name: format_cell(value) for name, value in row.items()}])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(
            self.path, lambda file: file.write(text.getvalue().encode()), fault=DataError, force=True
        )

    def missing(self, plan: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
        """Of the planned runs those without a row."""
        there = {tuple(row[key] for key in self.keys) for row in self.read()}
        return [run for run in plan if tuple(format_cell(run[key]) for key in self.keys) not in there]


def format_cell(value: object) -> str:
    """A number with seven digits, anything else as text."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def run_missing(
    table: RunTable,
    plan: Iterable[Mapping[str, object]],
    measure: Callable[[Mapping[str, object]], Mapping[str, object]],
    *,
    minutes: float,
) -> None:
    """Do the runs that have no row, and add a row for each; start none after so many minutes."""
    todo, end = table.missing(plan), time.monotonic() + 60 * minutes
    print(f"{table.path}: {len(todo)} runs to do", flush=True)
    for number, run in enumerate(todo):
        if time.monotonic() > end:
            print(f"{len(todo) - number} runs left; the same command continues", flush=True)
            return
        began = time.perf_counter()
        found = {**run, **measure(run)}
        table.append({**found, "seconds": round(time.perf_counter() - began, 1)})
        print(" ".join(f"{name}={format_cell(value)}" for name, value in found.items()), flush=True)
