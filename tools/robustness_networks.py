"""The fuzzer's kind `networks`: files of weights on every way on which the product opens them, each time with
a network of its own, which takes too long for the other kinds."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch._dynamo  # torch does so for the first tensor of the meta device: better before a fork
from fuzz_inputs import CFG
from robustness_seeds import SMALL_CFGS, Seed

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.averages import average_networks, oneoff_network
from yolor_cfg.weights.checkpoint import FORMAT, load_tensors, save_checkpoint
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import WeightsHeader
from yolor_cfg.weights.loading import load, open_network, open_trained, read_graph, read_weights
from yolor_cfg.weights.official import digest_tensors
from yolor_cfg.weights.prefix import is_checkpoint, read_prefix
from yolor_cfg.weights.task_choice import choose_graph, network_of_task, select_task, task_note
from yolor_cfg.weights.tasks import copy_knowledge, find_task, save_task, set_knowledge, share_network

NET = "[net]\ndialect=yolor\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize=1\nstride={}\nactivation=linear\n"
YOLO = "[yolo]\nmask=0\nanchors=3,3\nclasses=2\nnum=1\n"
HEAD = "[convolutional]\nfilters=7\nsize=1\nactivation=linear\n" + YOLO
TASKS = (
    NET
    + CONV.format(8, 8)
    + "[implicit_mul]\nfilters=8\ntask=day,night\n[implicit_add]\nfilters=8\ntask=night,dusk\n"
    + "[route]\nlayers=0\n[control_channels]\nfrom=1\n[shift_channels]\nfrom=2\n"
    + HEAD
    + "task=day\n[route]\nlayers=5\n"
    + HEAD
    + "task=night,dusk\n"
)
TREE_HEAD = "[region]\nanchors=1,1,2,2,3,3\nnum=3\nclasses=6\ncoords=4\n"
ONEOFF = "[net]\nheight=4\nwidth=4\nchannels=1\n" + CONV.format(2, 1) + CONV.format(33, 1) + TREE_HEAD
DENSE = (
    "[net]\nheight=4\nwidth=4\nchannels=3\n[connected]\noutput=5\nbatch_normalize=1\n[connected]\noutput=3\n"
    "[softmax]\n"
)
MIXED = {"tasks": TASKS, "dense": DENSE, "plain": CFG, **SMALL_CFGS}
WORDS = ("day", "night", "dusk", "cats", "none", "own.task.safetensors", "input.safetensors", "", "a b")
CLASSIFIER_FLOATS = 2 + 2 + 4 * (1 + 2)
"""Of the first convolution, then of the four filters that the classifier ends with."""


class WeightsCase(NamedTuple):
    """A file, and the cfg of its seed in another file beside it."""

    path: Path
    cfg: Path
    rng: random.Random


def make_network_seeds() -> list[Seed]:
    """Weights of networks with tasks, implicit values and matrices, in both formats."""
    seeds = []
    for name, text in MIXED.items():
        network = _network(text)
        tensors = {key: one.clone() for key, one in network.state_dict().items()}
        record = {"format": FORMAT, "cfg": text, "dialect": network.graph.dialect.name, "model": tensors}
        out = io.BytesIO()
        torch.save({**record, "names": ["cat", "dog"], "task_names": {"day": ["a", "b"]}}, out)
        seeds += [Seed(f"{name}.pt", out.getvalue(), text)]
        for header in (WeightsHeader(), WeightsHeader(0, 1, 0), WeightsHeader(2000, 0, 0)):
            floats = torch.cat([one.flatten() for key, one in tensors.items() if "tracked" not in key])
            data = header.to_bytes() + floats.numpy().astype("<f4").tobytes()
            seeds.append(Seed(f"{name}{header.version}.weights", data, text))
    numbers = np.arange(1, 1 + CLASSIFIER_FLOATS, dtype="<f4")
    head = struct.pack("<3iQ", 0, 2, 5, 77)
    return [*seeds, Seed("classifier.weights", head + numbers.tobytes(), ONEOFF)]


def _network(text: str) -> Network:
    torch.manual_seed(0)
    return Network(build_graph(parse(text))).eval()


def read_network_file(data: bytes, folder: Path, *, cfg: str, rng: random.Random) -> None:
    """Open the file on one of the ways."""
    suffix = ".pt" if data[:2] == b"PK" else ".safetensors" if data[8:10] == b'{"' else ".weights"
    case = WeightsCase(folder / f"input{suffix}", folder / "seed.cfg", rng)
    case.path.write_bytes(data)
    case.cfg.write_text(cfg, encoding="utf-8")
    rng.choice(WAYS)(case)


def _open_alone(case: WeightsCase) -> None:
    load(case.path)


def _open_with_cfg(case: WeightsCase) -> None:
    places = [case.cfg, case.path]
    cutoff = case.rng.choice((None, None, 1, 2, 99))
    opened = open_network(*places, cutoff=cutoff, device=case.rng.choice(("cpu", "cpu", "meta", "nowhere")))
    save_checkpoint(opened.network, case.path.with_name("out.pt"), names=opened.names, force=True)
    write_weights(opened.network, case.path.with_name("out.weights"), upto=cutoff, force=True)


def _open_task(case: WeightsCase) -> None:
    word = case.rng.choice(WORDS)
    opened = open_network(case.cfg, case.path, task=str(case.path.with_name(word)) if "." in word else word)
    task_note(opened.network.graph)


def _choose_task(case: WeightsCase) -> None:
    network = load(case.cfg, case.path)
    task = case.rng.choice(WORDS)
    choose_graph(network.graph, task)
    select_task(network, task)
    network_of_task(network, task)


def _keep_task(case: WeightsCase) -> None:
    network = load(case.cfg, case.path)
    own = case.path.with_name("own.task.safetensors")
    kept = copy_knowledge(network)
    save_task(network, own, task=case.rng.choice(WORDS[:6]), names=("cat", "dog"), shared=network, force=True)
    load(case.cfg, case.path, task=find_task(case.rng.choice(("own", str(own), "x")), case.path))
    set_knowledge(share_network(network), kept)


def _take_first(case: WeightsCase) -> None:
    oneoff_network(read_graph(case.cfg), case.path)


def _take_mean(case: WeightsCase) -> None:
    network = load(case.cfg, case.path)
    average_networks(network, (load(case.cfg, case.path) for _ in range(2)))
    digest_tensors(network.state_dict())


def _take_numbers(case: WeightsCase) -> None:
    graph = read_graph(case.path if is_checkpoint(read_prefix(case.path)) else case.cfg)
    open_trained(graph, case.path)


def _fill(case: WeightsCase) -> None:
    network = Network(read_graph(case.cfg))
    read_weights(network, case.path, cutoff=case.rng.choice((None, 1)))
    load_tensors(network, network.state_dict())


WAYS: tuple[Callable[[WeightsCase], None], ...] = (
    *(_open_alone, _open_with_cfg, _open_with_cfg, _open_task, _choose_task, _keep_task, _take_first),
    *(_take_mean, _take_numbers, _fill),
)
