"""Tables of docs/implicit.md from the rows of the experiments: several tasks, a task added, anchors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product

import implicit_added
import implicit_anchors
import implicit_joint_heads
import implicit_levels
import implicit_prepared
import implicit_tasks
import joint_tables
from implicit_stats import PairedDifference, seeds_for_equivalence
from implicit_step_tables import FULL, HEADS_ALONE, steps_table
from implicit_table import Row
from implicit_tables import (
    MARGIN,
    Judged,
    SeedGroups,
    compare_groups,
    group_rows,
    interval_text,
    judge_all,
    mean_text,
    pick_values,
    roles_table,
    rows_table,
    table_lines,
)

# Table 3, strong form

TASK_MARGIN, LEVEL_MARGIN = 2.0, 1.0
PLACE_NAMES = {
    "none": "none",
    "paper": "at the paper's place",
    "before": "before the non-linearity",
    "heads": "none, a head a task",
    "networks": "none, a network a task",
}


def tasks_table() -> Iterator[str]:
    """AP50 by place and number of tasks, and how far it is below a head and a network a task."""
    groups = read_tasks()
    judged = [_judge_places(groups, base) for base in implicit_tasks.OWN]
    head = (
        *("steps", "tasks", "implicit knowledge", "n", "own numbers of a task", "of a head's", "AP50", "AP"),
        *("AP50 - a head a task", "verdict", "AP50 - a network a task", "verdict"),
    )
    yield from table_lines(head, (_task_cells(key, groups, judged) for key in groups))


def _judge_places(groups: SeedGroups, base: str) -> Judged:
    """The differences in AP50 from what each task has of its own."""
    found = {}
    for key, rows in groups.items():
        others = groups.get((*key[:2], base), {})
        if key[2] != base and len(rows.keys() & others.keys()) > 1:
            found[" ".join(key)] = compare_groups(rows, others, "AP50")
    return judge_all(found, TASK_MARGIN)


def read_tasks() -> SeedGroups:
    """The rows by steps, number of tasks and place, with those of heads and of networks trained one at a
    time, `#1`, `#2` ..., as means over the first K."""
    groups = group_rows(implicit_tasks.TABLE.read(), ("steps", "tasks", "place"))
    found = {key: rows for key, rows in groups.items() if key[2] not in implicit_tasks.OWN}
    lengths = dict.fromkeys(steps for steps, _, _ in groups)
    for steps, count, place in product(lengths, implicit_tasks.COUNTS, implicit_tasks.OWN):
        parts = [groups.get((steps, f"#{number}", place), {}) for number in range(1, count + 1)]
        seeds = [seed for seed in parts[0] if all(seed in part for part in parts)]
        if seeds:
            means = {seed: _mean_row([part[seed] for part in parts]) for seed in seeds}
            found[steps, str(count), place] = means
    places = list(PLACE_NAMES)
    return dict(
        sorted(found.items(), key=lambda item: (int(item[0][0]), int(item[0][1]), places.index(item[0][2])))
    )


def _mean_row(rows: Sequence[Row]) -> Row:
    means = {name: str(statistics.fmean(float(row[name]) for row in rows)) for name in ("AP50", "AP")}
    return {**rows[0], **means}


def _task_cells(key: tuple[str, ...], groups: SeedGroups, judged: Sequence[Judged]) -> list[str]:
    rows = groups[key]
    own = int(next(iter(rows.values()))["added"])
    heads = groups.get((*key[:2], implicit_tasks.HEADS), {})
    whole = next((int(row["added"]) for row in heads.values()), 0)
    told = [cell for one in judged for cell in one.cells(" ".join(key), 1)]
    scores = [mean_text(pick_values(rows, score)) for score in ("AP50", "AP")]
    share = f"{100 * own / whole:.2f} %" if whole else ""
    return [*key[:2], PLACE_NAMES[key[2]], str(len(rows)), f"{own:,}", share, *scores, *told]


# a task added


def added_table(task: str) -> Iterator[str]:
    """AP by what learns and the number of labelled images."""
    groups = group_rows((r for r in implicit_added.TABLE.read() if r["task"] == task), ("learns", "images"))
    counts = sorted({int(images) for _, images in groups}, reverse=True)
    head = ("learns", "numbers", *[f"{count} images: AP, AP50" for count in counts])
    names = dict.fromkeys(learns for learns, _ in groups)
    yield from table_lines(head, (_added_cells(name, groups, counts) for name in names))


def _added_cells(name: str, groups: SeedGroups, counts: Sequence[int]) -> list[str]:
    cells = []
    for count in counts:
        rows = groups.get((name, str(count)), {})
        told = [mean_text(pick_values(rows, score)) for score in ("AP", "AP50")] if rows else ["–"]
        cells.append(", ".join(told))
    first = next(row for key, rows in groups.items() if key[0] == name for row in rows.values())
    return [name, f"{0 if name == 'nothing' else int(first['numbers']):,}", *cells]


def prepared_table() -> Iterator[str]:
    """AP50 and AP of the first and of the new task by the number of tasks learned together."""
    groups = group_rows(implicit_prepared.TABLE.read(), ("tasks",))
    head = ("tasks learned together", "n", "the first: AP50", "AP", "the new one, by z alone: AP50", "AP")
    names = ("first_AP50", "first_AP", "AP50", "AP")
    rows = (
        [key[0], str(len(its)), *(mean_text(pick_values(its, name)) for name in names)]
        for key, its in groups.items()
    )
    yield from table_lines(head, rows)


# anchors


def anchors_table() -> Iterator[str]:
    """AP by scale and operator, and the share of the lost AP that came back."""
    groups = group_rows(implicit_anchors.TABLE.read(), ("scale", "operator"))
    head = ("anchors times", "implicit knowledge", "n", "AP", "AP50", "of the lost AP recovered")
    yield from table_lines(head, (_anchor_cells(key, groups) for key in groups))


def _anchor_cells(key: tuple[str, ...], groups: SeedGroups) -> list[str]:
    rows, whole, lost = (_mean_ap(groups, one) for one in (key, ("1", "none"), (key[0], "none")))
    share = f"{100 * (rows - lost) / (whole - lost):.0f} %" if key[0] != "1" and key[1] != "none" else ""
    told = [mean_text(pick_values(groups[key], score)) for score in ("AP", "AP50")]
    return [key[0], key[1], str(len(groups[key])), *told, share]


def _mean_ap(groups: SeedGroups, key: tuple[str, ...]) -> float:
    return statistics.fmean(pick_values(groups[key], "AP")) if key in groups else math.nan


# levels


def levels_table() -> Iterator[str]:
    """AP of each kind of heads, its difference from a head a level, and the means of the implicit values."""
    groups = {key[0]: rows for key, rows in group_rows(implicit_levels.TABLE.read(), ("heads",)).items()}
    base = groups.get(implicit_levels.HEADS[0], {})
    found = {
        name: compare_groups(rows, base)
        for name, rows in groups.items()
        if rows is not base and len(rows.keys() & base.keys()) > 1
    }
    judged = judge_all(found, LEVEL_MARGIN)
    head = ("heads", "n", "learned", "AP", "AP50", "AP - a head a level", "verdict", "means of z, P3 to P5")
    yield from table_lines(head, (_level_cells(name, rows, judged) for name, rows in groups.items()))


def _level_cells(name: str, rows: Mapping[str, Row], judged: Judged) -> list[str]:
    first = next(iter(rows.values()))
    scores = [mean_text(pick_values(rows, score)) for score in ("AP", "AP50")]
    means = [row["means"].split(";") for row in rows.values() if row["means"]]
    told = "; ".join(f"{statistics.fmean(map(float, column)):.2f}" for column in zip(*means, strict=True))
    return [name, str(len(rows)), first["numbers"], *scores, *judged.cells(name), told]


# Table 3, paper's form

CONTRASTS = {
    "iJDC - JDC": ("+ iJDC", "JDC"),
    "iJDE - JDE": ("+ iJDE", "JDE"),
    "JDC - detection": ("JDC", "detection"),
    "JDE - detection": ("JDE", "detection"),
}
"""The family of tests."""
BESIDE = {
    "detection, + iFA - detection": ("detection, + iFA", "detection"),
    "JDE, fixed weights - detection": ("JDE, fixed weights", "detection"),
    "JDE - JDE, fixed weights": ("JDE", "JDE, fixed weights"),
}


def joint_table() -> Iterator[str]:
    """AP of detection of each network, and how well it does the second task."""
    groups = group_rows(implicit_joint_heads.TABLE.read(), ("network",))
    head = ("network", "n", "second task's numbers", "AP", "AP50", "AP75", "second task: mAP, rank-1")
    yield from table_lines(head, (_joint_cells(key[0], rows) for key, rows in groups.items()))


def _joint_cells(name: str, rows: Mapping[str, Row]) -> list[str]:
    added = int(next(iter(rows.values()))["added"])
    second = {seed: row for seed, row in rows.items() if row["second"]}
    scores = [mean_text(pick_values(rows, score)) for score in ("AP", "AP50", "AP75")]
    told = mean_text(pick_values(second, "second")) if second else ""
    return [name, str(len(rows)), f"{added:,}", *scores, told]


def contrasts_table() -> Iterator[str]:
    """The differences in AP, the verdicts on the family, and how many seeds an equivalence needs."""
    rows = implicit_joint_heads.TABLE.read()
    judged = judge_contrasts(compare_networks(rows, CONTRASTS))
    every = {**judged.differences, **compare_networks(rows, BESIDE)}
    head = ("difference", "n", "AP", "verdict", "seeds that equivalence needs")
    yield from table_lines(head, (_contrast_cells(name, one, judged) for name, one in every.items()))


def compare_networks(
    rows: Sequence[Row], contrasts: Mapping[str, tuple[str, str]]
) -> dict[str, PairedDifference]:
    """The differences for which there are two pairs or more."""
    groups = {key[0]: its for key, its in group_rows(rows, ("network",)).items()}
    pairs = {name: [groups.get(one, {}) for one in pair] for name, pair in contrasts.items()}
    return {name: compare_groups(a, b) for name, (a, b) in pairs.items() if len(a.keys() & b.keys()) > 1}


def judge_contrasts(differences: Mapping[str, PairedDifference]) -> Judged:
    """The verdicts, within half a point of AP."""
    return judge_all(differences, MARGIN)


def _contrast_cells(name: str, one: PairedDifference, judged: Judged) -> list[str]:
    needed = seeds_for_equivalence(one, MARGIN, tests=len(CONTRASTS))
    return [name, str(one.n), interval_text(one), judged.verdicts.get(name, ""), str(needed)]


BLOCKS: dict[str, Callable[[], Iterator[str]]] = {
    "rows": rows_table,
    "roles": roles_table,
    "steps": partial(steps_table, HEADS_ALONE),
    "full": partial(steps_table, FULL),
    "tasks": tasks_table,
    "added-exchanged": lambda: added_table("exchanged"),
    "added-colours": lambda: added_table("colours"),
    "added-textures": lambda: added_table("textures"),
    "prepared": prepared_table,
    "anchors": anchors_table,
    "levels": levels_table,
    "joint": joint_tables.ways_table,
    "joint-pairs": joint_tables.pairs_table,
    "joint-heads": joint_table,
    "joint-heads-differences": contrasts_table,
}
