"""How many proofs a run gives, and how many it owes for want of the outside data in `shared`.

A test whose parameters are files in there would have none without them and vanish unseen.
`data/shared_cases.json` says how many cases each such test has; `python tools/count_proofs.py` writes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("YOLOR_SHARED") or Path(__file__).resolve().parents[2] / "shared")
COUNTS_FILE = Path(__file__).parent / "data" / "shared_cases.json"
WANT = "no shared data"
RAN = ("passed", "failed", "xfailed", "xpassed")
MISMATCHES = pytest.StashKey[list[str]]()


class AbsentProof(pytest.Item):
    """A case of a parametrised test that is not here, because its parameters are in the shared data."""

    def runtest(self) -> None:
        skip_absent()

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def skip_absent() -> None:
    """Skip the running test for want of the shared data."""
    pytest.skip(f"{WANT}: {SHARED} is not a folder, or not a whole one (set YOLOR_SHARED)")


def read_counts() -> dict[str, int]:
    """By node id without parameters: how many cases a test has with the shared data, where that is more than
    without."""
    return dict(json.loads(COUNTS_FILE.read_text(encoding="utf-8")))


def function_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def is_placeholder(item: pytest.Item) -> bool:
    """True for the one case that pytest makes of a test without parameters."""
    return "NOTSET" in item.name.partition("[")[2]


def by_function(items: Iterable[pytest.Item]) -> dict[str, list[pytest.Item]]:
    found: dict[str, list[pytest.Item]] = {}
    for item in items:
        found.setdefault(function_of(item), []).append(item)
    return found


def with_absent(items: list[pytest.Item], counts: dict[str, int], *, complete: bool) -> list[pytest.Item]:
    """The items, and a skipped one for each case that the shared data would give; `complete`: it is there."""
    filled: list[pytest.Item] = []
    for function, cases in by_function(items).items():
        real = [item for item in cases if not is_placeholder(item)]
        owed = max(counts.get(function, 1) - len(real), 0)
        missing = owed if function in counts and not complete else 0
        if len(real) < len(cases):
            missing = max(owed, 1)
        filled += real + [absent_proof(cases[0], number) for number in range(missing)]
    return filled


def absent_proof(sibling: pytest.Item, number: int) -> AbsentProof:
    """A case beside `sibling`, chosen by the same -m and -k."""
    name = function_of(sibling).rpartition("::")[2]
    assert sibling.parent is not None
    proof: AbsentProof = AbsentProof.from_parent(sibling.parent, name=f"{name}[absent {number}]")
    proof.own_markers += [mark for mark in sibling.own_markers if mark.name not in ("parametrize", "skip")]
    return proof


def mismatches(items: Iterable[pytest.Item], counts: dict[str, int]) -> list[str]:
    """The tests among `items` that do not have as many cases as `counts` says."""
    return [
        f"{function}: {len(cases)} cases, not {counts[function]}"
        for function, cases in by_function(items).items()
        if counts.get(function, len(cases)) != len(cases)
    ]


def summary(stats: dict[str, list[Any]]) -> str:
    """`proofs: 7012 ran, 0 skipped for want of ../shared`, from the reports of a run by outcome."""
    skipped = stats.get("skipped", [])
    wanting = sum(WANT in str(report.longrepr) for report in skipped)
    others = f", {len(skipped) - wanting} for other reasons" if len(skipped) > wanting else ""
    ran = sum(len(stats.get(outcome, [])) for outcome in RAN)
    return f"proofs: {ran} ran, {wanting} skipped for want of ../shared{others}"


def collected_summary(items: Iterable[pytest.Item]) -> str:
    """The same for tests that are only collected: how many of them cannot run."""
    cases = list(items)
    wanting = sum("shared" in getattr(case, "fixturenames", ()) for case in cases) * (not SHARED.is_dir())
    wanting += sum(isinstance(case, AbsentProof) for case in cases)
    return f"proofs: {len(cases)} collected, {wanting} of them cannot run for want of ../shared"
