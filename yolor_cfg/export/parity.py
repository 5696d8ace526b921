"""Whether an exported file computes what our network does, and if not, from which layer on.

Every engine gets the same seeded images; an output's difference is relative to its largest value.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from yolor_cfg.errors import MissingExtra
from yolor_cfg.export import ncnn_run
from yolor_cfg.export.facts import IMAGES
from yolor_cfg.export.page_file import read_page_model
from yolor_cfg.export.telemetry import import_openvino

Arrays = list[NDArray[Any]]
Runner = Callable[[Path, Mapping[str, NDArray[Any]], Sequence[str]], Arrays]
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 5e-2, "int8": 0.2}
"""The largest difference by precision: of float32 what the order of sums makes in a deep network; that of
int8 finds broken files alone: what rounding costs is shown by AP."""
MODULES = {"opencv": "cv2", "page": "onnxruntime", "aoti": "torch"}
"""The modules of engines that are called otherwise here."""
SQUEEZED = ("ncnn",)
"""Engines that leave out axes of size 1."""
GREY_LEVEL = 1.001 / 255
"""By so much images that a model fitted itself may differ: OpenVINO rounds whole numbers above 2 ** 24."""


class Trial(NamedTuple):
    """The inputs of one call by name, the names of the outputs, and the values that are expected."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]
    expected: Arrays


class OutputParity(NamedTuple):
    """One output: its largest value, the largest difference, and their ratio; inf for another shape. Of
    `images`, which a model has fitted, `relative` is what is beyond one grey level."""

    name: str
    largest: float
    difference: float
    relative: float


class EngineParity(NamedTuple):
    """What one engine made of the file; `fault` says why it could not run it."""

    engine: str
    version: str
    outputs: tuple[OutputParity, ...] = ()
    fault: str = ""

    @property
    def worst(self) -> float:
        """The largest relative difference of all outputs; inf where the engine failed."""
        return max((output.relative for output in self.outputs), default=float("inf"))


def compare_engine(engine: str, path: Path, *, trials: Sequence[Trial]) -> EngineParity | None:
    """Run the file in the engine on each trial; None if the engine is not installed."""
    version = engine_version(engine)
    if not version:
        return None
    worst: dict[str, OutputParity] = {}
    try:
        for trial in trials:
            found = RUNNERS[engine](path, trial.inputs, trial.outputs)
            if engine in SQUEEZED:
                found = list(map(_unsqueeze, found, trial.expected))
            for one in map(_measure, trial.outputs, trial.expected, found):
                worst[one.name] = max(one, worst.get(one.name, one), key=lambda parity: parity.relative)
    except Exception as fault:  # every engine raises its own kinds
        return EngineParity(engine, version, fault=str(fault).strip().split("\n")[0])
    return EngineParity(engine, version, tuple(worst.values()))


def _unsqueeze(found: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The array with the axes of size 1 that the other has, if that is all that differs."""
    return found.reshape(like.shape) if found.squeeze().shape == like.squeeze().shape else found


def _measure(name: str, expected: NDArray[Any], found: NDArray[Any]) -> OutputParity:
    """Values that are infinite on both sides, as sizes from random weights are, count as equal. Raises
    ValueError where nothing is expected but NaN: that both sides have it shows nothing."""
    if expected.size and np.isnan(expected).all():
        raise ValueError(f"{name}: all values of the network are NaN, in torch too")
    if expected.shape != found.shape:
        return OutputParity(name, 0.0, float("inf"), float("inf"))
    finite = np.isfinite(expected)
    if (np.isfinite(found) != finite).any():
        return OutputParity(name, 0.0, float("inf"), float("inf"))
    ours = np.where(finite, expected, 0).astype(np.float64)
    largest = float(np.abs(ours).max(initial=0))
    difference = float(np.abs(ours - np.where(finite, found, 0)).max(initial=0))
    if name == IMAGES:
        return OutputParity(name, largest, difference, max(0.0, difference - GREY_LEVEL))
    return OutputParity(name, largest, difference, difference / largest if largest else difference)


def engine_version(engine: str) -> str:
    """The version that is installed; empty if none is."""
    try:
        module = import_openvino() if engine == "openvino" else __import__(MODULES.get(engine, engine))
    except (ImportError, MissingExtra):
        return ""
    return str(module.__version__)


def _run_onnxruntime(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(list(names), dict(inputs)))


def _run_page(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    """The model that the page holds, in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "model.onnx"
        inside.write_bytes(read_page_model(path))
        return _run_onnxruntime(inside, inputs, names)


def _run_openvino(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    """In float32, which it does not take by itself on processors with bf16."""
    core = import_openvino().Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(dict(inputs))
    return [np.array(results[name]) for name in names]


def _run_opencv(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    import cv2

    net = cv2.dnn.readNetFromONNX(str(path))
    for name, value in inputs.items():
        net.setInput(value, name if len(inputs) > 1 else "")
    return [np.asarray(value) for value in net.forward(list(names))]


def _run_torch(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    program = torch.export.load(path).module()
    with torch.inference_mode():
        return [tensor.numpy() for tensor in program(*map(torch.from_numpy, inputs.values()))]


def _run_aoti(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    program = torch._inductor.aoti_load_package(str(path))
    with torch.inference_mode():
        return [tensor.numpy() for tensor in program(*map(torch.from_numpy, inputs.values()))]


def _run_ncnn(path: Path, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays:
    """In a process of its own, which it may end."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        given: dict[str, Any] = {f"in{number}": value for number, value in enumerate(inputs.values())}
        np.savez(arrays, **given)
        command = [sys.executable, "-P", ncnn_run.__file__, str(path), str(arrays)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            said = done.stderr.strip().split("\n")[-1] if done.returncode > 0 else ""
            raise ValueError(said or ncnn_run.describe_end("ncnn", done.returncode))
        with np.load(arrays) as found:
            return [found[f"out{number}"] for number in range(len(names))]


RUNNERS: dict[str, Runner] = {
    "onnxruntime": _run_onnxruntime,
    "openvino": _run_openvino,
    "opencv": _run_opencv,
    "torch": _run_torch,
    "page": _run_page,
    "aoti": _run_aoti,
    "ncnn": _run_ncnn,
}
