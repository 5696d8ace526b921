"""An ONNX model in int8, calibrated with images: ONNX Runtime's static quantization.

Convolutions alone are quantized: activations to uint8 by the least and the largest value seen, weights to
int8 by channel. The first convolutions and those before the outputs stay in float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.errors import CfgError, MissingExtra
from yolor_cfg.export.facts import IMAGES
from yolor_cfg.export.onnx_fit import fit_for_model
from yolor_cfg.graph import Graph
from yolor_cfg.images.stacks import read_channels

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Inputs = Iterable[NDArray[np.float32]]
TellCount = Callable[[int], None]
MakeModel = Callable[[], "tuple[ModelProto, Graph, InputForm]"]
FUSED = {"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": ["Conv"]}
"""Leaves nothing between a convolution and its activation, which OpenVINO then computes as one. ONNX Runtime
needs the output of a convolution quantized, or computes it in float32."""


class InputForm(NamedTuple):
    """How a model takes images: so many a call, of one size or of all."""

    batch: int
    one_size: bool


class Calibration:
    """The image files that a model is calibrated with, and where they came from, in words. `progress` is told
    how many images are done. Models are kept, so that a file and its twin are calibrated once."""

    def __init__(self, images: Sequence[str], source: str = "", progress: TellCount | None = None) -> None:
        self.images, self.source, self.progress = tuple(images), source, progress
        self._models: dict[Hashable, bytes] = {}

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {"method": "MinMax", "images": len(self.images), "source": self.source}

    def quantize(self, key: Hashable, make: MakeModel, *, extra: dict[str, Any]) -> ModelProto:
        """The model that `make` gives, in int8; one for each key is kept. Raises CfgError where nothing can
        be quantized, DataError for an image that cannot be read, MissingExtra."""
        if key not in self._models:
            model, graph, form = make()
            inputs = self._inputs(graph, form)
            self._models[key] = quantize_model(model, inputs, extra).SerializeToString()
        import onnx

        return onnx.load_from_string(self._models[key])

    def _inputs(self, graph: Graph, form: InputForm) -> Iterator[NDArray[np.float32]]:
        """The images, fitted, as batches of the size that the model takes."""
        for number, path in enumerate(self.images, 1):
            yield example_batch(graph, form, path)
            if self.progress:
                self.progress(number)


def example_batch(graph: Graph, form: InputForm, path: str) -> NDArray[np.float32]:
    """The image in a file, fitted and repeated to [N, C, H, W]."""
    image = read_channels(path, graph.image.channels)
    fitted = fit_for_model(image, graph, one_size=form.one_size)
    return np.repeat(fitted.pixels[None], form.batch, axis=0)


def quantize_model(model: ModelProto, inputs: Inputs, extra: dict[str, Any]) -> ModelProto:
    """The model with its inner convolutions in int8, by the values that they have for these inputs; `extra`
    are options of ONNX Runtime's quantizer."""
    left = name_convolutions(model)
    import onnx

    quantization = _import_quantization()
    kinds = quantization.QuantType
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            _Reader(inputs),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=kinds.QUInt8,
            weight_type=kinds.QInt8,
            nodes_to_exclude=left,
            extra_options=extra,
        )
        return onnx.load(path)


def name_convolutions(model: ModelProto) -> list[str]:
    """Name all nodes; the names of the first convolutions and of the last before the outputs."""
    nodes = list(model.graph.node)
    for number, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{number}"
    inputs, outputs = ({one.name for one in side} for side in (model.graph.input, model.graph.output))
    left = {
        *_find_edge(nodes, inputs, "input", "output"),
        *_find_edge(nodes[::-1], outputs, "output", "input"),
    }
    if len(left) == sum(node.op_type == "Conv" for node in nodes):
        raise CfgError("no convolution to quantize: the first and the last ones stay in float32")
    return sorted(left)


def _find_edge(nodes: Sequence[NodeProto], known: set[str], near: str, *far: str) -> Iterator[str]:
    """The convolutions that are reached from the known values with no other one between."""
    for node in nodes:
        if not known.intersection(getattr(node, near)):
            continue
        if node.op_type == "Conv":
            yield node.name
        else:
            known.update(*(getattr(node, side) for side in far))


def _import_quantization() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as cause:
        raise MissingExtra("export") from cause
    return quantization


class _Reader:
    """The inputs as ONNX Runtime asks for them: one by one, then None."""

    def __init__(self, inputs: Inputs) -> None:
        self._rest = iter(inputs)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input by name."""
        batch = next(self._rest, None)
        return None if batch is None else {IMAGES: batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice, which it gives to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
