"""The native engine on whole networks with the golden weights: each step against torch in float64."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden import (
    darknet_cases,
    darknet_graph,
    darknet_input,
    filled,
    micro_cases,
    yolor_cases,
    yolor_network,
)
from native import BUILT, step_errors

from yolor_cfg.engines.native.engine import NativeEngine
from yolor_cfg.graph import load
from yolor_cfg.model import Network
from yolor_cfg.rewrite.fold import fold

CFGS = Path(__file__).resolve().parents[1] / "cfg"
ROUNDED = 2.0**-8  # of the largest value: half for storing in bfloat16, half for activations and residuals
BOUNDS = {"fp32": 2e-6, "bf16": ROUNDED}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BUILT, reason="the native engine is not built (make native)"),
]


def check(network: Network, images: torch.Tensor, precision: str) -> None:
    """Every step of the folded network."""
    folded = fold(network).network.requires_grad_(False)
    engine = NativeEngine(folded, precision=precision, threads=2)
    with torch.inference_mode():
        found = list(step_errors(engine, images.contiguous()))
    assert len(found) > 20
    worst = max(found, key=lambda one: one.error)
    # Without a matrix unit F(2x2) rounds the transformed tiles and filters to bfloat16 as well.
    rounds_twice = precision == "bf16" and engine.kernels.depth_step <= 2
    assert worst.error < BOUNDS[precision] * (2 if rounds_twice else 1), worst


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov4-csp", "yolov4-csp-swish"])
def test_golden(name: str, precision: str, shared: Path) -> None:
    """Networks of C Darknet with the weights that its numbers were recorded with."""
    case = next(one for one in darknet_cases() if one.name == name)
    meta = json.loads(case.meta.read_text())
    (images,) = darknet_input(meta)
    check(filled(darknet_graph(case), meta), images, precision)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", ["yolor_csp", "yolor_csp_ssss"])
def test_family(name: str, precision: str) -> None:
    """Our own networks, with implicit knowledge folded."""
    torch.manual_seed(0)
    network = Network(load(CFGS / f"{name}.cfg")).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, 0, (1.5 / module.weight[0].numel()) ** 0.5)
    check(network, torch.rand(1, 3, 320, 320), precision)


def compare(network: Network, images: torch.Tensor) -> float:
    """The largest difference of an output in bfloat16 or, times a thousand, in float32, relative to its
    largest value."""
    folded = fold(network).network.requires_grad_(False)
    worst = 0.0
    with torch.inference_mode():
        wanted = folded(images)
        for precision, weight in (("fp32", 1000), ("bf16", 1)):
            folded.reset()
            found = NativeEngine(folded, precision=precision, threads=2)(images)
            for ours, exact in zip(found, wanted, strict=True):
                assert ours.shape == exact.shape
                far = (ours - exact).abs().max() / exact.abs().max().clamp(min=1e-6)
                worst = max(worst, float(far) * weight)
    return worst


def test_every_section(shared: Path) -> None:
    """The golden networks of one section or few: with kernels or in torch, each runs."""
    for case in micro_cases():
        meta = json.loads(case.meta.read_text())
        images = darknet_input(meta)[0]
        assert compare(filled(darknet_graph(case), meta), images) < 0.1, case.name
    for case in yolor_cases():
        yolor = yolor_network(case)
        assert compare(yolor.network.float(), yolor.images.float()) < 0.1, case.name
