"""Tables of docs/implicit.md from the rows of the experiments: what is in common, the paper's tables, and
Figure 9. AP and its differences are in percent.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import implicit_rows
import numpy as np
from implicit_stats import (
    PairedDifference,
    correct_holm,
    explained_share,
    judge_difference,
    paired_difference,
    permutation_p,
)
from implicit_table import Row

from yolor_cfg.networks.paper import TABLES

ROUNDS = 9999
SeedGroups = dict[tuple[str, ...], dict[str, Row]]
"""Rows by seed, by the other keys."""


def group_rows(rows: Iterable[Row], keys: Sequence[str]) -> SeedGroups:
    """The rows by these keys, then by seed."""
    groups: SeedGroups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), {})[row["seed"]] = row
    return groups


def pick_values(rows: Mapping[str, Row], name: str, factor: float = 100.0) -> list[float]:
    """A column, in the order of the rows."""
    return [factor * float(row[name]) for row in rows.values()]


def compare_groups(ours: Mapping[str, Row], base: Mapping[str, Row], name: str = "AP") -> PairedDifference:
    """The paired difference over the seeds that both have."""
    seeds = [seed for seed in ours if seed in base]
    both = ([100 * float(rows[seed][name]) for seed in seeds] for rows in (ours, base))
    return paired_difference(*both)


class Judged(NamedTuple):
    """The differences of a table by name, and the verdict on each."""

    differences: Mapping[str, PairedDifference]
    verdicts: Mapping[str, str]

    def cells(self, name: str, digits: int = 2) -> list[str]:
        """Interval and verdict; blank where nothing was compared."""
        if name not in self.differences:
            return ["", ""]
        return [interval_text(self.differences[name], digits), self.verdicts[name]]


def judge_all(differences: Mapping[str, PairedDifference], margin: float) -> Judged:
    """The verdict on each difference of a table; all p are corrected by Holm, those of equivalence too."""
    p = correct_holm([one.p for one in differences.values()])
    equal = correct_holm([one.equivalence_p(margin) for one in differences.values()])
    each = zip(differences.items(), p, equal, strict=True)
    verdicts = {name: judge_difference(one, p=a, equivalence_p=b) for (name, one), a, b in each}
    return Judged(differences, verdicts)


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of Markdown: text to the left, figures to the right."""
    yield _line(head)
    yield _line(["---", *["---:"] * (len(head) - 1)])
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def mean_text(values: Sequence[float], digits: int = 1) -> str:
    """`71.2 ± 0.3`: mean and standard deviation."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def interval_text(one: PairedDifference, digits: int = 2) -> str:
    """`+1.85 [+1.70, +2.00]`: the mean and its 95 % interval."""
    return f"{one.mean:+.{digits}f} [{one.low:+.{digits}f}, {one.high:+.{digits}f}]"


# Tables 1, 2, 4, 5 and 6

MARGIN = 0.5
"""Points of AP within which two variants are called equivalent."""


def paper_name(variant: str) -> str:
    """As the paper writes it."""
    table, _, row = variant.partition("/")
    if not row:
        return variant
    return {"baseline": "baseline", "implicit1": "+ iFA, × iPR"}.get(row, TABLES[table][row].paper_name)


def rows_table() -> Iterator[str]:
    """AP of each variant and its difference from the baseline."""
    groups = {key[0]: rows for key, rows in group_rows(implicit_rows.TABLE.read(), ("variant",)).items()}
    base = groups.get("table1/baseline", {})
    found = {
        name: compare_groups(rows, base)
        for name, rows in groups.items()
        if rows is not base and len(rows) > 1
    }
    judged = judge_all(found, MARGIN)
    head = ("variant", "n", "learned", "AP", "AP50", "AP75", "held-out loss", "AP - baseline", "verdict")
    yield from table_lines(head, (_row_cells(name, groups[name], judged) for name in groups))


def _row_cells(name: str, rows: Mapping[str, Row], judged: Judged) -> list[str]:
    first = next(iter(rows.values()))
    scores = [mean_text(pick_values(rows, score)) for score in ("AP", "AP50", "AP75")]
    return [
        paper_name(name),
        str(len(rows)),
        first["numbers"],
        *scores,
        mean_text(pick_values(rows, "loss", 1), 4),
        *judged.cells(name),
    ]


# Figure 9

ROLES = ("x, y", "w, h", "objectness", "classes")


def role_list(values: int, anchors: int = 9) -> list[int]:
    """The role of each refined value: of each anchor x, y, w, h, objectness and the classes."""
    each = values // anchors
    return [0, 0, 1, 1, 2, *[3] * (each - 5)] * anchors


def role_shares(variant: str) -> dict[str, tuple[float, float]]:
    """By seed the share of variance that roles explain, the mean over the levels, and the largest p of a
    level."""
    rows = [row for row in implicit_rows.TABLE.read() if row["variant"] == variant]
    return {
        row["seed"]: _level_shares(np.array(row["values"].split(";"), float), int(row["seed"]))
        for row in rows
    }


def _level_shares(values: np.ndarray, seed: int) -> tuple[float, float]:
    levels = np.split(values, 3)
    roles = role_list(len(levels[0]), 3)
    shares = [explained_share(level, roles) for level in levels]
    p = max(permutation_p(level, roles, rounds=ROUNDS, seed=seed) for level in levels)
    return statistics.fmean(shares), p


def roles_table() -> Iterator[str]:
    """The shares of both operators."""
    head = ("refinement", "n", "share explained", "least", "largest p of any level and seed")
    yield from table_lines(head, map(_role_cells, implicit_rows.REFINED))


def _role_cells(variant: str) -> list[str]:
    shares = role_shares(variant)
    values = [share for share, _ in shares.values()]
    if not values:
        return [paper_name(variant), "0", "", "", ""]
    largest = max(p for _, p in shares.values())
    return [
        paper_name(variant),
        str(len(values)),
        mean_text(values, 3),
        f"{min(values):.3f}",
        f"{largest:.4f}",
    ]
