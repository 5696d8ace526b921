"""The reference outputs in `golden/` as cases: build the network, give it the seeded weights and input,
compare."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from proofs import SHARED
from torch.nn.modules.conv import _ConvNd

from yolor_cfg import graph as graphs
from yolor_cfg.graph import Graph, ReadOptions
from yolor_cfg.model import Network

GOLDEN = SHARED / "golden"
# |a - b| <= ATOL + RTOL * |b|, the README of the golden data; networks of many swish convolutions get twice
# that.
TOLERANCE = 1e-4
SWISH_HEAVY = ("yolov7", "yolov4-csp-swish")


class Case(NamedTuple):
    """One network: `name`, its cfg, the JSON that says how to run it, the NPZ with what must come out."""

    name: str
    cfg: Path
    meta: Path
    numbers: Path


def darknet_cases() -> list[Case]:
    """The whole networks run by C Darknet; empty where the shared data is absent."""
    return _cases(GOLDEN / "darknet", GOLDEN / "darknet")


def micro_cases() -> list[Case]:
    """The one-section cases run by C Darknet."""
    return _cases(GOLDEN / "darknet" / "micro", GOLDEN / "darknet" / "micro")


def yolor_cases() -> list[Case]:
    """The networks run by YOLOR's PyTorch code."""
    return _cases(GOLDEN / "yolor" / "nets", GOLDEN / "yolor" / "cfg")


def _cases(folder: Path, cfgs: Path) -> list[Case]:
    stems = sorted(path.stem for path in folder.glob("*.json"))
    return [Case(s, cfgs / f"{s}.cfg", folder / f"{s}.json", folder / f"{s}.npz") for s in stems]


def module_at(path: Path) -> ModuleType:
    """A Python file of the golden data as a module (the seeded generators)."""
    spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def darknet_graph(case: Case) -> Graph:
    """The graph of a Darknet case at the size at which the reference ran it."""
    meta = json.loads(case.meta.read_text())
    size = tuple(meta["input"]["shape"][2:]) if meta["input"]["size_override"] else None
    return graphs.load_graph(case.cfg, ReadOptions(dialect="darknet", size=size))


@contextmanager
def unset_weights() -> Iterator[None]:
    """Convolutions made in here draw no random weights, which takes longer than all else of a network: NaN
    stands in their place until they are given others."""

    def unset(layer: _ConvNd) -> None:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(torch.nan)

    with mock.patch.object(_ConvNd, "reset_parameters", unset):
        yield


def filled(graph: Graph, meta: dict[str, Any]) -> Network:
    """The network with the seeded weights, given by the order of its own `tensors()`."""
    with unset_weights():
        network = Network(graph).eval()
    state = network.state_dict()
    arrays = module_at(GOLDEN / "darknet" / "make_weights.py").arrays(meta)
    for node in graph.nodes:
        for tensor in node.section.tensors(*node.inputs):
            entry, array = next(arrays)
            assert (entry["layer"], entry["role"]) == (node.index, tensor.role), (entry, node.index, tensor)
            target = state[f"module_list.{node.index}.{tensor.name}"]
            target.copy_(torch.from_numpy(array.reshape(target.shape)))
    assert next(arrays, None) is None, "the reference stores more than tensors() names"
    return network


def darknet_input(meta: dict[str, Any]) -> list[torch.Tensor]:
    """The input of each time step."""
    array = module_at(GOLDEN / "darknet" / "make_weights.py").input_array(meta)
    steps = array if meta["input"].get("steps", 1) > 1 else [array]
    return [torch.from_numpy(np.ascontiguousarray(step)) for step in steps]


class Layers(NamedTuple):
    """A Darknet case ready to run: the filled network, its input of each time step, the JSON, the NPZ."""

    network: Network
    inputs: list[torch.Tensor]
    meta: dict[str, Any]
    want: Any


def darknet_layers(case: Case) -> Layers:
    """The network of a Darknet case with its seeded weights."""
    meta = json.loads(case.meta.read_text())
    return Layers(filled(darknet_graph(case), meta), darknet_input(meta), meta, np.load(case.numbers))


def check_darknet(case: Case) -> Layers:
    """Every stored layer, its shape, its mean and spread, and the printed BFLOPs equal C Darknet's; what was
    run is returned."""
    layers = darknet_layers(case)
    network, inputs, meta, want = layers
    with torch.no_grad():
        for x in inputs:
            got = network.trace(x, meta["stored_layers"])
    assert [node.section.type for node in network.graph.nodes] == [name for name, _ in meta["layers"]]
    bound = TOLERANCE * (2 if case.name in SWISH_HEAVY else 1)
    for index, value in got.items():
        check_layer(index, value, want, bound)
    bflops = np.array([n.section.bflops(n.shape, *n.inputs) for n in network.graph.nodes], dtype=float)
    np.testing.assert_allclose(bflops, want["bflops"], rtol=1e-5, atol=1e-12, err_msg="bflops")
    return layers


def check_layer(index: int, value: torch.Tensor, want: Any, bound: float) -> None:
    """Shape, sampled values, mean and standard deviation of one layer."""
    assert list(value.shape) == list(want[f"L{index}_shape"]), f"layer {index}"
    flat = value.contiguous().flatten().double().numpy()
    np.testing.assert_allclose(
        flat[want[f"L{index}_idx"]], want[f"L{index}_val"], atol=bound, rtol=bound, err_msg=f"layer {index}"
    )
    spread = max(float(want[f"L{index}_std"]), 1e-2)
    assert abs(flat.mean() - want[f"L{index}_mean"]) <= bound * spread, f"mean of layer {index}"
    assert abs(flat.std() - want[f"L{index}_std"]) <= bound * spread, f"spread of layer {index}"


class Yolor(NamedTuple):
    """A YOLOR case ready to run: the float64 network with its state loaded by name, its input, JSON, NPZ,
    generator."""

    network: Network
    images: torch.Tensor
    meta: dict[str, Any]
    want: Any
    maker: ModuleType


def yolor_network(case: Case) -> Yolor:
    """The network of a YOLOR case in float64."""
    meta = json.loads(case.meta.read_text())
    maker = module_at(GOLDEN / "yolor" / "make_state.py")
    state = {name: torch.from_numpy(np.asarray(array)) for name, array in maker.make_state(meta).items()}
    shape = meta["input"]["shape"]
    graph = graphs.load_graph(case.cfg, ReadOptions(dialect="yolor", size=(shape[2], shape[3])))
    with unset_weights():
        network = Network(graph).eval()
    network.load_state_dict(state, strict=True)
    images = torch.from_numpy(maker.make_input(**meta["input"])).double()
    return Yolor(network.double(), images, meta, np.load(case.numbers), maker)


def check_samples(name: str, value: torch.Tensor, want: Any, *, atol: float, rtol: float = 0.0) -> None:
    """Shape, mean and spread, and sampled values of one quantity of a YOLOR case."""
    assert list(value.shape) == list(want[f"{name}_shape"]), name
    flat = value.detach().contiguous().flatten().double().numpy()
    np.testing.assert_allclose(
        flat[want[f"{name}_idx"]], want[f"{name}_val"], atol=atol, rtol=rtol, err_msg=name
    )
    np.testing.assert_allclose(
        [flat.mean(), flat.std()], want[f"{name}_stats"], atol=atol, rtol=1e-6, err_msg=name
    )
