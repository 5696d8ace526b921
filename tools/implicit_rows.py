"""Tables 1, 2, 4, 5, 6 and 7 and Figure 9 with a trunk that does not learn: AP of rows of the paper's
ablations, whose predictions are learned from one start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from implicit_cache import score_end
from implicit_learn import (
    HeadTask,
    Lesson,
    Recipe,
    implicit_parameters,
    learn_tasks,
    measure_loss,
    train_only,
)
from implicit_networks import SEEDS, end_at, find_levels, make_variant, move_cache
from implicit_steps import read_features
from implicit_table import FOLDER, Row, RunTable

from yolor_cfg.model import Network

VARIANTS = (
    "table1/baseline",
    "table2/iPR",
    "table4/mul-iPR",
    "table1/iFA",
    "table7/implicit1",
    "table4/mul-iFA",
    "table4/cat-iFA",
    "table5/mul-iFA-star",
    "table5/mul-iPR-star",
    "table6/wiFA",
    "table6/icFA",
    "fixed factors",
    "small start",
)
FIXED = (0.25, 0.25, 0.2, 0.2, 0.75, *[0.9] * 6)
"""Factors of x, y, w, h, objectness and the classes, near to those of × iPR with the first two seeds. As
fixed numbers, with the convolution before them divided by them at the start, they only change the rates."""
REFINED = ("table2/iPR", "table4/mul-iPR")
"""The variants of Figure 9."""
STEPS, RATE, BATCH, RUNS = 240, 0.03, 8, SEEDS
SCORES = ("AP", "AP50", "AP75")
TABLE = RunTable(FOLDER / "rows.csv", ("variant", "seed"), (*SCORES, "loss", "numbers", "values", "seconds"))


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed."""
    for seed in range(RUNS):
        for variant in VARIANTS:
            yield {"variant": variant, "seed": seed}


def measure(run: Mapping[str, Any]) -> Row:
    """COCO's numbers; the held-out loss; how many numbers learn; what the refinement of each level became."""
    network = make_row(run["variant"], run["seed"])
    end = end_at(network, "features")
    cached = move_cache(read_features(), [level.features for level in find_levels(network)])
    learning = {parameter: None for module in end.modules for parameter in module.parameters()}
    if run["variant"] == "fixed factors":
        learning = {p: None for p in learning if p not in set(implicit_parameters(network))}
    numbers = train_only(network, learning)
    recipe = Recipe(run["seed"], STEPS, RATE, batch=BATCH)
    assert learn_tasks(Lesson([HeadTask(end, cached.train.targets)], cached.train), recipe)
    scores = score_end(end, cached.test)
    loss = measure_loss(HeadTask(end, cached.held.targets), cached.held)
    told = refinement_text(network) if run["variant"] in REFINED else ""
    return {
        **{name: f"{scores[name]:.5f}" for name in SCORES},
        "loss": f"{loss:.5f}",
        "numbers": str(numbers),
        "values": told,
    }


def make_row(variant: str, seed: int) -> Network:
    """The network of that row at its start."""
    if variant == "fixed factors":
        return fix_factors(make_variant("table4/mul-iPR", seed))
    if variant == "small start":
        return scale_start(make_variant("table1/baseline", seed))
    return make_variant(variant, seed)


@torch.no_grad()
def fix_factors(network: Network) -> Network:
    """Set the factors of × iPR, so that the network computes the same as without them."""
    for factor, level in zip(implicit_parameters(network), find_levels(network), strict=True):
        factor.copy_(torch.tensor(FIXED * (factor.numel() // len(FIXED))).reshape(factor.shape))
        for parameter in network.module_list[level.prediction].parameters():
            parameter.div_(factor.reshape(-1, *[1] * (parameter.ndim - 1)))
    return network


@torch.no_grad()
def scale_start(network: Network) -> Network:
    """Multiply the rows of the predictions' weights by the factors; the biases stay."""
    for level in find_levels(network):
        block: Any = network.module_list[level.prediction]
        weight = block.Conv2d.weight
        weight.mul_(torch.tensor(FIXED * (len(weight) // len(FIXED)))[:, None, None, None])
    return network


def refinement_text(network: Network) -> str:
    """The values of all levels, one after the other."""
    values = [value for parameter in implicit_parameters(network) for value in parameter.flatten().tolist()]
    return ";".join(f"{value:.5f}" for value in values)
