"""Figure 11 in docs/implicit.md from the rows of its experiments: with a trunk that does not learn, and on
full networks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import implicit_full
import implicit_steps
from implicit_stats import PairedDifference, paired_difference
from implicit_table import Row, RunTable
from implicit_tables import Judged, group_rows, judge_all, pick_values, table_lines

NEAR = 0.01
"""How far above the target a loss may be for a rate to be called usable, and the margin of equivalence."""


class StepRuns(NamedTuple):
    """Runs at constant rates: their rows, their steps, and after how many steps a loss is measured."""

    table: RunTable
    steps: int
    every: int


HEADS_ALONE = StepRuns(implicit_steps.TABLE, implicit_steps.STEPS, implicit_steps.EVERY)
FULL = StepRuns(implicit_full.TABLE, implicit_full.STEPS, implicit_full.EVERY)


def steps_groups(runs: StepRuns) -> dict[str, dict[float, dict[str, Row]]]:
    """The runs by variant and rate."""
    groups: dict[str, dict[float, dict[str, Row]]] = {}
    for (variant, rate), rows in group_rows(runs.table.read(), ("variant", "rate")).items():
        groups.setdefault(variant, {})[float(rate)] = rows
    return groups


def best_rate(rates: Mapping[float, Mapping[str, Row]]) -> float:
    """That of the lowest mean loss at the end, of the rates with the most seeds."""
    most = max(map(len, rates.values()))
    whole = [rate for rate, rows in rates.items() if len(rows) == most]
    return min(whole, key=lambda rate: mean_loss(rates[rate]))


def read_curve(row: Row) -> list[float]:
    """The losses at equal distances, from that before the first step on."""
    return [float(cell) for cell in row["curve"].split(";")]


def steps_to(curve: Sequence[float], target: float, every: int) -> float:
    """The steps to the target, linearly between two measurements; infinite if it is not reached."""
    for number, (before, after) in enumerate(zip(curve, curve[1:], strict=False)):
        if after <= target:
            part = (before - target) / (before - after) if before > target else 0.0
            return every * (number + part)
    return math.inf


def mean_loss(rows: Mapping[str, Row]) -> float:
    """At the end."""
    return statistics.fmean(pick_values(rows, "loss", 1))


def steps_table(runs: StepRuns) -> Iterator[str]:
    """Best rate, loss, steps to the target and usable rates of each variant."""
    groups = steps_groups(runs)
    if "plain" not in groups:
        return
    target = mean_loss(groups["plain"][best_rate(groups["plain"])])
    plain = groups["plain"]
    others = [name for name, rates in groups.items() if name != "plain" and _share_seeds(rates, plain)]
    losses = {name: _loss_difference(groups[name], plain) for name in others}
    judged = judge_all(losses, NEAR)
    head = ("variant", "n", "best rate", "loss at its end", "difference from plain", "verdict")
    more = ("steps to plain's loss", "usable rates")
    cells = (_step_cells(name, groups, runs, target=target, judged=judged) for name in groups)
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
    groups: Mapping[str, Mapping[float, Mapping[str, Row]]],
    runs: StepRuns,
    *,
    target: float,
    judged: Judged,
) -> list[str]:
    rates = groups[name]
    best = best_rate(rates)
    steps = [steps_to(read_curve(row), target, runs.every) for row in rates[best].values()]
    usable = [f"{rate:g}" for rate in sorted(rates) if mean_loss(rates[rate]) <= target + NEAR]
    told = judged.cells(name, 4)
    middle = statistics.median(steps)
    told_steps = f"{middle:.0f}" if math.isfinite(middle) else f"over {runs.steps}"
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
