"""The other side: a network, an engine, an exported file, or values that another program wrote."""

from __future__ import annotations

import copy
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from yolor_cfg.analysis.compare.align import Alignment, FindValue, is_box_head
from yolor_cfg.analysis.compare.layers import LayerRun
from yolor_cfg.analysis.compare.values import OtherValues, run_guarded
from yolor_cfg.engines.base import EngineSettings
from yolor_cfg.engines.choice import choose_engine, make_engine
from yolor_cfg.errors import DataError
from yolor_cfg.export.facts import IMAGES
from yolor_cfg.export.onnx_file import OnnxSettings, make_onnx
from yolor_cfg.export.parity import RUNNERS
from yolor_cfg.files import reason_of
from yolor_cfg.model import Network

FILE_ENGINES = ("onnxruntime", "openvino", "opencv")
"""Engines that run an ONNX file whose outputs are the values of all layers."""
DAMAGED_ARCHIVE = (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and the libraries below it raise for a file that is no .npz, or a damaged one."""
IMPORTER = "readNetFromDarknet"
"""OpenCV's function that reads a cfg and weights, gone in 5.0."""


def network_values(
    run: LayerRun, network: Network, *, title: str, tolerance: float, find_value: FindValue
) -> OtherValues:
    """The values of another network; where it has other sections, of the layers that can be found there."""
    other = LayerRun(network, run.images)
    values = other.values()
    kinds = [[node.section.type for node in one.graph.nodes] for one in (run, other)]
    if kinds[0] == kinds[1]:
        return OtherValues(title, values)
    plain = [values[node.index] for node in other.graph.nodes if not is_box_head(other, node)]
    heads = [node.index for node in other.graph.nodes if is_box_head(other, node)]
    ours = [node.index for node in run.graph.nodes if is_box_head(run, node)]
    pairs = zip(ours, heads, strict=True) if len(heads) == len(ours) else ()
    boxes = {mine: values[theirs] for mine, theirs in pairs}
    found = Alignment(run, plain, tolerance=tolerance, find_value=find_value, heads=boxes).find()
    return OtherValues(
        title, found | boxes, notes=("it has other sections: layers are matched by their values",)
    )


def engine_values(run: LayerRun, name: str, precision: str) -> OtherValues:
    """What an engine computes: of each layer alone, and of the heads as it runs the rewritten network."""
    title = f"{name}, {precision}"
    if name in FILE_ENGINES:
        values = run_guarded(lambda: _values_of_file(run, name), f"{name} cannot run this network")
        return OtherValues(title, values, notes=_opencv_notes() if name == "opencv" else ())
    nodes, whole = run.graph.nodes, copy.deepcopy(run.network)
    # Heads first: that is the order in which engines give out values.
    order = sorted(range(len(nodes)), key=lambda index: not nodes[index].section.is_head)
    whole.graph = replace(run.graph, outputs=tuple(order))
    maps = make_engine(name, whole, precision)(run.images)
    heads = choose_engine(run.network, EngineSettings(name, precision))(run.images)
    values = dict(zip(order, maps, strict=True)) | dict(zip(run.graph.outputs, heads, strict=True))
    return OtherValues(title, _compared_values(run, values))


def has_darknet_importer() -> bool:
    """Whether OpenCV reads a cfg and weights itself."""
    return hasattr(cv2.dnn, IMPORTER)


def _opencv_notes() -> tuple[str, ...]:
    version = cv2.__version__
    if has_darknet_importer():
        return (f"OpenCV {version} reads a cfg with .weights itself: this one is run as an ONNX file",)
    return (f"OpenCV {version} has no importer for Darknet (4.x has): the network is run as an ONNX file",)


def opencv_values(
    run: LayerRun, cfg: str, weights: str, *, tolerance: float, find_value: FindValue
) -> OtherValues:
    """What OpenCV's own importer for Darknet makes of the two files; heads are not compared."""

    def compute() -> list[Tensor]:
        net: Any = getattr(cv2.dnn, IMPORTER)(cfg, weights)
        net.enableFusion(False)
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.setInput(run.images.numpy())
        return [torch.from_numpy(net.forward(name).copy()) for name in net.getLayerNames()]

    tensors = run_guarded(compute, "OpenCV cannot run this network")
    found = Alignment(run, tensors, tolerance=tolerance, find_value=find_value, heads={}).find()
    return OtherValues(f"OpenCV {cv2.__version__}", found, notes=("the boxes of heads are not compared",))


def _compared_values(run: LayerRun, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
    nodes = run.graph.nodes
    return {index: run.compared_value(nodes[index], value.detach()) for index, value in values.items()}


def _values_of_file(run: LayerRun, engine: str) -> dict[int, Tensor]:
    """The values of all layers in an engine that reads ONNX files."""
    model = make_onnx(run.network, OnnxSettings("layers"))
    made = {name for node in model.graph.node for name in node.output}
    layers = {f"layer_{node.index}": node.index for node in run.graph.nodes}
    outputs = [one for one in model.graph.output if one.name in made & layers.keys()]  # others are constants
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    names = [one.name for one in outputs]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layers.onnx"
        path.write_bytes(model.SerializeToString())
        found = RUNNERS[engine](path, {IMAGES: run.images.numpy()}, names)
    pairs = zip(names, found, strict=True)
    return _compared_values(run, {layers[name]: torch.from_numpy(value) for name, value in pairs})


def read_arrays(path: str) -> dict[str, Any]:
    """The arrays of a .npz file; raises DataError for another file."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("a single array (.npy)")
        with loaded as file:
            return {name: file[name] for name in file.files}
    except OSError as fault:
        raise DataError(f"the values cannot be read: {reason_of(fault)}", path=path) from None
    except DAMAGED_ARCHIVE as fault:
        raise DataError("not a .npz file of NumPy", path=path, found=str(fault)) from None


def check_images(images: Any, network: Network) -> Tensor:
    """The input of the network [1, C, H, W] that a file holds; raises DataError for another size."""
    wanted = (1, *network.graph.image)
    if images.shape != wanted:
        raise DataError("`images` does not fit the network", found=str(images.shape), allowed=str(wanted))
    return _to_floats("images", images)


def _to_floats(name: str, array: Any) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise DataError(f"`{name}` holds no numbers", found=str(array.dtype))
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def array_values(run: LayerRun, arrays: Mapping[str, Any], path: str) -> OtherValues:
    """The values in a .npz file of another program: `layer_5` is what C Darknet stores in layer 5."""
    names = {node.index: f"layer_{node.index}" for node in run.graph.nodes}
    found = {index: _to_floats(name, arrays[name]) for index, name in names.items() if name in arrays}
    if not found:
        allowed = "layer_0, layer_1, ...: the values of layers [1, C, H, W]"
        raise DataError("no values of layers", path=path, found=", ".join(list(arrays)[:5]), allowed=allowed)
    return OtherValues(path, found, "darknet")
