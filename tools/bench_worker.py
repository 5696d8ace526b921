"""One engine of bench_inference.py in its process: reads how many passes to run, prints seconds as JSON.

python tools/bench_worker.py ENGINE CFG SIZE THREADS BATCH FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

WARM_UP = 2
Run = Callable[[], list[Any]]


class Setup(NamedTuple):
    """What to run: a network without gradients, images, threads, and a folder that the workers share."""

    network: Any
    images: Any
    threads: int
    folder: Path

    def onnx(self) -> str:
        """An ONNX file of the unfolded network; the first engine that wants it writes it."""
        path = self.folder / "network.onnx"
        if not path.exists():
            import torch

            program = torch.onnx.export(self.network, (self.images,), dynamo=True, verbose=False)
            assert program is not None
            program.save(str(path))
        return str(path)


def start_engine(setup: Setup, name: str, precision: str) -> Run:
    """One of the product's own engines, with all rewrites."""
    from yolor_cfg.engines.base import EngineSettings
    from yolor_cfg.engines.choice import choose_engine

    engine = choose_engine(setup.network, EngineSettings(name, precision))
    return lambda: engine(setup.images)


def start_native(setup: Setup, precision: str) -> Run:
    return start_engine(setup, "native", precision)


def start_torch(setup: Setup, precision: str) -> Run:
    return start_engine(setup, "torch", precision)


def start_old(setup: Setup, precision: str) -> Run:
    return lambda: setup.network(setup.images)


def start_onnxruntime(setup: Setup, precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    session = onnxruntime.InferenceSession(setup.onnx(), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: setup.images.numpy()}
    return lambda: session.run(None, feed)


def start_openvino(setup: Setup, precision: str) -> Run:
    from yolor_cfg.export.telemetry import import_openvino

    openvino = import_openvino()
    from openvino import properties
    from openvino.properties import hint

    core = openvino.Core()
    model = core.read_model(setup.onnx())
    settings = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32,
        properties.inference_num_threads: setup.threads,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(setup.images.numpy()))

    def run() -> list[Any]:
        request.infer()
        return [tensor.data for tensor in request.output_tensors]

    return run


ENGINES: dict[str, tuple[Callable[[Setup, str], Run], str]] = {
    "old": (start_old, "fp32"),
    "torch-fp32": (start_torch, "fp32"),
    "onnxruntime": (start_onnxruntime, "fp32"),
    "openvino-fp32": (start_openvino, "fp32"),
    "native-fp32": (start_native, "fp32"),
    "torch-bf16": (start_torch, "bf16"),
    "openvino-bf16": (start_openvino, "bf16"),
    "native-bf16": (start_native, "bf16"),
}


def make_setup(cfg: str, size: int, *, threads: int, batch: int, folder: str) -> Setup:
    """The network with the same random weights in every process; values keep their size between layers."""
    import torch

    import yolor_cfg

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = yolor_cfg.load(cfg).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, 0, (1.5 / module.weight[0].numel()) ** 0.5)
    image = network.graph.image
    shape = (size, size) if size else (image.height, image.width)
    return Setup(network, torch.rand(batch, image.channels, *shape), threads, Path(folder))


def difference(found: list[Any], folder: Path) -> float:
    """The largest difference from the outputs of the first engine, relative to their largest value."""
    import numpy as np
    import torch

    arrays = [one.float().numpy() if isinstance(one, torch.Tensor) else np.asarray(one) for one in found]
    path = folder / "outputs.npz"
    if not path.exists():
        np.savez(path, *arrays)
        return 0.0
    wanted = np.load(path)
    pairs = zip(arrays, (wanted[name] for name in wanted.files), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def main(words: list[str]) -> None:
    """Start the engine, then answer."""
    engine, cfg, size, threads, batch, folder = words
    setup = make_setup(cfg, int(size), threads=int(threads), batch=int(batch), folder=folder)
    import torch

    start, precision = ENGINES[engine]
    with torch.inference_mode(not engine.startswith(("onnx", "openvino"))), torch.no_grad():
        run = start(setup, precision)
        first = run()
        for _ in range(WARM_UP):
            run()
        answer({"difference": difference(first, Path(folder))})
        for line in sys.stdin:
            seconds = []
            for _ in range(int(line)):
                begin = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - begin)
            answer({"seconds": seconds})


def answer(facts: dict[str, Any]) -> None:
    """One line of JSON, with the peak of memory in MiB."""
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    memory = int(peak.split()[1]) / 1024
    print(json.dumps({**facts, "memory": memory}), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    main(sys.argv[1:])
