"""Figure 11 on five full networks, all of whose weights learn from nothing: how many steps to a loss, at
which rates.

They are yolor_micro with five starts. A variant starts from the weights of the network without implicit
knowledge, and both see the same drawn images in the same order. The loss of other images is measured with the
statistics of its batch, since running means lag behind in so short a training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from implicit_cache import CachedPictures, NetworkEnd, draw_pictures, image_values
from implicit_learn import HeadTask, Lesson, Recipe, build_network, learn_tasks, task_loss
from implicit_networks import CLASSES, DATA_SEEDS
from implicit_steps import curve_cells
from implicit_table import FOLDER, Row, RunTable
from torch import nn

from yolor_cfg.graph import IMAGE_INDEX
from yolor_cfg.model import Network
from yolor_cfg.networks.paper import ablation_text
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.train.loss import initialize_biases

BASE = "yolor_micro"
VARIANTS = {"plain": "table1/baseline", "+ iFA, × iPR": "table7/implicit1"}
RATES = (0.004, 0.016)
STEPS, EVERY, RUNS, SIDE, TRAINED, HELD, CHUNK = 200, 20, 5, 128, 480, 64, 16
SHRINK = 2.5
"""The anchors of the base are for 320 pixels."""
TABLE = RunTable(FOLDER / "full.csv", ("variant", "rate", "seed"), ("loss", "curve", "seconds"))


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed."""
    for seed in range(RUNS):
        for rate in RATES:
            for variant in VARIANTS:
                yield {"variant": variant, "rate": rate, "seed": seed}


def make_network(variant: str, seed: int) -> Network:
    """The variant; what both have starts as in the network without implicit knowledge."""
    networks = []
    for place in (VARIANTS["plain"], VARIANTS[variant]):
        torch.manual_seed(seed)
        networks.append(build_network(_small_text(place)))
    plain, other = networks
    initialize_biases(plain)
    for mine, given in zip(own_modules(other), own_modules(plain), strict=True):
        mine.load_state_dict(given.state_dict())
    return other.train()


def own_modules(network: Network) -> list[nn.Module]:
    """Those with weights, but for implicit knowledge."""
    return [
        module
        for module in network.module_list
        if not isinstance(module, ImplicitModel) and module.state_dict()
    ]


def _small_text(place: str) -> str:
    table, _, row = place.partition("/")
    text = ablation_text(table, row, base=BASE, classes=CLASSES)
    text = re.sub(r"(?m)^(width|height)=.*$", rf"\1={SIDE}", text)
    return re.sub(r"(?m)^anchors=(.*,.*)$", lambda found: f"anchors={_shrink(found.group(1))}", text)


def _shrink(anchors: str) -> str:
    return ",".join(str(max(1, round(float(side) / SHRINK))) for side in anchors.split(","))


@cache
def read_images(part: str) -> CachedPictures:
    """The drawn images, as values of the image itself."""
    return image_values(draw_pictures(TRAINED if part == "train" else HELD, DATA_SEEDS[part], side=SIDE))


@torch.no_grad()
def measure_held(network: Network) -> float:
    """The mean loss of an image that is not learned from."""
    held = read_images("held")
    task = HeadTask(NetworkEnd(network, [IMAGE_INDEX]), held.targets)
    losses = []
    for first in range(0, HELD, CHUNK):
        images = range(first, first + CHUNK)
        losses.append(task_loss(task, held.select(images), images).item())
    return sum(losses) / HELD


def measure(run: Mapping[str, Any]) -> Row:
    """The loss after 0, 20, 40 ... steps; infinite from where it is no number."""
    network = make_network(run["variant"], run["seed"])
    train, curve = read_images("train"), list[float]()

    def watch(step: int) -> bool:
        if step % EVERY == 0:
            curve.append(measure_held(network))
        return math.isfinite(curve[-1])

    task = HeadTask(NetworkEnd(network, [IMAGE_INDEX]), train.targets)
    recipe = Recipe(run["seed"], STEPS, run["rate"], batch=8, is_constant=True)
    learn_tasks(Lesson([task], train), recipe, watch=watch)
    return curve_cells(curve, STEPS // EVERY + 1)
