"""Tables of docs/implicit.md from the rows of the experiments: what is in common, the paper's tables, Figures
9 and 11. AP and its differences are in percent.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import implicit_rows
import implicit_steps
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


# Figure 11

NEAR = 0.01
"""How far above the target a loss may be for a rate to be called usable, and the margin of equivalence."""


def steps_groups() -> dict[str, dict[float, dict[str, Row]]]:
    """The runs by variant and rate."""
    groups: dict[str, dict[float, dict[str, Row]]] = {}
    for (variant, rate), rows in group_rows(implicit_steps.TABLE.read(), ("variant", "rate")).items():
        groups.setdefault(variant, {})[float(rate)] = rows
    return groups


def best_rate(rates: Mapping[float, Mapping[str, Row]]) -> float:
    """That of the lowest mean loss at the end, of the rates with the most seeds."""
    most = max(map(len, rates.values()))
    whole = [rate for rate, rows in rates.items() if len(rows) == most]
    return min(whole, key=lambda rate: mean_loss(rates[rate]))


def read_curve(row: Row) -> list[float]:
    """The losses after 0, 10, 20 ... steps."""
    return [float(cell) for cell in row["curve"].split(";")]


def steps_to(curve: Sequence[float], target: float) -> float:
    """The steps to the target, linearly between two measurements; infinite if it is not reached."""
    for number, (before, after) in enumerate(zip(curve, curve[1:], strict=False)):
        if after <= target:
            part = (before - target) / (before - after) if before > target else 0.0
            return implicit_steps.EVERY * (number + part)
    return math.inf


def mean_loss(rows: Mapping[str, Row]) -> float:
    """At the end."""
    return statistics.fmean(pick_values(rows, "loss", 1))


def steps_table() -> Iterator[str]:
    """Best rate, loss, steps to the target and usable rates of each variant."""
    groups = steps_groups()
    if "plain" not in groups:
        return
    target = mean_loss(groups["plain"][best_rate(groups["plain"])])
    plain = groups["plain"]
    others = [name for name, rates in groups.items() if name != "plain" and _share_seeds(rates, plain)]
    losses = {name: _loss_difference(groups[name], plain) for name in others}
    judged = judge_all(losses, NEAR)
    head = ("variant", "n", "best rate", "loss at its end", "difference from plain", "verdict")
    more = ("steps to plain's loss", "usable rates")
    cells = (_step_cells(name, rates, target=target, judged=judged) for name, rates in groups.items())
    yield from table_lines((*head, *more), cells)


def _share_seeds(rates: Mapping[float, Mapping[str, Row]], plain: Mapping[float, Mapping[str, Row]]) -> bool:
    """Whether two seeds or more have both at their best rates."""
    return len(rates[best_rate(rates)].keys() & plain[best_rate(plain)].keys()) > 1


def _loss_difference(
    rates: Mapping[float, Mapping[str, Row]], plain: Mapping[float, Mapping[str, Row]]
) -> PairedDifference:
    ours, base = rates[best_rate(rates)], plain[best_rate(plain)]
    seeds = [seed for seed in ours if seed in base]
    return paired_difference([float(ours[s]["loss"]) for s in seeds], [float(base[s]["loss"]) for s in seeds])


def _step_cells(
    name: str,
    rates: Mapping[float, Mapping[str, Row]],
    *,
    target: float,
    judged: Judged,
) -> list[str]:
    best = best_rate(rates)
    steps = [steps_to(read_curve(row), target) for row in rates[best].values()]
    usable = [f"{rate:g}" for rate in sorted(rates) if mean_loss(rates[rate]) <= target + NEAR]
    told = judged.cells(name, 4)
    middle = statistics.median(steps)
    told_steps = f"{middle:.0f}" if math.isfinite(middle) else f"over {implicit_steps.STEPS}"
    reached = f"{told_steps} ({sum(map(math.isfinite, steps))} of {len(steps)} reach it)"
    return [
        name,
        str(len(steps)),
        f"{best:g}",
        f"{mean_loss(rates[best]):.4f}",
        *told,
        reached,
        ", ".join(usable),
    ]
