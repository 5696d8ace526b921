"""What a check found, and the table of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class CheckResult(NamedTuple):
    """How often a check was tried, how many tries went wrong, the longest of them in seconds, the peak memory
    in MB (0: not measured), and what else is to be told, as the faults themselves."""

    check: str
    tries: int
    faults: int
    worst_seconds: float
    peak_mb: float = 0.0
    told: tuple[str, ...] = ()


class Options(NamedTuple):
    """What all checks are told: the seed of their random numbers, whether little time is left, how often to
    try (None: as each check has it), from which number on, whether the fuzzer reads in this very process, a
    new folder to work in, where faults are kept, who hears of progress."""

    seed: int
    is_short: bool
    tries: int | None
    start: int
    is_here: bool
    folder: Path
    keep: Path
    tell: Callable[[CheckResult], None]

    def choose_count(self, short: int, full: int) -> int:
        """How often to try."""
        return self.tries if self.tries is not None else short if self.is_short else full


class NamedCheck(NamedTuple):
    """A check: what it does, in words, and how."""

    about: str
    run: Callable[[Options], CheckResult]


HEADER = ("check", "tries", "faults", "worst s", "peak MB")


def format_table(results: Sequence[CheckResult]) -> str:
    """The results as a table of Markdown, what was told below it."""
    rows = [HEADER, ("---", "---:", "---:", "---:", "---:"), *map(_cells, results)]
    total = CheckResult("all", sum(one.tries for one in results), sum(one.faults for one in results), 0)
    rows.append(("all", f"{total.tries:,}", f"{total.faults}", "", ""))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"{one.check}: {text}" for one in results for text in one.told)])


def _cells(one: CheckResult) -> tuple[str, ...]:
    peak = f"{one.peak_mb:.0f}" if one.peak_mb else ""
    return one.check, f"{one.tries:,}", str(one.faults), f"{one.worst_seconds:.2f}", peak


def write_results(results: Sequence[CheckResult], path: Path) -> None:
    """The results so far, in a file that is whole at any time."""
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(json.dumps([one._asdict() for one in results], indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_results(path: Path) -> list[CheckResult]:
    """What `write_results` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [CheckResult(**{**row, "told": tuple(row["told"])}) for row in rows]
