"""Table 3 in the form of the paper: detection alone, with the classes of the image (JDC), with embeddings
(JDE), each without implicit knowledge and with it, on a trunk that does not learn.

The 3x3 convolution and the prediction of each level learn from one start, and with them what the second task
adds: the 3x3 convolutions are what the tasks share, so that they can help or disturb each other there. What
only some of the networks have starts from a file too. The losses and their weights are the product's.

Legend: N images, K classes, O objects, E numbers of a vector.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import Any, NamedTuple

import numpy as np
import torch
from implicit_cache import BATCH, SIDE, CachedPictures, NetworkEnd, score_end
from implicit_learn import (
    RULES,
    HeadTask,
    Lesson,
    Recipe,
    build_network,
    learn_tasks,
    train_only,
)
from implicit_networks import (
    CLASSES,
    WORK,
    HeadStart,
    end_at,
    find_levels,
    fresh_network,
    keep_starts,
    move_cache,
    variant_text,
)
from implicit_table import FOLDER, Row, RunTable
from implicit_tasks import read_tips
from torch import Tensor, nn

from yolor_cfg.data.augment.yolor import YolorHyperparameters
from yolor_cfg.data.shapes import IDENTITIES, NAMES
from yolor_cfg.evaluate.embeddings import nearest_boxes, score_embeddings
from yolor_cfg.evaluate.image_labels import score_labels
from yolor_cfg.model import Network
from yolor_cfg.networks.paper import EMBEDDING_LENGTH
from yolor_cfg.train.identities import Identities, add_learner, embedding_nodes, learner_tensors

PLACES = {
    "detection": "table3/baseline",
    "detection, + iFA": "table1/iFA",
    "JDC": "table3/JDC",
    "+ iJDC": "table3/iJDC",
    "JDE": "table3/JDE",
    "+ iJDE": "table3/iJDE",
    "JDE, fixed weights": "table3/JDE",
}
"""The last one has no learned weights of its losses, as detection alone has none."""
STEPS, RATE, TRAINING_BATCH, RUNS = 150, 0.03, 8, 10
WIDEST, MORE_RUNS = ("JDE", "+ iJDE"), 30
"""The two whose difference varies most take more runs."""
VECTOR = 64
"""Numbers of an embedding, in place of the 512 of the family's networks: the trunk has 80 to 160 channels."""
RANKED = 400
"""Of so many test images the objects are compared with each other."""
SCORES = ("AP", "AP50", "AP75", "APs", "APm")
"""No drawn object is large."""
TABLE = RunTable(
    FOLDER / "joint_heads.csv", ("network", "seed"), (*SCORES, "second", "shared", "added", "seconds")
)
_WEIGHTS = YolorHyperparameters()
TASK_RULES = RULES._replace(labels=_WEIGHTS.label, identities=_WEIGHTS.identity)


def list_runs() -> Iterator[dict[str, object]]:
    """Seed by seed."""
    first, more = product(range(RUNS), PLACES), product(range(RUNS, MORE_RUNS), WIDEST)
    for seed, network in chain(first, more):
        yield {"network": network, "seed": seed}


def joint_text(place: str, *, learned_weights: bool = True) -> str:
    """The cfg of that row, with short embeddings."""
    text = re.sub(rf"(?m)^(filters|embedding)={EMBEDDING_LENGTH}$", rf"\1={VECTOR}", variant_text(place))
    return text if learned_weights else text.replace("[jde]", "[jde]\nlearned_weights=0")


def make_joint(name: str, seed: int) -> Network:
    """The network of that name, all of whose heads are those of the files of starts."""
    network = fresh_network(joint_text(PLACES[name], learned_weights="fixed" not in name), seed)
    add_learner(network, Identities(IDENTITIES))
    start = _read_joint_starts()[seed]
    for key, module in name_modules(network).items():
        module.load_state_dict({name: start[f"{key}.{name}"] for name in module.state_dict()})
    return network


def name_modules(network: Network) -> dict[str, nn.Module]:
    """What not all of the networks have, by names that they share: the alignment of each level, and, of the
    second task, its own implicit knowledge, its convolutions and its classifier of identities."""
    nodes = network.graph.nodes
    places = _implicit_places(network)
    for n, node in enumerate(embedding_nodes(network.graph)):
        places[f"{n}.embedding"] = nodes[node.sources[0]].sources[1]
    for node in network.graph.label_heads:
        places["labels"] = node.sources[0]
    named: dict[str, nn.Module] = {key: network.module_list[index] for key, index in places.items()}
    classifier = getattr(network, "classifier", None)
    return named if classifier is None else {**named, "classifier": classifier}


def _implicit_places(network: Network) -> dict[str, int]:
    """The alignments come first; the last one of the second task is that of the coarsest level."""
    levels = len(find_levels(network))
    found = [node.index for node in network.graph.nodes if node.section.raw.name == "implicit_add"]
    own = {f"{levels - 1 - n}.own": index for n, index in enumerate(reversed(found[levels:]))}
    return {**{f"{n}.align": index for n, index in enumerate(found[:levels])}, **own}


def _read_joint_starts() -> dict[int, HeadStart]:
    """The starts of what not all networks have, from the file, which is made if need be."""
    return keep_starts(WORK / "joint-starts.pt", _make_joint_start)


def _make_joint_start(seed: int) -> HeadStart:
    """As the product initializes them."""
    start: HeadStart = {}
    for place in ("table3/iJDC", "table3/iJDE"):  # what both have is of the second
        torch.manual_seed(seed)
        network = build_network(joint_text(place))
        add_learner(network, Identities(IDENTITIES))
        for key, module in name_modules(network).items():
            start |= {f"{key}.{name}": tensor for name, tensor in module.state_dict().items()}
    return start


class JointRun(NamedTuple):
    """A network, what of it learns, and how many of these numbers only the network with this task has."""

    end: NetworkEnd
    numbers: int
    added: int


def start_joint(network: Network) -> JointRun:
    """Let all that stands behind the trunk learn, in the mode of training."""
    end = end_at(network, "tip")
    learning = [parameter for module in end.modules for parameter in module.parameters()]
    learning = list(dict.fromkeys([*learning, *learner_tensors(network).values()]))
    numbers = train_only(network, learning)
    for module in end.modules:
        module.train()
    plain = [module for level in find_levels(network) for module in _shared_modules(network, level)]
    shared = sum(parameter.numel() for module in plain for parameter in module.parameters())
    return JointRun(end, shared, numbers - shared)


def _shared_modules(network: Network, level: Any) -> list[nn.Module]:
    return [network.module_list[index] for index in (level.features, level.prediction)]


def joint_task(end: NetworkEnd, pictures: CachedPictures) -> HeadTask:
    """What the network has to find in these pictures: boxes, classes of the images, identities."""
    return HeadTask(end, pictures.targets, image_classes(pictures), pictures.identities, TASK_RULES)


def image_classes(pictures: CachedPictures) -> Tensor:
    """[N, K]: 1 for the classes that an image has a box of."""
    truth = torch.zeros(len(pictures.targets), CLASSES)
    for row, table in zip(truth, pictures.targets, strict=True):
        row[table[:, 0].long()] = 1
    return truth


def learn_joint(run: Mapping[str, Any], recipe: Recipe) -> tuple[JointRun, CachedPictures]:
    """The network as it has learned, and the pictures that it is tested on."""
    network = make_joint(run["network"], run["seed"])
    started = start_joint(network)
    cached = move_cache(read_tips(), [level.tip for level in find_levels(network)])
    assert learn_tasks(Lesson([joint_task(started.end, cached.train)], cached.train), recipe)
    return started, cached.test


def measure(run: Mapping[str, Any]) -> Row:
    """COCO's numbers; of the second task the mAP of the labels or rank-1; the numbers that learn."""
    recipe = Recipe(run["seed"], STEPS, RATE, batch=TRAINING_BATCH)
    learned, pictures = learn_joint(run, recipe)
    scores = score_end(learned.end, pictures)
    second = score_second(learned.end, pictures)
    return {
        **{name: f"{scores[name]:.5f}" for name in SCORES},
        "second": "" if math.isnan(second) else f"{second:.5f}",
        "shared": str(learned.numbers),
        "added": str(learned.added),
    }


@torch.no_grad()
def score_second(end: NetworkEnd, pictures: CachedPictures) -> float:
    """The mAP of the image's classes, or rank-1 of the embeddings; NaN without a second task."""
    network, rows = end.network.eval(), list[np.ndarray]()
    if not network.embeds and not network.graph.label_heads:
        return math.nan
    count = min(RANKED, len(pictures.targets)) if network.embeds else len(pictures.targets)
    for first in range(0, count, BATCH):
        images = range(first, min(first + BATCH, count))
        raws = end({layer: value[first : images.stop] for layer, value in pictures.values.items()})
        found = network.labels(raws)
        rows.append(
            embed_objects(network, raws, pictures=pictures, images=images) if found is None else found.numpy()
        )
    together = np.concatenate(rows).astype(np.float64)
    if network.embeds:
        return score_embeddings(together).rank1
    truth = image_classes(pictures).double().numpy()
    return score_labels(truth, together, kind="multi", names=NAMES).map


def embed_objects(
    network: Network, raws: list[Tensor], *, pictures: CachedPictures, images: range
) -> np.ndarray:
    """Image, identity and vector of each object [O, 2 + E], the vector that of the box that overlaps it
    most."""
    boxes, chosen, rows = network.decode(raws).boxes_xywh.numpy(), list[Tensor](), list[np.ndarray]()
    for image, its in zip(images, boxes, strict=True):
        truth = pictures.targets[image][:, 1:].numpy() * SIDE
        chosen.append(torch.from_numpy(nearest_boxes(truth, its)))
        rows.append(np.column_stack([np.full(len(truth), image), pictures.identities[image].numpy()]))
    vectors = torch.cat(network.embed_boxes(raws, chosen)).numpy()
    return np.column_stack([np.concatenate(rows), vectors])
