"""Figure 11 with a trunk that does not learn: how many steps to a loss, at which rates.

The predictions of all levels are learned anew from one start, at a constant rate; the loss of other images is
measured every ten steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from implicit_learn import HeadTask, Lesson, Recipe, learn_tasks, measure_loss, train_only
from implicit_networks import Cached, end_at, find_levels, make_variant, move_cache, read_cache
from implicit_table import FOLDER, Row, RunTable

VARIANTS = {
    "plain": "table1/baseline",
    "+ iFA": "table1/iFA",
    "× iPR": "table4/mul-iPR",
    "+ iFA, × iPR": "table7/implicit1",
}
RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
STEPS, EVERY, RUNS = 100, 10, 10
TABLE = RunTable(FOLDER / "steps.csv", ("variant", "rate", "seed"), ("loss", "curve", "seconds"))
read_features = cache(lambda: read_cache("features"))


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed."""
    for seed in range(RUNS):
        for rate in RATES:
            for variant in VARIANTS:
                yield {"variant": variant, "rate": rate, "seed": seed}


def measure(run: Mapping[str, Any]) -> Row:
    """The loss after 0, 10, 20 ... steps; infinite from where it is no number."""
    network = make_variant(VARIANTS[run["variant"]], run["seed"])
    end = end_at(network, "features")
    cached: Cached = move_cache(read_features(), [level.features for level in find_levels(network)])
    train_only(network, [parameter for module in end.modules for parameter in module.parameters()])
    held, curve = HeadTask(end, cached.held.targets), list[float]()

    def watch(step: int) -> bool:
        if step % EVERY == 0:
            curve.append(measure_loss(held, cached.held))
        return math.isfinite(curve[-1])

    recipe = Recipe(run["seed"], STEPS, run["rate"], is_constant=True)
    learn_tasks(Lesson([HeadTask(end, cached.train.targets)], cached.train), recipe, watch=watch)
    return curve_cells(curve, STEPS // EVERY + 1)


def curve_cells(curve: Sequence[float], count: int) -> Row:
    """The cells of so many losses, of which the last may be missing, since they are no numbers."""
    whole = [*curve, *[math.inf] * (count - len(curve))]
    return {"loss": f"{whole[-1]:.5f}", "curve": ";".join(f"{loss:.4f}" for loss in whole)}
