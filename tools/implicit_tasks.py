"""Table 3 in its strong form: K tasks on one trunk that does not learn, with one shared head or a head each;
and with a network each, whose trunk learns too.

Every task finds the same drawn objects and names them differently. All networks have the heads of the
product's nano network, a 3x3 convolution with batch norm and SiLU before the prediction; they start alike.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from implicit_cache import (
    CachedPictures,
    NetworkEnd,
    cache_end,
    draw_pictures,
    image_values,
    relabel,
    score_end,
)
from implicit_learn import (
    HeadTask,
    Lesson,
    Recipe,
    copy_for_task,
    implicit_parameters,
    learn_tasks,
    train_only,
)
from implicit_networks import (
    CLASSES,
    DATA_SEEDS,
    SIDE,
    TESTED,
    TRAINED,
    Cached,
    end_at,
    find_levels,
    fresh_network,
    load_trunk,
    move_cache,
    read_cache,
    variant_text,
)
from implicit_table import FOLDER, Row, RunTable
from torch import Tensor, nn

from yolor_cfg.data.shapes import IDENTITIES, OWN_HUES, identity_look
from yolor_cfg.graph import IMAGE_INDEX
from yolor_cfg.model import Network
from yolor_cfg.rewrite.task_places import add_task_places

SHARED = ("none", "paper", "before")
"""A shared head without implicit knowledge, with it where the paper's networks have it, with it before the
last non-linearity."""
HEADS, NETWORKS = OWN = ("heads", "networks")
"""A head a task; a network a task, trunk and all."""
COUNTS, RUNS = (2, 4, 8), 5
SHORT, STEPS, RATE, BATCH, FACTOR = 150, 600, 0.01, 8, 5.0
TRUNK_FACTOR = 0.1
"""Of the rate, for a trunk that learns too."""
KEYS = ("steps", "tasks", "place", "seed")
TABLE = RunTable(FOLDER / "tasks.csv", KEYS, ("AP50", "AP", "each", "shared", "added", "seconds"))
read_tips = cache(lambda: read_cache("tip"))
SIZES = torch.tensor([0.05, 0.24]) * 2 * SIDE
"""Pixels: the smallest and the largest diameter that is drawn."""


class Objects(NamedTuple):
    """The objects of an image: class [B], identity [B], the longer side [B] in pixels."""

    shape: Tensor
    identity: Tensor
    side: Tensor


def _size_bin(side: Tensor, bins: int) -> Tensor:
    """Equally wide in the logarithm of the size, which is how sizes are drawn."""
    low, high = SIZES.log()
    found: Tensor = ((side.log() - low) / (high - low) * bins).long().clamp(0, bins - 1)
    return found


@cache
def _look_table() -> tuple[Tensor, Tensor]:
    """Of each identity its texture, and in which half of its class's hues it is."""
    looks = [identity_look(identity, has_class_colors=True) for identity in range(IDENTITIES)]
    hues = [colorsys.rgb_to_hsv(*map(float, look.colors[0]))[0] * CLASSES % 1 for look in looks]
    return torch.tensor([look.texture for look in looks]), torch.tensor([hue > OWN_HUES / 2 for hue in hues])


LABELS: dict[str, Callable[[Objects], Tensor]] = {
    "shape": lambda objects: objects.shape,
    "exchanged": lambda objects: (objects.shape + 3) % CLASSES,
    "size": lambda objects: _size_bin(objects.side, CLASSES),
    "texture": lambda objects: _look_table()[0][objects.identity],
    "reversed": lambda objects: CLASSES - 1 - objects.shape,
    "shape and size": lambda objects: objects.shape % 3 * 2 + _size_bin(objects.side, 2),
    "shape and hue": lambda objects: objects.shape // 2 * 2 + _look_table()[1][objects.identity],
    "identity": lambda objects: objects.identity // CLASSES % CLASSES,
}
"""The tasks, all with six classes; the first two contradict each other for every object."""


def label_objects(pictures: CachedPictures, name: str) -> list[Tensor]:
    """The targets of the task of that name."""
    objects = [
        Objects(table[:, 0].long(), identity, table[:, 3:5].amax(1) * SIDE if len(table) else table[:, 0])
        for table, identity in zip(pictures.targets, pictures.identities, strict=True)
    ]
    return relabel(pictures.targets, [LABELS[name](one) for one in objects])


class TaskNetworks(NamedTuple):
    """A network for each task; where they share their 3x3 convolutions, `shared` computes these once."""

    networks: list[Network]
    shared: NetworkEnd | None
    given: list[int]


def make_networks(place: str, count: int, seed: int) -> TaskNetworks:
    """The networks of so many tasks, which start alike."""
    first = make_first(place, seed)
    networks = [first, *(copy_for_task(first) for _ in range(count - 1))]
    levels = find_levels(first)
    features = [level.features for level in levels]
    return TaskNetworks(networks, NetworkEnd(first, [level.tip for level in levels], features), features)


def make_first(place: str, seed: int) -> Network:
    """The network of the first of the tasks that share a head."""
    network = fresh_network(variant_text("table7/implicit1" if place == "paper" else "table1/baseline"), seed)
    return add_task_places(network, "heads").network if place == "before" else network


def list_runs() -> Iterator[dict[str, object]]:
    """What is to be compared first comes first, seed by seed. Heads of their own learn nothing from each
    other, and are trained one at a time, as networks are: `#3` is that of the third task."""
    ones = [f"#{number}" for number in range(1, max(COUNTS) + 1)]
    plans: list[tuple[Sequence[str], Sequence[int | str]]] = [
        (["before"], COUNTS),
        ([HEADS], ones),
        (["none", "paper"], COUNTS[:1]),
        ([NETWORKS], ones),
        (["none", "paper"], COUNTS[1:]),
    ]
    for first in (plans[:3], plans[3:]):
        for seed, (places, counts) in product(range(RUNS), first):
            for place, tasks in product(places, counts):
                yield {"steps": STEPS, "tasks": tasks, "place": place, "seed": seed}


def list_names(tasks: int | str) -> list[str]:
    """The first so many tasks, or the one with that number."""
    every = list(LABELS)
    return [every[int(tasks[1:]) - 1]] if isinstance(tasks, str) else every[:tasks]


def measure(run: Mapping[str, Any]) -> Row:
    """AP50 and AP as means over the tasks, AP50 of each, and the numbers that learn: shared, and each further
    task's own."""
    names, recipe = list_names(run["tasks"]), recipe_of(run["seed"], run["steps"])
    if run["place"] == NETWORKS:
        return measure_whole(names[0], recipe)
    made = make_networks(run["place"], len(names), run["seed"])
    learn_together(made, names, recipe)
    own = count_own(made, run["place"])
    shared = sum(p.numel() for p in _learning(made.networks[0])) - own
    return tell_scores(score_networks(made, names), shared=shared, own=own)


def tell_scores(scores: list[dict[str, float]], *, shared: int, own: int) -> Row:
    """The cells of COCO's numbers of each task, and of how many numbers learn."""
    return {
        **{name: f"{sum(one[name] for one in scores) / len(scores):.5f}" for name in ("AP50", "AP")},
        "each": ";".join(f"{one['AP50']:.4f}" for one in scores),
        "shared": str(shared),
        "added": str(own),
    }


def recipe_of(seed: int, steps: int) -> Recipe:
    """How all of them learn."""
    return Recipe(seed, steps, RATE, batch=BATCH, factor=FACTOR)


def count_own(made: TaskNetworks, place: str) -> int:
    """The numbers of one task alone."""
    own = _learning(made.networks[0]) if place == HEADS else implicit_parameters(made.networks[0])
    return sum(parameter.numel() for parameter in own)


def _learning(network: Network) -> list[nn.Parameter]:
    end = end_at(network, "tip")
    return [parameter for module in end.modules for parameter in module.parameters()]


def learn_together(made: TaskNetworks, names: list[str], recipe: Recipe) -> None:
    """Train on the sum of the losses of the tasks of these names."""
    pictures = _read_pictures(made).train
    train_whole_heads(made, [label_objects(pictures, name) for name in names], recipe)


def train_whole_heads(made: TaskNetworks, targets: list[list[Tensor]], recipe: Recipe) -> None:
    """Train all that stands behind the trunk on the sum of the losses of tasks with these targets."""
    for network in made.networks:
        train_only(network, _learning(network))
        _set_training(network)
    tasks = [
        HeadTask(NetworkEnd(network, made.given), its)
        for network, its in zip(made.networks, targets, strict=True)
    ]
    assert learn_tasks(Lesson(tasks, _read_pictures(made).train, made.shared), recipe)


def _set_training(network: Network) -> None:
    """Let the batch norms of what learns go by the batch."""
    for module in end_at(network, "tip").modules:
        module.train()


def _read_pictures(made: TaskNetworks) -> Cached:
    return move_cache(read_tips(), [level.tip for level in find_levels(made.networks[0])])


def score_networks(made: TaskNetworks, names: list[str]) -> list[dict[str, float]]:
    """COCO's numbers of each task."""
    pictures = _read_pictures(made).test
    for network in made.networks:
        network.eval()
    pictures = pictures if made.shared is None else cache_end(made.shared, pictures)
    return [
        score_end(NetworkEnd(network, made.given), pictures._replace(targets=label_objects(pictures, name)))
        for network, name in zip(made.networks, names, strict=True)
    ]


def measure_whole(name: str, recipe: Recipe) -> Row:
    """A network of its own for the task of that name, all of whose weights learn."""
    network = make_whole(recipe.seed)
    own = train_only(network, network.parameters())
    end, pictures = NetworkEnd(network.train(), [IMAGE_INDEX]), read_images("train", TRAINED)
    trunk = (parameter for module in trunk_modules(network) for parameter in module.parameters())
    task = HeadTask(end, label_objects(pictures, name))
    factors = dict.fromkeys(trunk, TRUNK_FACTOR)
    assert learn_tasks(Lesson([task], pictures, factors=factors), recipe)
    tested = read_images("test", TESTED)
    scores = score_end(end, tested._replace(targets=label_objects(tested, name)))
    return tell_scores([scores], shared=0, own=own)


def make_whole(seed: int) -> Network:
    """The trained trunk with heads that start as those of all other networks of that seed."""
    network = fresh_network(variant_text("table1/baseline"), seed)
    for mine, trained in zip(trunk_modules(network), trunk_modules(load_trunk()), strict=True):
        mine.load_state_dict(trained.state_dict())
    return network


def trunk_modules(network: Network) -> list[nn.Module]:
    """What has weights and does not belong to the heads."""
    heads = set(end_at(network, "tip").modules)
    return [module for module in network.module_list if module not in heads and module.state_dict()]


@cache
def read_images(part: str, count: int) -> CachedPictures:
    """The drawn images."""
    return image_values(draw_pictures(count, DATA_SEEDS[part]))
