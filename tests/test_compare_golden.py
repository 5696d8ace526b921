"""`yolor compare` against C Darknet's own values: equal, or named where a cfg is read otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from yolor_cfg.analysis.compare.causes import diagnose
from yolor_cfg.analysis.compare.compare import NetworkComparison, compare_layers
from yolor_cfg.analysis.compare.layers import LayerRun
from yolor_cfg.analysis.compare.sources import array_values
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.loading import open_network


def whole_values(case: Path) -> dict[str, np.ndarray]:
    """What C Darknet stored in the layers of which all numbers are known."""
    with np.load(case.with_suffix(".npz")) as file:
        shapes = {name[1:-6]: file[name] for name in file.files if name.endswith("_shape")}
        places = {number: file[f"L{number}_idx"] for number in shapes}
        values = {number: file[f"L{number}_val"] for number in shapes}
    return {
        f"layer_{number}": values[number][np.argsort(places[number])].reshape(shape)
        for number, shape in shapes.items()
        if len(places[number]) == np.prod(shape)
    }


def compared(
    case: Path, old: str = "", new: str = "", eps: float | None = None
) -> tuple[LayerRun, NetworkComparison]:
    """The case's network, or its weights in a text that says something else, beside C Darknet's values."""
    facts = json.loads(case.with_suffix(".json").read_text())["input"]
    images = np.random.RandomState(facts["seed"]).rand(*facts["shape"]).astype(np.float32)
    source = open_network(case, case.with_suffix(".weights"), reading=ReadOptions("darknet")).network
    text = case.read_text()
    assert old in text
    network = Network(
        build_graph(parse(text.replace(old, new), str(case)), ReadOptions("darknet", bn_eps=eps))
    )
    network.load_state_dict(source.state_dict())
    run = LayerRun(network.eval(), torch.from_numpy(images), "darknet")
    return run, compare_layers(run, array_values(run, whole_values(case), str(case)))


EQUAL_CASES = (
    *("m_act_leaky", "m_act_mish", "m_act_swish", "m_connected", "m_conv_s2", "m_local_pad1"),
    *("m_max_2_1_12x16", "m_region", "m_route", "m_shortcut_chan", "m_upsample", "m_yolo_new"),
)


@pytest.mark.parametrize("name", EQUAL_CASES)
def test_c_darknets_values_are_equal(name: str, shared: Path) -> None:
    _, found = compared(shared / f"golden/darknet/micro/{name}.cfg")
    assert found.is_equal and any(one.difference for one in found.layers)


READ_OTHERWISE = {
    "mish": ("m_act_mish", "activation=mish", "activation=swish", "activation mish, here swish"),
    "swish": ("m_act_swish", "activation=swish", "activation=mish", "activation swish, here mish"),
    "slope": ("m_act_leaky", "activation=leaky", "activation=relie", "activation leaky, here relie"),
    "sum": (
        "m_shortcut_leaky",
        "[shortcut]\nfrom=-2\nactivation=leaky",
        "[shortcut]\nfrom=-2\nactivation=relu",
        "leaky",
    ),
    "order": ("m_route", "layers=0,1", "layers=1,0", "its sources in the order #0, #1"),
    "group": ("m_route", "layers=1\ngroups=2\ngroup_id=1", "layers=1\ngroups=2\ngroup_id=0", "group 1"),
}


@pytest.mark.parametrize("name", READ_OTHERWISE)
def test_what_was_read_otherwise_than_by_c_darknet_is_named(name: str, shared: Path) -> None:
    case, old, new, text = READ_OTHERWISE[name]
    run, found = compared(shared / f"golden/darknet/micro/{case}.cfg", old, new)
    (why,) = diagnose(run, found, {})
    assert why and why.causes and text in why.causes[0].text, why


def test_c_darknets_epsilon_is_found(shared: Path) -> None:
    run, found = compared(shared / "golden/darknet/micro/m_conv_s2.cfg", eps=1e-3)
    (why,) = diagnose(run, found, {})
    assert why and "epsilon 1e-05 inside the root" in why.causes[0].text
