"""Files that `yolor export` wrote, run by ONNX Runtime or OpenVINO on the CPU. Needs no torch.

N images, C channels, H W input, B boxes, K classes, M detections.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import CfgError, MissingExtra, WeightsError, YolorError
from yolor_cfg.export.facts import (
    DETECTIONS,
    EMBEDDINGS,
    IMAGE,
    IMAGES,
    LABELS,
    PREDICTIONS,
    RT_INFO,
    ModelFacts,
    parse_facts,
)
from yolor_cfg.export.telemetry import import_openvino
from yolor_cfg.files import open_regular, reason_of

Maps = list[NDArray[np.float32]]
READERS = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}
"""The engines that read a file, that which starts faster first."""
MOST_SIZES = 8  # of inputs, for each of which OpenVINO compiles a model
PRECISIONS = {"onnxruntime": ("fp32",), "openvino": ("fp32", "bf16")}
HINTS = {"fp32": "f32", "bf16": "bf16"}


class FileRunner(Protocol):
    """A file in an engine. `stored` is its metadata, `shape` that of the input [N, C, H, W], 0 where any
    number fits; `names` are those of its inputs."""

    stored: dict[str, str]
    names: list[str]
    shape: tuple[int, ...]
    outputs: list[str]

    def run(self, images: NDArray[Any]) -> Maps:
        """The outputs for images of that shape."""


def count_threads() -> int:
    """How many processors this process may use, or what OMP_NUM_THREADS says, as with torch."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxruntimeFile:
    """A file in ONNX Runtime."""

    def __init__(self, path: str, precision: str) -> None:
        onnxruntime: Any = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count_threads()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.stored: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        inputs = self._session.get_inputs()
        self.names = [one.name for one in inputs]
        self.shape = tuple(size if isinstance(size, int) else 0 for size in inputs[0].shape)
        self.outputs = [one.name for one in self._session.get_outputs()]

    def run(self, images: NDArray[Any]) -> Maps:
        """The outputs for images of that shape."""
        return list(self._session.run(None, {self.names[0]: images}))


class OpenvinoFile:
    """A file in OpenVINO; one for inputs of several sizes is compiled for each of them."""

    def __init__(self, path: str, precision: str) -> None:
        self._core: Any = import_openvino().Core()
        self._settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": count_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._path = path
        weights = Path(path).with_suffix(".bin")
        if Path(path).suffix.lower() == ".xml" and not weights.exists():
            raise WeightsError("the weights beside the .xml file are missing", path=str(weights))
        self._model: Any = self._core.read_model(path)
        self.stored = self._read_stored()
        self.names = [one.get_any_name() for one in self._model.inputs]
        self.shape = tuple(
            0 if one.is_dynamic else one.get_length() for one in self._model.inputs[0].partial_shape
        )
        self.outputs = [one.get_any_name() for one in self._model.outputs]
        self._compiled: dict[tuple[int, ...], Any] = {}

    def _read_stored(self) -> dict[str, str]:
        """What `yolor export` wrote; OpenVINO keeps that of an ONNX file under a name of its own."""
        places = [place for place in (RT_INFO, "framework") if self._model.has_rt_info([place])]
        values = self._model.get_rt_info([places[0]]).value if places else {}
        return {name: str(value) for name, value in values.items()}

    def run(self, images: NDArray[Any]) -> Maps:
        """The outputs for images of that shape."""
        size = () if self.names == [IMAGE] else images.shape  # all sizes of images that the file fits itself
        if size not in self._compiled:
            self._compile(size)
        compiled = self._compiled[size]
        results = compiled(images)
        return [np.array(results[output]) for output in compiled.outputs]

    def _compile(self, size: tuple[int, ...]) -> None:
        if len(self._compiled) >= MOST_SIZES:
            del self._compiled[next(iter(self._compiled))]
        model = self._model
        if 0 in self.shape and self.names == [IMAGES]:
            model = self._core.read_model(self._path)
            model.reshape(list(size))
        self._compiled[size] = self._core.compile_model(model, "CPU", self._settings)


ENGINES: dict[str, Callable[[str, str], FileRunner]] = {
    "onnxruntime": OnnxruntimeFile,
    "openvino": OpenvinoFile,
}


class Predicted(NamedTuple):
    """Boxes of images as `model.Predictions` has them, as arrays: boxes_xywh [N, B, 4] in input pixels,
    objectness [N, B], scores [N, B, K]."""

    boxes_xywh: NDArray[np.float32]
    objectness: NDArray[np.float32]
    scores: NDArray[np.float32]


class ExportedModel:
    """A file of `yolor export` in an engine; call it with images [N, C, H, W] float32, or where it fits them
    itself with [N, h, w, C] uint8."""

    def __init__(self, path: str | Path, engine: str = "auto", precision: str = "fp32") -> None:
        """Raises WeightsError for a file that is damaged, is not there or was written by other programs,
        CfgError for an engine that does not read it, MissingExtra where none is installed."""
        self.path = str(path)
        self.name, self.precision = _choose_engine(self.path, engine, precision)
        _check_there(self.path)
        try:
            self._runner = ENGINES[self.name](self.path, self.precision)
        except YolorError:
            raise
        except Exception as cause:  # every engine raises its own kinds
            raise WeightsError(
                f"{self.name} cannot read this file", path=self.path, found=_first_line(cause)
            ) from None
        self.facts: ModelFacts = parse_facts(self._runner.stored, self.path)
        self.shape = self._runner.shape
        self._check_signature()

    def _check_signature(self) -> None:
        names = self._runner.names
        if names in ([IMAGES], [IMAGE]) and (names == [IMAGE]) != bool(self.facts.order):
            raise WeightsError(
                "the metadata of this file is damaged", path=self.path, found=f"input {names[0]}"
            )
        if names not in ([IMAGES], [IMAGE]) or len(self.shape) != 4:
            raise WeightsError(
                "only detectors without a state are run from a file",
                path=self.path,
                found=f"inputs {', '.join(names)}",
                hint="run the network from its cfg and weights",
            )

    @cached_property
    def form(self) -> str:
        """`raw` for the maps of the heads, else the name of the output with boxes, or that with labels."""
        return next((name for name in (DETECTIONS, PREDICTIONS, LABELS) if name in self.outputs), "raw")

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return self._runner.outputs

    @property
    def has_boxes(self) -> bool:
        """Whether it gives boxes, or maps that they are decoded from."""
        labels_alone = self.form == "raw" and len(self.facts.labels) == len(self.outputs)
        return self.form != LABELS and not labels_alone

    @property
    def is_static(self) -> bool:
        """Whether images of one size alone fit."""
        return all(self.shape[2:]) and not self.facts.order

    def __call__(self, images: NDArray[Any]) -> Maps:
        """The outputs. Where the file takes a fixed number of images, several calls are made, and what is
        missing in the last is filled with zeros; outputs are those of the given images alone."""
        most = self.shape[0] or len(images)
        parts = [self._run(_fill(images[at : at + most], most)) for at in range(0, len(images), most)]
        pairs = zip(self.outputs, zip(*parts, strict=True), strict=True)
        return [
            _join_detections(maps, most, len(images))
            if name == DETECTIONS
            else np.concatenate(maps)[: len(images)]
            for name, maps in pairs
        ]

    def _run(self, images: NDArray[Any]) -> Maps:
        try:
            return self._runner.run(images)
        except Exception as cause:
            raise YolorError(
                f"{self.name} cannot run this file", path=self.path, found=_first_line(cause)
            ) from None


FIRST_COLUMN = np.array([1, 0, 0, 0, 0, 0, 0], np.float32)


def _join_detections(parts: Sequence[NDArray[np.float32]], most: int, count: int) -> NDArray[np.float32]:
    """The detections [M, 7] of several calls of `most` images each, those of the first `count` images."""
    joined = np.concatenate([part + np.float32(at * most) * FIRST_COLUMN for at, part in enumerate(parts)])
    return np.asarray(joined[joined[:, 0] < count])


def _fill(images: NDArray[Any], most: int) -> NDArray[Any]:
    """The images, with black ones behind them up to that number."""
    spare = most - len(images)
    return np.concatenate([images, np.zeros_like(images[:1]).repeat(spare, 0)]) if spare else images


def split_outputs(model: ExportedModel, outputs: Maps, count: int) -> Predicted:
    """The boxes of `count` images from the outputs of a file that decodes them; those of a file with NMS are
    sure objects with one class each, and an image with fewer of them has empty ones behind."""
    if model.form == LABELS:
        return Predicted(*(np.zeros((count, 0, *tail), np.float32) for tail in ((4,), (), (0,))))
    rows = outputs[model.outputs.index(model.form)]
    if model.form == PREDICTIONS:
        return Predicted(rows[..., :4], rows[..., 4], rows[..., 5:])
    image = rows[:, 0].astype(np.intp)
    places = np.concatenate([np.arange(number) for number in np.bincount(image, minlength=count)])
    order = np.argsort(image, kind="stable")
    image, rows, most = image[order], rows[order], int(places.max(initial=-1)) + 1
    found = Predicted(
        *(np.zeros((count, most, *tail), np.float32) for tail in ((4,), (), (model.facts.classes,)))
    )
    low, high = rows[:, 1:3], rows[:, 3:5]
    found.boxes_xywh[image, places] = np.concatenate([(low + high) / 2, high - low], axis=1)
    found.objectness[image, places] = 1
    found.scores[image, places, rows[:, 6].astype(np.intp)] = rows[:, 5]
    return found


def split_labels(model: ExportedModel, outputs: Maps) -> NDArray[np.float32] | None:
    """The probabilities [N, K] of image labels from the outputs of a file; None where it gives none, or where
    they have to be computed from raw maps."""
    if LABELS in model.outputs:
        return outputs[model.outputs.index(LABELS)]
    heads = model.facts.labels
    if model.form != "raw" or len(heads) != len(outputs) or not all(head.is_plain for head in heads):
        return None
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def split_cells(model: ExportedModel, outputs: Maps) -> Maps:
    """The vectors of the cells of each head [N, E, H, W], as a file that decodes boxes gives them."""
    pairs = zip(model.outputs, outputs, strict=True)
    return [output for name, output in pairs if name.startswith(f"{EMBEDDINGS}_")]


def _choose_engine(path: str, engine: str, precision: str) -> tuple[str, str]:
    """The engine and the precision."""
    readers = READERS.get(Path(path).suffix.lower(), ())
    if not readers:
        raise CfgError("not an exported file that runs here", path=path, allowed=tuple(READERS))
    if engine not in ("auto", *readers):
        raise CfgError(
            "this engine does not run such a file", path=path, found=engine, allowed=("auto", *readers)
        )
    installed = [name for name in readers if find_spec(name) is not None and engine in ("auto", name)]
    if not installed:
        raise MissingExtra("openvino" if "openvino" in (engine, readers[0]) else "export")
    if precision == "auto":
        precision = "bf16" if "openvino" in installed and _has_bf16() else "fp32"
    fitting = [name for name in installed if precision in PRECISIONS[name]]
    if not fitting:
        raise CfgError(
            "no such precision for this file in this engine",
            path=path,
            found=f"{precision} in {installed[0]}",
            allowed=PRECISIONS[installed[0]],
            hint="an fp16 or int8 file is run as it is: leave out --precision",
        )
    return fitting[0], precision


def _has_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 by instructions of the processor."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _check_there(path: str) -> None:
    try:
        with open_regular(path):
            return
    except OSError as fault:
        raise WeightsError(f"the file cannot be read: {reason_of(fault)}", path=path) from None


def _first_line(fault: Exception) -> str:
    """The first line that says something: OpenVINO begins with the place in its own code."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception from ")]
    return next(iter(telling or lines), type(fault).__name__)
