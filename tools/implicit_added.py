"""A task that is added to a finished detector: by implicit knowledge alone, and by more.

The detector is weights/yolor_nano_shapes.pt. The new task either names the objects differently (`exchanged`:
six classes exchanged in pairs), or finds them in images whose colour channels are rolled (`colours`: by
colour, an object is now of another class than by shape), or in images of which every other stripe is a
negative (`textures`). So many labelled images are given. What is in front of the neck is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from implicit_cache import (
    CachedPictures,
    NetworkEnd,
    cache_end,
    cache_values,
    draw_pictures,
    keep_file,
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
from implicit_networks import DATA_SEEDS, TRAINED, WORK, find_levels, load_trunk, move_values
from implicit_places import add_input_places, input_layers, input_values
from implicit_table import FOLDER, Row, RunTable
from implicit_tasks import label_objects
from torch import Tensor, nn

from yolor_cfg.model import Network
from yolor_cfg.rewrite.task_places import add_task_places

KEYS = ("task", "images", "learns", "seed")
TABLE = RunTable(FOLDER / "added.csv", KEYS, ("AP", "AP50", "numbers", "rate", "steps", "seconds"))
TASKS, COUNTS, RUNS, BATCH = ("exchanged", "colours", "textures"), (16, 64, 256), 3, 8
STRIPE = 3
"""Pixels."""
SLOW = 0.2
"""The rate of implicit knowledge that the heads read, as a part of that of the rest."""
TESTED = 500
NECK = (22, 34)
"""The layers of the trained network that its neck reads beside its own."""


class Learning(NamedTuple):
    """What learns: `start` is what has been computed before (`places`: with places for tasks before the last
    activation, `inputs`: also at what the heads read, `features`, `tip`, `neck`); which parameters; the rate
    and the steps that a pilot found."""

    start: str
    pick: Callable[[NetworkEnd], list[nn.Parameter]]
    rate: float
    steps: int


def _all_of(end: NetworkEnd) -> list[nn.Parameter]:
    return [parameter for module in end.modules for parameter in module.parameters()]


def _norms_of(end: NetworkEnd) -> list[nn.Parameter]:
    norms = [norm for module in end.modules for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    return [parameter for norm in norms for parameter in norm.parameters()]


def _implicit_of(end: NetworkEnd) -> list[nn.Parameter]:
    return implicit_parameters(end.network)


CHOICES = {
    "nothing": Learning("places", _implicit_of, 0.1, 0),
    "z": Learning("places", _implicit_of, 0.1, 600),
    "z, inputs too": Learning("inputs", _implicit_of, 0.1, 600),
    "z, longer": Learning("places", _implicit_of, 0.1, 3000),
    "z, inputs too, longer": Learning("inputs", _implicit_of, 0.1, 3000),
    "z of the paper": Learning("features", _implicit_of, 0.1, 300),
    "norms of the heads": Learning("tip", _norms_of, 0.1, 300),
    "norms": Learning("neck", _norms_of, 0.03, 150),
    "predictions": Learning("features", _all_of, 0.01, 300),
    "heads": Learning("tip", _all_of, 0.003, 300),
    "neck and heads": Learning("neck", _all_of, 0.003, 150),
}
LARGEST = {"neck and heads", "norms", "z, longer", "z, inputs too, longer"}
"""These take a minute a run and more."""


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed; first all images of the task with other names."""
    plans = [((TRAINED,), TASKS[:1]), ((TRAINED,), TASKS[1:]), (COUNTS, TASKS)]
    for counts, tasks in plans:
        for seed, count, task, learns in product(range(RUNS), counts, tasks, CHOICES):
            if (count == TRAINED or learns not in LARGEST) and (learns != "nothing" or seed == 0):
                yield {"task": task, "images": count, "learns": learns, "seed": seed}


@cache
def _networks() -> dict[str, Network]:
    """The trained network, and with places for tasks."""
    trunk = load_trunk()
    places = add_task_places(trunk, "heads").network.eval()
    inputs = add_task_places(add_input_places(trunk), "heads").network.eval()
    return {"trunk": trunk, "places": places, "inputs": inputs}


def _layers(network: str, name: str) -> list[int]:
    return [getattr(level, name) for level in find_levels(_networks()[network])]


def list_starts(start: str) -> list[int]:
    """The layers whose values are given."""
    if start == "neck":
        return list(NECK)
    if start == "inputs":
        return input_layers(_networks()["inputs"])
    return _layers("places", "features") if start == "places" else _layers("trunk", start)


def _invert_stripes(images: Tensor) -> Tensor:
    """Images [N, 3, S, S] with every other diagonal stripe as a negative."""
    side = torch.arange(images.shape[-1])
    is_negative = (side[:, None] + side) // STRIPE % 2 == 1
    return torch.where(is_negative, 1 - images, images)


DOMAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images: images,
    "colours": lambda images: images.roll(1, dims=1),
    "textures": _invert_stripes,
}
"""What becomes of the drawn images [N, 3, S, S]."""


@cache
def read_trunk_values(domain: str, part: str) -> CachedPictures:
    """The values of the trunk that the neck and the heads read, of all images of that domain."""
    count, seed = (TRAINED, DATA_SEEDS["train"]) if part == "train" else (TESTED, DATA_SEEDS["test"])

    def make() -> CachedPictures:
        pictures = draw_pictures(count, seed)
        pictures = pictures._replace(images=DOMAINS[domain](pictures.images))
        return cache_values(_networks()["trunk"], pictures, [*NECK, *_layers("trunk", "tip")])

    return keep_file(WORK / f"added-{domain}-{part}.pt", make)


@cache
def read_pictures(task: str, start: str, part: str) -> CachedPictures:
    """The cached values of the images that the task is learned from or tested in."""
    found = read_trunk_values(task if task in DOMAINS else "plain", part)
    if start in ("places", "features"):
        name = "places" if start == "places" else "trunk"
        tips, given = _layers(name, "tip"), _layers(name, "features")
        at_tips = move_values(_keep_layers(found, _layers("trunk", "tip")), tips)
        found = cache_end(NetworkEnd(_networks()[name], tips, given), at_tips)
    elif start == "inputs":
        found = move_values(_keep_layers(found, _layers("trunk", "tip")), list_starts(start))
    else:
        found = _keep_layers(found, list_starts(start))
    return found._replace(targets=label_objects(found, "exchanged" if task == "exchanged" else "shape"))


def _keep_layers(pictures: CachedPictures, layers: list[int]) -> CachedPictures:
    return pictures._replace(values={layer: pictures.values[layer] for layer in layers})


def measure(run: Mapping[str, Any]) -> Row:
    """COCO's numbers of the new task, and how many numbers were learned for it."""
    choice = CHOICES[run["learns"]]
    home = _networks()[choice.start] if choice.start in ("places", "inputs") else load_trunk()
    end = NetworkEnd(copy_for_task(home).eval(), list_starts(choice.start))
    numbers = train_only(end.network, choice.pick(end))
    pictures = _take_first(read_pictures(run["task"], choice.start, "train"), run["images"])
    factors = dict.fromkeys(input_values(end.network), SLOW) if choice.start == "inputs" else {}
    lesson = Lesson([HeadTask(end, pictures.targets)], pictures, factors=factors)
    assert learn_tasks(lesson, Recipe(run["seed"], choice.steps, choice.rate, batch=BATCH))
    scores = score_end(end, read_pictures(run["task"], choice.start, "test"))
    told = {"numbers": str(numbers), "rate": str(choice.rate), "steps": str(choice.steps)}
    return {"AP": f"{scores['AP']:.5f}", "AP50": f"{scores['AP50']:.5f}", **told}


def _take_first(pictures: CachedPictures, count: int) -> CachedPictures:
    values = {layer: value[:count] for layer, value in pictures.values.items()}
    return CachedPictures(values, pictures.targets[:count], pictures.identities[:count])
