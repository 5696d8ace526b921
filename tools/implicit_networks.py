"""The networks of the experiments: rows of the paper's ablations on the trained nano network, with one start.

The trunk is that of weights/yolor_nano_shapes.pt. What learns starts, in every variant, from the numbers of
one file: for each seed the head of a network without implicit knowledge as the product initializes it.

Legend: L levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from implicit_cache import (
    CachedPictures,
    NetworkEnd,
    cache_values,
    draw_pictures,
    keep_file,
)
from implicit_learn import build_network
from torch import Tensor

from yolor_cfg import load
from yolor_cfg.model import Network
from yolor_cfg.networks.paper import ablation_text
from yolor_cfg.train.loss import initialize_biases

WORK = Path("runs/implicit")
WEIGHTS = Path("weights/yolor_nano_shapes.pt")
SIDE, CLASSES, SEEDS = 192, 6, 100
TRAINED, HELD, TESTED = 480, 160, 1000
"""Images that are learned from; those of the held-out loss; those of AP."""
DATA_SEEDS = {"train": 101, "held": 102, "test": 103}
HeadStart = dict[str, Tensor]


class LevelLayers(NamedTuple):
    """The sections of one level: what its head reads, its 3x3 convolution, and its prediction."""

    tip: int
    features: int
    prediction: int


class Cached(NamedTuple):
    """The cached values of the three sets of images."""

    train: CachedPictures
    held: CachedPictures
    test: CachedPictures


def load_trunk() -> Network:
    """The trained network."""
    return load(WEIGHTS.with_suffix(".cfg"), WEIGHTS).eval()


def find_levels(network: Network) -> list[LevelLayers]:
    """The layers of each level, in the order of the heads with boxes."""
    nodes, found = network.graph.nodes, []
    for head in network.graph.box_heads:
        prediction = index = head.sources[0]
        while not _has_kernel(network, index, 3):
            prediction = index if _has_kernel(network, index, 1) else prediction
            index = nodes[index].sources[0]
        found.append(LevelLayers(nodes[index].sources[0], index, prediction))
    return found


def _has_kernel(network: Network, index: int, size: int) -> bool:
    assert index >= 0, "no such convolution before the head"
    conv = getattr(network.module_list[index], "Conv2d", None)
    return conv is not None and conv.kernel_size == (size, size)


def variant_text(place: str) -> str:
    """The cfg of `table4/mul-iPR` for the nano network, with the anchors of the trained one."""
    table, _, row = place.partition("/")
    text = ablation_text(table, row, base="yolor_nano", classes=CLASSES)
    text = re.sub(r"(?m)^(width|height)=.*$", rf"\1={SIDE}", text)
    anchors = re.search(r"(?m)^anchors=.*$", WEIGHTS.with_suffix(".cfg").read_text(encoding="utf-8"))
    assert anchors is not None
    return re.sub(r"(?m)^anchors=.*,.*$", anchors.group(), text)


def make_variant(place: str, seed: int) -> Network:
    """The variant with the trained trunk and 3x3 convolutions, and fresh predictions of that seed."""
    network = fresh_network(variant_text(place), seed)
    trunk = load_trunk()
    for mine, trained in zip(find_levels(network), find_levels(trunk), strict=True):
        source = trunk.module_list[trained.features].state_dict()
        network.module_list[mine.features].load_state_dict(source)
    return network


def fresh_network(text: str, seed: int) -> Network:
    """The network of that cfg, whose heads are those of the file of starts; implicit knowledge starts as the
    product initializes it with that seed."""
    torch.manual_seed(seed)
    network = build_network(text)
    start = read_starts()[seed]
    for number, level in enumerate(find_levels(network)):
        for name, layer in (("features", level.features), ("prediction", level.prediction)):
            _copy_start(network.module_list[layer], start, f"{number}.{name}.")
    return network


@torch.no_grad()
def _copy_start(module: Any, start: HeadStart, prefix: str) -> None:
    """Copy a layer; inputs that the start does not have, those of a concatenation, come first and stay."""
    for name, mine in module.state_dict().items():
        given = start[prefix + name]
        target = mine[:, -given.shape[1] :] if given.ndim == 4 else mine
        target.copy_(given)


def read_starts() -> dict[int, HeadStart]:
    """The starts of all seeds, from the file, which is made if need be."""
    return keep_starts(WORK / "starts.pt", _make_start)


def keep_starts(path: Path, make: Callable[[int], HeadStart]) -> dict[int, HeadStart]:
    """By seed what the file holds; seeds that it does not have are made, and are in it from then on."""
    starts: dict[int, HeadStart] = torch.load(path, weights_only=True, mmap=True) if path.exists() else {}
    missing = [seed for seed in range(SEEDS) if seed not in starts]
    if missing:
        starts.update({seed: make(seed) for seed in missing})
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(starts, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    return starts


def _make_start(seed: int) -> HeadStart:
    torch.manual_seed(seed)
    network = build_network(variant_text("table1/baseline"))
    initialize_biases(network)
    start = {}
    for number, level in enumerate(find_levels(network)):
        for name, layer in (("features", level.features), ("prediction", level.prediction)):
            for key, tensor in network.module_list[layer].state_dict().items():
                start[f"{number}.{name}.{key}"] = tensor
    return start


def read_cache(place: str) -> Cached:
    """The cached values at `features` or `tip` of each level, by index in the trained network."""
    trunk = load_trunk()
    layers = [getattr(level, place) for level in find_levels(trunk)]
    return cache_layers(trunk, layers, place)


def cache_layers(trunk: Network, layers: Sequence[int], name: str) -> Cached:
    """The cached values of these layers, from files of that name."""
    counts = {"train": TRAINED, "held": HELD, "test": TESTED}
    parts = []
    for part, count in counts.items():
        make = partial(_compute_values, trunk, layers, count=count, seed=DATA_SEEDS[part])
        parts.append(keep_file(WORK / f"{name}-{part}.pt", make))
    return Cached(*parts)


def _compute_values(trunk: Network, layers: Sequence[int], *, count: int, seed: int) -> CachedPictures:
    return cache_values(trunk, draw_pictures(count, seed), layers)


def move_values(pictures: CachedPictures, layers: Sequence[int]) -> CachedPictures:
    """The same values, in the same order, as those of other sections."""
    return pictures._replace(values=dict(zip(layers, pictures.values.values(), strict=True)))


def move_cache(cache: Cached, layers: Sequence[int]) -> Cached:
    """All three sets, as the values of these sections."""
    return Cached(*(move_values(part, layers) for part in cache))


def end_at(network: Network, place: str) -> NetworkEnd:
    """What stands behind `features` or `tip` of all levels."""
    return NetworkEnd(network, [getattr(level, place) for level in find_levels(network)])
