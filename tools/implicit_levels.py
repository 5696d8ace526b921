"""Section 3.2 of the paper: one head for all levels, with implicit knowledge for each level or without.

A 1x1 convolution for each level makes maps of one width from those of the neck. The head behind them, a 3x3
and a 1x1 convolution, is the same for all levels or another for each. No batch norm: its statistics would be
implicit knowledge of the level.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import torch
from implicit_cache import NetworkEnd, score_end
from implicit_learn import (
    HeadTask,
    Lesson,
    Recipe,
    build_network,
    implicit_parameters,
    learn_tasks,
    train_only,
)
from implicit_networks import find_levels, move_cache, variant_text
from implicit_table import FOLDER, Row, RunTable
from implicit_tasks import read_tips
from torch import Tensor

from yolor_cfg.model import Network
from yolor_cfg.rewrite.task_places import add_task_places
from yolor_cfg.train.loss import initialize_biases

WIDTH = 64
HEADS = ("a head a level", "one head", "one head, z before the non-linearity", "one head, z behind it")
STEPS, RATE, BATCH, FACTOR, RUNS = 150, 0.01, 8, 5.0, 5
TABLE = RunTable(FOLDER / "levels.csv", ("heads", "seed"), ("AP", "AP50", "numbers", "means", "seconds"))
HEAD_CONV = re.compile(r"\[convolutional\]\nbatch_normalize=1\nfilters=(?:80|112|160)\n(?=size=3)")
LATERAL = f"[convolutional]\nfilters={WIDTH}\nsize=1\nactivation=silu\n\n[convolutional]\nfilters={WIDTH}\n"


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed."""
    for seed, heads in product(range(RUNS), HEADS):
        yield {"heads": heads, "seed": seed}


def make_heads(heads: str, seed: int) -> Network:
    """The network of that kind; all levels start from the numbers of the first."""
    torch.manual_seed(seed)
    place = "table7/implicit1" if heads == HEADS[3] else "table1/baseline"
    text = variant_text(place)
    text = HEAD_CONV.sub(LATERAL, text)
    network = build_network(re.sub(r"(?m)^filters=(80|112|160)$", f"filters={WIDTH}", text))
    network = add_task_places(network, "heads").network if heads == HEADS[2] else network
    initialize_biases(network)
    first, *others = find_levels(network)
    for level, name in product(others, ("features", "prediction")):
        source = network.module_list[getattr(first, name)]
        if heads == HEADS[0]:
            network.module_list[getattr(level, name)].load_state_dict(source.state_dict())
        else:
            network.module_list[getattr(level, name)] = source
    return network


def measure(run: Mapping[str, Any]) -> Row:
    """COCO's numbers; how many numbers learn; the means of the implicit values of each level."""
    network = make_heads(run["heads"], run["seed"])
    given = [network.graph.nodes[level.tip].sources[0] for level in find_levels(network)]
    end = NetworkEnd(network, given)
    cached = move_cache(read_tips(), given)
    learning = {parameter: None for module in end.modules for parameter in module.parameters()}
    numbers = train_only(network, learning)
    recipe = Recipe(run["seed"], STEPS, RATE, batch=BATCH, factor=FACTOR)
    assert learn_tasks(Lesson([HeadTask(end, cached.train.targets)], cached.train), recipe)
    scores = score_end(end, cached.test)
    means: list[Tensor] = [value.detach().mean() for value in implicit_parameters(network)]
    told = {"numbers": str(numbers), "means": ";".join(f"{mean:.4f}" for mean in means)}
    return {"AP": f"{scores['AP']:.5f}", "AP50": f"{scores['AP50']:.5f}", **told}
