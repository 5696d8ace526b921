"""ONNX and OpenVINO files, of `yolor export` or of other programs, with every value that they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.analysis.compare.align import Alignment, FindValue, is_box_head
from yolor_cfg.analysis.compare.layers import LayerRun, join_boxes
from yolor_cfg.analysis.compare.values import OtherValues, run_guarded
from yolor_cfg.errors import MissingExtra, WeightsError
from yolor_cfg.export.facts import IMAGE, PREDICTIONS, RT_INFO
from yolor_cfg.export.telemetry import import_openvino
from yolor_cfg.export.traced import head_names
from yolor_cfg.files import open_regular, reason_of
from yolor_cfg.images.types import Image, Size

NO_VALUES = ("Parameter", "Constant", "Result")
"""Operations of OpenVINO whose values are not computed."""


class FileInput(NamedTuple):
    """The one input of a file: its name, its shape with 0 where any number fits, the type of its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: Any

    @property
    def takes_pictures(self) -> bool:
        """Whether the file fits pictures [1, h, w, C] itself."""
        return self.name == IMAGE and self.dtype == np.uint8

    @property
    def size(self) -> Size | None:
        """Height and width, where images of one size alone fit."""
        is_fixed = not self.takes_pictures and len(self.shape) == 4 and all(self.shape[2:])
        return (self.shape[2], self.shape[3]) if is_fixed else None

    def prepare(self, images: Tensor, picture: Image | None) -> NDArray[Any]:
        """The images [1, C, H, W], or the picture [h, w, C], as the file takes it."""
        if self.takes_pictures:
            assert picture is not None
            return picture.reshape(1, *picture.shape[:2], -1)
        given = images.numpy().astype(self.dtype)
        return np.repeat(given, self.shape[0] or 1, axis=0)


class ComparedFile:
    """An exported file with all of its values as outputs; `order` is that of the channels of pictures that it
    fits itself."""

    def __init__(self, path: str) -> None:
        """Raises WeightsError for a file that cannot be read or has not one input [N, C, H, W], MissingExtra
        without the library that reads it."""
        self.path = path
        try:
            open_regular(path).close()
        except OSError as fault:
            raise WeightsError(f"the file cannot be read: {reason_of(fault)}", path=path) from None
        reader = _OpenvinoReader if path.lower().endswith(".xml") else _OnnxReader
        self._reader = run_guarded(lambda: reader(path), f"{path} cannot be read")
        self.input: FileInput = self._reader.input
        if len(self.input.shape) != 4:
            allowed = "one input [N, C, H, W]"
            raise WeightsError(
                "not a network of images", path=path, found=str(self.input.shape), allowed=allowed
            )

    @property
    def order(self) -> str:
        """`rgb` or `bgr`."""
        return "bgr" if '"bgr"' in self._reader.stored.get("input", "").lower() else "rgb"

    def values(
        self, run: LayerRun, picture: Image | None, *, tolerance: float, find_value: FindValue
    ) -> OtherValues:
        """The value of each layer that is found in the file."""
        if picture is not None and self.order == "bgr":
            picture = np.ascontiguousarray(picture[..., ::-1])
        given = self.input.prepare(run.images, picture)
        found = run_guarded(lambda: self._reader.run(given), f"{self.path} cannot be run")
        tensors = {name: _first_image(value, len(given)) for name, value in found.items()}
        heads = {} if self.input.takes_pictures else _read_heads(run, tensors)
        search = Alignment(
            run, list(tensors.values()), tolerance=tolerance, find_value=find_value, heads=heads
        )
        layers = search.find()
        if not self.input.takes_pictures:
            return OtherValues(self.path, layers | heads)
        notes = ("the file fits the picture itself, and its boxes to the picture: heads are not compared",)
        return OtherValues(self.path, layers, notes=notes)


def _single_input(inputs: Sequence[Any], path: str) -> Any:
    if len(inputs) != 1:
        allowed = "one input [N, C, H, W]"
        raise WeightsError(
            "not a network of images", path=path, found=f"{len(inputs)} inputs", allowed=allowed
        )
    return inputs[0]


def _first_image(value: NDArray[Any], batch: int) -> Tensor:
    """The values of the first of equal images."""
    part = value[: len(value) // batch] if value.ndim and len(value) % batch == 0 else value
    return torch.from_numpy(np.ascontiguousarray(part, np.float32))


def _read_heads(run: LayerRun, tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """The boxes of each head: of a raw map that has its name, or of the boxes of all of them."""
    graph = run.graph
    heads = [node for node in graph.heads if is_box_head(run, node)]
    named = zip(head_names(graph), graph.heads, strict=True)
    found = {
        node.index: run.compared_value(node, tensors[name])
        for name, node in named
        if node in heads and name in tensors
    }
    rows = tensors.get(PREDICTIONS)
    if found or rows is None or rows.ndim != 3:
        return found
    joined = join_boxes(rows[..., :4], rows[..., 4], rows[..., 5:], size=run.images.shape[2:])
    own = run.values()
    counts = [own[node.index].shape[1] for node in heads]
    if sum(counts) != joined.shape[1]:
        return found
    return dict(zip((node.index for node in heads), joined.split(counts, dim=1), strict=True))


class _OnnxReader:
    """An ONNX file in ONNX Runtime, without its optimisations: they would take values away."""

    def __init__(self, path: str) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as cause:
            raise MissingExtra("export") from cause
        model = onnx.load(path)
        self.stored = {entry.key: entry.value for entry in model.metadata_props}
        known = {output.name for output in model.graph.output}
        for node in model.graph.node:
            names = [name for name in node.output if name and name not in known]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        order = [name for node in model.graph.node for name in node.output]
        floats = {one.name for one in self._session.get_outputs() if "float" in one.type}
        self._names = [name for name in order if name in floats]
        given = _single_input(self._session.get_inputs(), path)
        types = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        shape = tuple(size if isinstance(size, int) else 0 for size in given.shape)
        self.input = FileInput(given.name, shape, types.get(given.type, np.float32))

    def run(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every value of floats by name, in the order of the file."""
        return dict(zip(self._names, self._session.run(self._names, {self.input.name: images}), strict=True))


class _OpenvinoReader:
    """A file of OpenVINO, in float32."""

    def __init__(self, path: str) -> None:
        core = import_openvino().Core()
        model = core.read_model(path)
        place = [RT_INFO, "input"]
        known = model.has_rt_info(place)
        self.stored = {"input": str(model.get_rt_info(place).value)} if known else {}
        given = _single_input(model.inputs, path)
        shape = tuple(0 if one.is_dynamic else one.get_length() for one in given.partial_shape)
        self.input = FileInput(given.get_any_name(), shape, given.get_element_type().to_dtype())
        values = [op.output(0) for op in model.get_ordered_ops() if op.get_type_name() not in NO_VALUES]
        model.add_outputs([one for one in values if "f" in one.get_element_type().get_type_name()])
        self._model = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every value of floats by name."""
        results = self._model(images)
        return {output.get_any_name(): np.array(results[output]) for output in self._model.outputs}
