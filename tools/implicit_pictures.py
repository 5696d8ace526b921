"""The pictures of docs/implicit.md, from the rows of the experiments."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import implicit_added
import implicit_rows
import implicit_tasks
import numpy as np
from implicit_networks import TRAINED
from implicit_step_tables import FULL, HEADS_ALONE, StepRuns, best_rate, mean_loss, read_curve, steps_groups
from implicit_table import Row
from implicit_tables import group_rows, paper_name, pick_values
from implicit_task_tables import PLACE_NAMES, read_tasks

from yolor_cfg.report.figures import (
    BLUE,
    CYAN,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    Chart,
    add_legend,
    mark_empty,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = [name for name in implicit_added.CHOICES if "longer" not in name]
INKS = (GRAY, BLUE, RED, PURPLE, GREEN, ORANGE, CYAN, "#000000", "#7a5a1e")
LOSS_TOP = 1.0
"""Losses above are drawn as this one: a run that diverges has no end."""


def draw_steps(figure: Figure, runs: StepRuns = HEADS_ALONE) -> None:
    """Left the loss by steps, each variant at its best rate; right the loss at the end by rate."""
    curves, heat = figure.subplots(1, 2, width_ratios=(3, 2))
    groups = steps_groups(runs)
    if not groups:
        mark_empty(curves, "no runs yet")
        return
    for ink, (name, rates) in zip(INKS, groups.items(), strict=False):
        rate = best_rate(rates)
        table = np.array([read_curve(row) for row in rates[rate].values()])
        _draw_runs(curves, table, runs.every, ink=ink, label=f"{name}, rate {rate:g}")
    low = min(mean_loss(rates[best_rate(rates)]) for rates in groups.values())
    curves.set(title="Loss of other images, at the best rate", xlabel="steps", ylabel="loss")
    curves.set_ylim(low - 0.02, low + 0.3)
    curves.legend(loc="upper right")
    curves.grid(True)
    _draw_heat(heat, groups, low)


def _draw_runs(axes: Axes, table: np.ndarray, every: int, *, ink: str, label: str) -> None:
    steps = np.arange(table.shape[1]) * every
    for line in table:
        axes.plot(steps, line, color=ink, lw=0.5, alpha=0.3)
    axes.plot(steps, table.mean(0), color=ink, lw=2, label=label)


def _draw_heat(axes: Axes, groups: Mapping[str, Mapping[float, Mapping[str, Row]]], low: float) -> None:
    known = sorted({rate for rates in groups.values() for rate in rates})
    table = np.array(
        [[_shown_loss(rates.get(rate, {})) for rate in known] for rates in groups.values()], np.float64
    )
    axes.imshow(table, cmap="viridis_r", vmin=low, vmax=low + 0.1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        ink = "white" if value > low + 0.05 else "black"
        text = f"{value:.3f}" if value < LOSS_TOP else f"> {LOSS_TOP:g}"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set(title="Mean loss after the last step", xlabel="rate")
    axes.set_xticks(range(len(known)), [f"{rate:g}" for rate in known])
    axes.set_yticks(range(len(groups)), list(groups))


def _shown_loss(rows: Mapping[str, Row]) -> float:
    return min(LOSS_TOP, mean_loss(rows)) if rows else math.nan


def draw_roles(figure: Figure) -> None:
    """Figure 9: each learned value by what it refines, of all anchors, levels and seeds."""
    for axes, variant in zip(figure.subplots(1, 2), implicit_rows.REFINED, strict=True):
        rows = [row for row in implicit_rows.TABLE.read() if row["variant"] == variant]
        axes.set(title=f"{paper_name(variant)}: learned values", xlabel="of a prediction")
        axes.grid(True, axis="y")
        if rows:
            _draw_values(axes, np.array([row["values"].split(";") for row in rows], np.float64))
        else:
            mark_empty(axes, "no runs yet")


def _draw_values(axes: Axes, table: Any) -> None:
    values = table.reshape(-1, 11)  # [seeds x levels x anchors, x y w h objectness and six classes]
    rng = np.random.default_rng(0)
    inks = (*[BLUE] * 2, *[RED] * 2, GREEN, *[GRAY] * 6)
    for place, ink in enumerate(inks):
        x = place + rng.uniform(-0.3, 0.3, len(values))
        axes.plot(x, values[:, place], ".", color=ink, ms=2, alpha=0.4)
        axes.hlines(values[:, place].mean(), place - 0.4, place + 0.4, color="black", lw=1.5)
    axes.set_xticks(range(len(inks)), ["x", "y", "w", "h", "obj", *[f"c{n}" for n in range(6)]])


def draw_tasks(figure: Figure) -> None:
    """AP50 by number of tasks, for each length of training."""
    lengths = (implicit_tasks.SHORT, implicit_tasks.STEPS)
    for axes, steps in zip(figure.subplots(1, len(lengths), sharey=True), lengths, strict=True):
        groups = {key[1:]: rows for key, rows in read_tasks().items() if key[0] == str(steps)}
        _draw_places(axes, groups)
        axes.set(title=f"{steps} steps", xlabel="tasks", xticks=implicit_tasks.COUNTS, ylim=(0, 100))
        axes.grid(True)
    figure.axes[0].set_ylabel("AP50 in %, mean over the tasks")
    figure.axes[-1].legend(loc="lower left")


def _draw_places(axes: Axes, groups: Mapping[tuple[str, ...], Mapping[str, Row]]) -> None:
    for ink, (place, name) in zip((GRAY, BLUE, RED, GREEN, PURPLE), PLACE_NAMES.items(), strict=True):
        found = [(int(k), pick_values(rows, "AP50")) for (k, its), rows in groups.items() if its == place]
        means = [statistics.fmean(values) for _, values in found]
        axes.plot([k for k, _ in found], means, "o-", color=ink, label=name)
        for k, values in found:
            axes.plot([k] * len(values), values, ".", color=ink, ms=3)


def draw_added(figure: Figure) -> None:
    """AP of the new task by the number of labelled images."""
    handles: dict[str, Any] = {}
    for axes, task in zip(figure.subplots(1, 3, sharey=True), implicit_added.TASKS, strict=True):
        rows = [row for row in implicit_added.TABLE.read() if row["task"] == task]
        axes.set(title=task, xlabel="labelled images", ylabel="AP in %")
        axes.grid(True)
        axes.set_xscale("log")
        counts = (*implicit_added.COUNTS, TRAINED)
        axes.set_xticks(counts, list(map(str, counts)))
        axes.minorticks_off()
        for ink, learns in zip(INKS, SHOWN, strict=True):
            groups = group_rows((row for row in rows if row["learns"] == learns), ("images",))
            points = sorted(
                (int(key[0]), statistics.fmean(pick_values(its, "AP"))) for key, its in groups.items()
            )
            if points:
                handles[learns] = axes.plot(*zip(*points, strict=True), "o-", color=ink)[0]
    add_legend(figure, list(handles.values()), list(handles))


CHARTS = {
    "steps": Chart(draw_steps, (12.0, 4.5)),
    "full": Chart(partial(draw_steps, runs=FULL), (12.0, 4.5)),
    "roles": Chart(draw_roles, (12.0, 4.5)),
    "tasks": Chart(draw_tasks, (10.0, 4.5)),
    "added": Chart(draw_added, (14.0, 4.5)),
}
