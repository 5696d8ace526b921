"""Where the time of a network goes, by kind of layer: in our kernels, and in OpenVINO beside them.

    python tools/profile_layers.py CFG[:SIZE]... [--precision bf16] [--threads 2] [--passes 10]

Of each layer the shortest of some passes counts; layers of a kind are added up. The figures are of layers
run one after the other, with a clock between them: their sum is a little more than a plain pass. Weights are
random, as in bench_inference.py; OpenVINO reads its ONNX file of the unfolded network, and its layers have no
counts of operations.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click
import torch
from bench_worker import Setup, make_setup

from yolor_cfg.engines.native.engine import NativeEngine
from yolor_cfg.export.telemetry import import_openvino
from yolor_cfg.rewrite.faster import rewrite_for_speed

PRECISIONS = ("fp32", "bf16")


class LayerTime(NamedTuple):
    """The kind of a layer, its shortest time, and its multiplications with an addition each."""

    kind: str
    seconds: float
    macs: int = 0


@click.command(help=__doc__)
@click.argument("networks", nargs=-1, required=True)
@click.option(
    "--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), help="Default: both."
)
@click.option("--threads", default=2, show_default=True)
@click.option("--passes", default=10, show_default=True)
def main(networks: tuple[str, ...], precisions: tuple[str, ...], threads: int, passes: int) -> None:
    """Print two tables for each network and precision."""
    for text in networks:
        cfg, _, size = text.partition(":")
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            setup = make_setup(cfg, int(size or 0), threads=threads, batch=1, folder=folder)
            for precision in precisions or PRECISIONS:
                name = f"{Path(cfg).stem} {size} {precision}"
                print_kinds(f"{name}, native", profile_native(setup, precision, passes))
                print_kinds(f"{name}, OpenVINO", profile_openvino(setup, precision, passes))


def profile_native(setup: Setup, precision: str, passes: int) -> list[LayerTime]:
    """The operations of our kernels."""
    network = rewrite_for_speed(setup.network).network
    engine = NativeEngine(network, precision=precision, threads=setup.threads)
    found = [engine.profile(setup.images) for _ in range(passes)]
    return [
        LayerTime(same[0].label, min(one.seconds for one in same), same[0].macs)
        for same in zip(*found, strict=True)
    ]


def profile_openvino(setup: Setup, precision: str, passes: int) -> list[LayerTime]:
    """The nodes that OpenVINO ran."""
    openvino = import_openvino()
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": setup.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": True,
    }
    request = core.compile_model(core.read_model(setup.onnx()), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(setup.images.numpy()))
    shortest: dict[tuple[str, str], float] = {}
    for _ in range(passes):
        request.infer()
        for node in request.get_profiling_info():
            key, seconds = (node.node_type, node.node_name), node.real_time.total_seconds()
            shortest[key] = min(shortest.get(key, seconds), seconds)
    return [LayerTime(kind, seconds) for (kind, _), seconds in shortest.items() if seconds > 0]


def print_kinds(title: str, layers: Iterable[LayerTime]) -> None:
    """One line for each kind of layer, the longest first, and their sum."""
    kinds: dict[str, list[LayerTime]] = defaultdict(list)
    for layer in layers:
        kinds[layer.kind].append(layer)
    times = {kind: sum(layer.seconds for layer in some) for kind, some in kinds.items()}
    whole = sum(times.values())
    print(f"\n{title}: {1e3 * whole:.2f} ms")
    for kind in sorted(times, key=lambda kind: -times[kind]):
        rate = 2e-9 * sum(layer.macs for layer in kinds[kind]) / times[kind]
        print(
            f"  {kind:20} x {len(kinds[kind]):<4} {1e3 * times[kind]:9.2f} ms {times[kind] / whole:6.1%}"
            + (f" {rate:8.0f} GFLOP/s" if rate else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
