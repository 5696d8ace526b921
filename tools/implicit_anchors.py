"""Section 3.3 of the paper: anchors that do not fit, and which operator repairs them.

The anchors of the trained detector are halved or doubled; everything is frozen but implicit knowledge behind
the predictions. A width is a (2 s(t))^2: with another anchor, t has to become another number. Added, z shifts
every t; a factor cannot move t = 0, where the width is the anchor's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
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
from implicit_networks import end_at, find_levels, load_trunk, move_cache, variant_text
from implicit_steps import read_features
from implicit_table import FOLDER, Row, RunTable

from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitTensor
from yolor_cfg.rewrite.fold import fold

SCALES = (0.5, 1.0, 2.0)
OPERATORS = {"none": "table1/baseline", "+": "table2/iPR", "×": "table4/mul-iPR"}
STEPS, RATE, BATCH, RUNS = 150, 0.05, 8, 5
TABLE = RunTable(FOLDER / "anchors.csv", ("scale", "operator", "seed"), ("AP", "AP50", "AP75", "seconds"))


def list_runs() -> Iterator[dict[str, object]]:
    """Without implicit knowledge nothing learns, and one run is enough."""
    for seed, scale, operator in product(range(RUNS), SCALES, OPERATORS):
        if operator != "none" or seed == 0:
            yield {"scale": scale, "operator": operator, "seed": seed}


@cache
def _fold_trunk() -> Network:
    """The trained network, its implicit knowledge in its convolutions."""
    return fold(load_trunk(), norms=False).network


def make_scaled(operator: str, scale: float) -> Network:
    """The variant with the trained heads and scaled anchors; its own implicit knowledge changes nothing."""
    text = variant_text(OPERATORS[operator])
    network = build_network(
        re.sub(r"(?m)^anchors=(.*,.*)$", lambda found: _scale(found.group(1), scale), text)
    )
    for mine, trained in zip(find_levels(network), find_levels(_fold_trunk()), strict=True):
        for to, source in zip(mine[1:], trained[1:], strict=True):
            network.module_list[to].load_state_dict(_fold_trunk().module_list[source].state_dict())
    with torch.no_grad():
        for module in network.module_list:
            if isinstance(module, ImplicitTensor):
                module.implicit.fill_(1.0 if operator == "×" else 0.0)
    return network.eval()


def _scale(anchors: str, scale: float) -> str:
    numbers = [float(number) * scale for number in anchors.split(",")]
    return "anchors=" + ",".join(f"{number:g}" for number in numbers)


def measure(run: Mapping[str, Any]) -> Row:
    """COCO's numbers after the implicit knowledge has learned."""
    network = make_scaled(run["operator"], run["scale"])
    end: NetworkEnd = end_at(network, "features")
    cached = move_cache(read_features(), [level.features for level in find_levels(network)])
    train_only(network, implicit_parameters(network))
    if run["operator"] != "none":
        recipe = Recipe(run["seed"], STEPS, RATE, batch=BATCH)
        assert learn_tasks(Lesson([HeadTask(end, cached.train.targets)], cached.train), recipe)
    scores = score_end(end, cached.test)
    return {name: f"{scores[name]:.5f}" for name in ("AP", "AP50", "AP75")}
