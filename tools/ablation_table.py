"""The rows of `tools/ablation.py`'s runs, and what they say: means, spreads, differences, the document.

Legend: n seeds. Figures are fractions in the file and percent in the document; NaN is a figure that is not
there, such as the AP of large objects where the pictures have none.
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
from yolor_cfg.files import replace_whole

SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
ABSENT = -1.0
"""What COCO's tools say where the truth has no such boxes."""
REMEDY = "remove the line: its run is then done again"
# Two-sided 95 % points of Student's t for 1, 2 ... degrees of freedom; the last for more, which is strict.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
BETTER, WORSE, NOISE, UNKNOWN = "better", "worse", "within the noise", "one seed says nothing"


class Row(NamedTuple):
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
    def run(self) -> tuple[str, int, str]:
        """What makes it one run and no other."""
        return self.variant, self.seed, self.fingerprint

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return ",".join(map(_cell, self)) + "\n"


HEADER = ",".join(Row._fields)


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join("" if math.isnan(ap) else f"{ap:.4f}" for ap in value)
    return f"{value:.5f}" if isinstance(value, float) else str(value)


def _score(text: str) -> float:
    value = float(text)
    if not (0 <= value <= 1 or value == ABSENT):
        raise ValueError(text)
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _curve(text: str) -> tuple[float, ...]:
    return tuple(_score(ap) if ap else math.nan for ap in text.split(";"))


READERS: dict[str, Callable[[str], Any]] = {
    "seed": int,
    "epochs": int,
    "parameters": int,
    "seconds": _amount,
    "AP_by_epoch": _curve,
    **dict.fromkeys(SCORES, _score),
}


def read_rows(path: Path) -> list[Row]:
    """All rows of the file, none where it is not there yet. Raises DataError for a line that is no whole row
    and for a run that stands there twice."""
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
    rows: dict[tuple[str, int, str], Row] = {}
    for number, line in enumerate(lines[:-1], start=2):
        row = row_of(line, str(path), number)
        if rows.setdefault(row.run, row) is not row:
            raise DataError(
                "this run stands here twice",
                path=str(path),
                line=number,
                found=f"{row.variant}, seed {row.seed}",
                hint="remove one of the lines",
            )
    return list(rows.values())


def row_of(line: str, path: str = "", number: int = 0) -> Row:
    """The row of a line without its end; raises DataError for what is no whole row."""
    cells = line.split(",")
    if len(cells) != len(Row._fields):
        raise DataError(
            "not a whole row",
            path=path,
            line=number,
            found=f"{len(cells)} cells",
            allowed=f"{len(Row._fields)} cells",
            hint=REMEDY,
        )
    values = {
        name: _value(name, cell, path=path, number=number)
        for name, cell in zip(Row._fields, cells, strict=True)
    }
    row = Row(**values)
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


def _value(name: str, cell: str, *, path: str, number: int) -> Any:
    try:
        return READERS.get(name, str)(cell)
    except ValueError:
        raise DataError(
            "not a value of this column", path=path, line=number, key=name, found=cell[:80], hint=REMEDY
        ) from None


def append(path: Path, row: Row) -> bool:
    """Put the row at the end of the file, whole or not at all; False where its run is there already. Several
    programs may do so at a time."""
    with _alone(path.parent):
        if row.run in [there.run for there in read_rows(path)]:
            return False
        before = path.read_text(encoding="utf-8") if path.exists() else HEADER + "\n"
        text = before + row.line
        replace_whole(path, lambda file: file.write(text.encode()), fault=DataError, force=True)
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else is in here for the same folder; the lock goes with the program that holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Mean(NamedTuple):
    """The mean over n seeds and their sample standard deviation, NaN for fewer than two."""

    mean: float
    spread: float
    seeds: int

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.spread / math.sqrt(self.seeds) if self.seeds else math.nan

    @property
    def verdict(self) -> str:
        """Of a mean of differences: whether 0 lies outside the 95 % interval of Student's t."""
        if self.seeds < 2:
            return UNKNOWN
        reach = T95[min(self.seeds - 1, len(T95)) - 1] * self.error
        if abs(self.mean) <= reach:
            return NOISE
        return BETTER if self.mean > 0 else WORSE


def mean_of(values: Sequence[float]) -> Mean:
    """Of the numbers that are there."""
    there = [value for value in values if not math.isnan(value)]
    spread = statistics.stdev(there) if len(there) > 1 else math.nan
    return Mean(statistics.fmean(there) if there else math.nan, spread, len(there))


def score_of(row: Row, name: str) -> float:
    """A figure in percent, NaN where it is not there."""
    value = getattr(row, name)
    return math.nan if value == ABSENT else 100 * value


def difference(rows: Sequence[Row], base: Sequence[Row], name: str = "AP") -> Mean:
    """How much higher a figure is than that of the baseline with the same seed, in points of percent."""
    before = {row.seed: score_of(row, name) for row in base}
    return mean_of([score_of(row, name) - before[row.seed] for row in rows if row.seed in before])


def means_by_epoch(rows: Sequence[Row]) -> list[tuple[int, float]]:
    """The mean AP in percent after each epoch, from 1, that was tested in every run; rows of one recipe."""
    columns = zip(*(row.AP_by_epoch for row in rows), strict=True)
    means = [(number, 100 * statistics.fmean(column)) for number, column in enumerate(columns, start=1)]
    return [(number, mean) for number, mean in means if not math.isnan(mean)]
