"""A task added by implicit knowledge alone to a head that has learned one task, or several together.

The head learns N tasks, which name the drawn objects by permutations of their classes, each with implicit
knowledge of its own before the last non-linearity. Then all but the implicit knowledge is frozen, and one
more permutation is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import torch
from implicit_cache import CachedPictures, NetworkEnd, cache_end, relabel, score_end
from implicit_learn import (
    HeadTask,
    Lesson,
    Recipe,
    copy_for_task,
    implicit_parameters,
    learn_tasks,
    train_only,
)
from implicit_networks import CLASSES, find_levels, move_cache
from implicit_table import FOLDER, Row, RunTable
from implicit_tasks import SHORT, TaskNetworks, make_networks, read_tips, recipe_of, train_whole_heads
from torch import Tensor

COUNTS, RUNS = (1, 4, 8, 16), 3
STEPS, RATE, BATCH = 300, 0.1, 8
NEW = torch.tensor([3, 4, 5, 0, 1, 2])
TABLE = RunTable(
    FOLDER / "prepared.csv", ("tasks", "seed"), ("first_AP50", "first_AP", "AP50", "AP", "seconds")
)


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed."""
    for seed, count in product(range(RUNS), COUNTS):
        yield {"tasks": count, "seed": seed}


def draw_orders(count: int, seed: int) -> list[Tensor]:
    """The classes as they are, then permutations by chance that leave no class alone and are not the new
    one."""
    chance, found = torch.Generator().manual_seed(seed), [torch.arange(CLASSES)]
    while len(found) < count:
        order = torch.randperm(CLASSES, generator=chance)
        if bool((order != found[0]).all()) and not any(bool((order == one).all()) for one in [NEW, *found]):
            found.append(order)
    return found


def name_objects(pictures: CachedPictures, order: Tensor) -> list[Tensor]:
    """The targets with the classes in that order."""
    return relabel(pictures.targets, [order[table[:, 0].long()] for table in pictures.targets])


def measure(run: Mapping[str, Any]) -> Row:
    """COCO's numbers of the first task, and of the new one."""
    made = make_networks("before", run["tasks"], run["seed"])
    cached = move_cache(read_tips(), [level.tip for level in find_levels(made.networks[0])])
    orders = draw_orders(run["tasks"], run["seed"])
    train_whole_heads(
        made, [name_objects(cached.train, order) for order in orders], recipe_of(run["seed"], SHORT)
    )
    assert made.shared is not None
    made.networks[0].eval()
    train, test = (cache_end(made.shared, part) for part in (cached.train, cached.test))
    first = score_end(NetworkEnd(made.networks[0], made.given), test)
    found = add_task(made, train, test, seed=run["seed"])
    scores = {"first_AP50": first["AP50"], "first_AP": first["AP"], "AP50": found["AP50"], "AP": found["AP"]}
    return {name: f"{score:.5f}" for name, score in scores.items()}


def add_task(
    made: TaskNetworks, train: CachedPictures, test: CachedPictures, *, seed: int
) -> dict[str, float]:
    """COCO's numbers of the new task, whose implicit knowledge starts as that of the first one."""
    network = copy_for_task(made.networks[0]).eval()
    end = NetworkEnd(network, made.given)
    train_only(network, implicit_parameters(network))
    lesson = Lesson([HeadTask(end, name_objects(train, NEW))], train)
    assert learn_tasks(lesson, Recipe(seed, STEPS, RATE, batch=BATCH))
    return score_end(end, test._replace(targets=name_objects(test, NEW)))
