"""Training of what stands behind a trunk that does not learn: one task or several, on cached values.

Runs of one seed see the same images in the same order, whatever they train.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from implicit_cache import CachedPictures, NetworkEnd, Values, batch_targets
from numpy.typing import NDArray
from torch import Tensor, nn

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitModel
from yolor_cfg.train.loss import LossRules, detection_loss
from yolor_cfg.train.optim import OptimizerSettings, build_optimizer, parameter_groups

RULES = LossRules(box=0.1, classes=4.0)
"""The gains that weights/yolor_nano_shapes.pt was trained with."""
LAST_RATE, WARM = 0.02, 10
ORDER = 1000
"""Separates the order of the images from other random numbers of a seed."""
ImageNumbers = Sequence[int] | NDArray[np.int64]


class Recipe(NamedTuple):
    """How a run learns: `rate` falls to a fiftieth along a cosine, after ten steps of warm-up, or is
    constant; `factor` multiplies it for implicit knowledge."""

    seed: int
    steps: int
    rate: float
    batch: int = 16
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    factor: float = 1.0
    is_constant: bool = False

    def rate_at(self, step: int) -> float:
        """The rate of this step, counted from 0."""
        if self.is_constant:
            return self.rate
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.rate * (LAST_RATE + (1 - LAST_RATE) * cosine) * min(1.0, (step + 1) / WARM)


class HeadTask(NamedTuple):
    """The end of a network that does the task, and what it has to find in each image: boxes, and perhaps how
    much the image has of each class [N, K], and the identities of its objects."""

    end: NetworkEnd
    targets: Sequence[Tensor]
    truth: Tensor | None = None
    identities: Sequence[Tensor] | None = None
    rules: LossRules = RULES


class Lesson(NamedTuple):
    """Tasks that are learned together from cached pictures. `shared`, if any, is computed once for all tasks:
    from the cached values those that the ends of the tasks read. `factors` multiply the rate of single
    parameters."""

    tasks: Sequence[HeadTask]
    pictures: CachedPictures
    shared: NetworkEnd | None = None
    factors: Mapping[nn.Parameter, float] = {}

    def read(self, images: ImageNumbers) -> Values:
        """What the ends of the tasks read for these images."""
        values = self.pictures.select(images)
        return (
            values if self.shared is None else dict(zip(self.shared.wanted, self.shared(values), strict=True))
        )


Watcher = Callable[[int], bool]
"""Is told the number of steps done, before each step; says whether to go on."""


def build_network(text: str) -> Network:
    """The network of a cfg text."""
    return Network(build_graph(parse(text)))


def learn_tasks(lesson: Lesson, recipe: Recipe, *, watch: Watcher | None = None) -> bool:
    """Train what of the tasks' networks takes gradients, on the sum of their losses; False if a loss was no
    finite number or the watcher ended it."""
    optimizer = make_optimizer([task.end.network for task in lesson.tasks], recipe, factors=lesson.factors)
    count = len(lesson.pictures.targets)
    rng = np.random.default_rng([ORDER, recipe.seed])
    for step in range(recipe.steps):
        if watch is not None and not watch(step):
            return False
        set_rate(optimizer, recipe.rate_at(step))
        images = rng.choice(count, min(recipe.batch, count), replace=False)
        loss = sum_losses(lesson, images)
        if not math.isfinite(loss.item()):
            return False
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return watch is None or watch(recipe.steps)


def sum_losses(lesson: Lesson, images: ImageNumbers) -> Tensor:
    """The losses of these images, summed over the tasks, as means over the images."""
    values = lesson.read(images)
    parts = [task_loss(task, values, images) for task in lesson.tasks]
    return torch.stack(parts).sum() / len(images)


def task_loss(task: HeadTask, values: Mapping[int, Tensor], images: ImageNumbers) -> Tensor:
    """The summed loss of these images; infinite where the product refuses it as not finite."""
    raws = task.end(values)
    if not all(bool(torch.isfinite(raw).all()) for raw in raws):
        return raws[0].new_tensor(math.inf)
    truth = None if task.truth is None else task.truth[torch.as_tensor(np.asarray(images))]
    who = None if task.identities is None else torch.cat([task.identities[i] for i in images])
    targets, network = batch_targets(task.targets, images), task.end.network
    return detection_loss(raws, targets, network, rules=task.rules, truth=truth, identities=who).total


@torch.no_grad()
def measure_loss(task: HeadTask, pictures: CachedPictures, chunk: int = 80) -> float:
    """The mean loss of an image over all cached ones, in evaluation mode."""
    task.end.network.eval()
    total, count = 0.0, len(pictures.targets)
    for first in range(0, count, chunk):
        images = range(first, min(first + chunk, count))
        values = {layer: value[first : first + len(images)] for layer, value in pictures.values.items()}
        total += task_loss(task, values, images).item()
    return total / count


def make_optimizer(
    networks: Sequence[Network], recipe: Recipe, *, factors: Mapping[nn.Parameter, float]
) -> torch.optim.Optimizer:
    """The product's optimizer over the parameters of all networks, each once."""
    every = [parameter_groups(network) for network in networks]
    decayed, biases, others = (
        list(dict.fromkeys(parameter for groups in every for parameter in groups[kind])) for kind in range(3)
    )
    own = {parameter: recipe.factor for network in networks for parameter in implicit_parameters(network)}
    settings = OptimizerSettings(recipe.optimizer, recipe.weight_decay, 0.9)
    groups = every[0]._replace(decayed=decayed, biases=biases, others=others)
    return build_optimizer(groups, settings, factors={**own, **factors})


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all groups, times their factors."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def implicit_parameters(network: Network) -> list[nn.Parameter]:
    """The parameters of implicit knowledge."""
    modules = (module for module in network.module_list if isinstance(module, ImplicitModel))
    return [parameter for module in modules for parameter in module.parameters()]


def train_only(network: Network, parameters: Iterable[nn.Parameter]) -> int:
    """Let these parameters alone take gradients; returns how many numbers they are."""
    network.requires_grad_(False)
    chosen = list(parameters)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return sum(parameter.numel() for parameter in chosen)


def copy_for_task(network: Network) -> Network:
    """Another network that shares all modules but those of implicit knowledge, of which it has copies: what a
    task pack is."""
    twin = Network(network.graph)
    for index, module in enumerate(network.module_list):
        own = copy.deepcopy(module) if isinstance(module, ImplicitModel) else module
        twin.module_list[index] = own
    return twin
