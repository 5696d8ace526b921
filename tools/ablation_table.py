"""The rows of `tools/ablation.py`'s runs and the statistics over them: means, spreads, differences.

Legend: n seeds. Figures are fractions in the file and percent in the document; NaN is a missing
figure, such as the AP of large objects where the images have none.
"""

from __future__ import annotations

import fcntl
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.errors import DataError
from yolor_cfg.files import replace_file

SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
ABSENT = -1.0
"""What COCO's tools report where the ground truth has no such boxes."""
REMEDY = "remove the line: its run is then done again"
# Two-sided 95 % points of Student's t for 1, 2 ... degrees of freedom; the last for more, which is strict.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
BETTER, WORSE, NOISE, UNKNOWN = "better", "worse", "within the noise", "one seed says nothing"


class RunRow(NamedTuple):
    """A finished run: which one, COCO's figures of its last network, what it cost, and the AP after each
    epoch, NaN where nothing was tested."""

    variant: str
    seed: int
    fingerprint: str
    epochs: int
    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    parameters: int
    seconds: float
    AP_by_epoch: tuple[float, ...]

    @property
    def run_key(self) -> tuple[str, int, str]:
        """What identifies the run."""
        return self.variant, self.seed, self.fingerprint

    @property
    def line(self) -> str:
        """The row as written in the file."""
        return ",".join(map(_format_cell, self)) + "\n"


HEADER = ",".join(RunRow._fields)


def _format_cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join("" if math.isnan(ap) else f"{ap:.4f}" for ap in value)
    return f"{value:.5f}" if isinstance(value, float) else str(value)


def _parse_score(text: str) -> float:
    value = float(text)
    if not (0 <= value <= 1 or value == ABSENT):
        raise ValueError(text)
    return value


def _parse_amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _parse_curve(text: str) -> tuple[float, ...]:
    return tuple(_parse_score(ap) if ap else math.nan for ap in text.split(";"))


READERS: dict[str, Callable[[str], Any]] = {
    "seed": int,
    "epochs": int,
    "parameters": int,
    "seconds": _parse_amount,
    "AP_by_epoch": _parse_curve,
    **dict.fromkeys(SCORES, _parse_score),
}


def read_rows(path: Path) -> list[RunRow]:
    """All rows of the file; none if it does not exist yet. Raises DataError for a line that is no whole row
    and for a run that occurs twice."""
    if not path.exists():
        return []
    header, *lines = path.read_text(encoding="utf-8").split("\n")
    if header != HEADER:
        raise DataError(
            "not a table of these runs", path=str(path), line=1, found=header[:80], allowed=HEADER
        )
    if not lines or lines[-1]:
        raise DataError(
            "the last line does not end",
            path=str(path),
            line=len(lines) + 1,
            found=(lines or [""])[-1][-80:],
            hint=REMEDY,
        )
    rows: dict[tuple[str, int, str], RunRow] = {}
    for number, line in enumerate(lines[:-1], start=2):
        row = parse_row(line, str(path), number)
        if rows.setdefault(row.run_key, row) is not row:
            raise DataError(
                "this run stands here twice",
                path=str(path),
                line=number,
                found=f"{row.variant}, seed {row.seed}",
                hint="remove one of the lines",
            )
    return list(rows.values())


def parse_row(line: str, path: str = "", number: int = 0) -> RunRow:
    """The row of a line without its line end; raises DataError if it is not a whole row."""
    cells = line.split(",")
    if len(cells) != len(RunRow._fields):
        raise DataError(
            "not a whole row",
            path=path,
            line=number,
            found=f"{len(cells)} cells",
            allowed=f"{len(RunRow._fields)} cells",
            hint=REMEDY,
        )
    values = {
        name: _parse_value(name, cell, path=path, number=number)
        for name, cell in zip(RunRow._fields, cells, strict=True)
    }
    row = RunRow(**values)
    if len(row.AP_by_epoch) != row.epochs or math.isnan(row.AP_by_epoch[-1]):
        raise DataError(
            "not an AP for each epoch",
            path=path,
            line=number,
            found=cells[-1][-80:],
            allowed=f"{row.epochs} numbers or blanks, the last a number",
            hint=REMEDY,
        )
    return row


def _parse_value(name: str, cell: str, *, path: str, number: int) -> Any:
    try:
        return READERS.get(name, str)(cell)
    except ValueError:
        raise DataError(
            "not a value of this column", path=path, line=number, key=name, found=cell[:80], hint=REMEDY
        ) from None


def append_row(path: Path, row: RunRow) -> bool:
    """Append the row to the file, whole or not at all; False if its run is there already. Several programs
    may do so at the same time."""
    with _lock_folder(path.parent):
        if row.run_key in [there.run_key for there in read_rows(path)]:
            return False
        before = path.read_text(encoding="utf-8") if path.exists() else HEADER + "\n"
        text = before + row.line
        replace_file(path, lambda file: file.write(text.encode()), fault=DataError, force=True)
    return True


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Keep other programs out of this folder; the lock ends with the program that holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class SeedMean(NamedTuple):
    """The mean over n seeds and their sample standard deviation, NaN for fewer than two."""

    mean: float
    std: float
    seeds: int

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.std / math.sqrt(self.seeds) if self.seeds else math.nan

    @property
    def verdict(self) -> str:
        """Whether 0 lies outside the 95 % interval of Student's t around a mean of differences."""
        if self.seeds < 2:
            return UNKNOWN
        reach = T95[min(self.seeds - 1, len(T95)) - 1] * self.error
        if abs(self.mean) <= reach:
            return NOISE
        return BETTER if self.mean > 0 else WORSE


def compute_mean(values: Sequence[float]) -> SeedMean:
    """The mean and spread of the numbers that are not NaN."""
    there = [value for value in values if not math.isnan(value)]
    spread = statistics.stdev(there) if len(there) > 1 else math.nan
    return SeedMean(statistics.fmean(there) if there else math.nan, spread, len(there))


def score_percent(row: RunRow, name: str) -> float:
    """A figure in percent; NaN where it is missing."""
    value = getattr(row, name)
    return math.nan if value == ABSENT else 100 * value


def difference(rows: Sequence[RunRow], base: Sequence[RunRow], name: str = "AP") -> SeedMean:
    """How much higher a figure is than the baseline's with the same seed, in percentage points."""
    before = {row.seed: score_percent(row, name) for row in base}
    return compute_mean([score_percent(row, name) - before[row.seed] for row in rows if row.seed in before])


def means_by_epoch(rows: Sequence[RunRow]) -> list[tuple[int, float]]:
    """The mean AP in percent by epoch, counted from 1, where every run was tested; rows of one recipe."""
    columns = zip(*(row.AP_by_epoch for row in rows), strict=True)
    means = [(number, 100 * statistics.fmean(column)) for number, column in enumerate(columns, start=1)]
    return [(number, mean) for number, mean in means if not math.isnan(mean)]
