"""`yolor compare` and exported files: a fault is put into a copy of the file, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import test_compare as plain
import tiny_detector as tiny
import torch
from exports import make_onnx_once
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

from yolor_cfg.analysis.compare.causes import Diagnosis, FaultFinder, diagnose
from yolor_cfg.analysis.compare.compare import ABSENT, DIFFERS, EQUAL, NetworkComparison, compare_layers
from yolor_cfg.analysis.compare.files import ComparedFile
from yolor_cfg.analysis.compare.layers import LayerRun
from yolor_cfg.analysis.compare.picture import fit_picture, other_fits
from yolor_cfg.analysis.compare.sources import network_values
from yolor_cfg.export.formats import ExportOptions
from yolor_cfg.export.onnx_file import DEFAULT_SETTINGS, OnnxSettings
from yolor_cfg.export.run import export_network
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.equality import seed_tensors
from yolor_cfg.rewrite.faster import rewrite_for_speed
from yolor_cfg.rewrite.to_darknet import to_plain_darknet

Fault = Callable[[onnx.ModelProto], object]
IMPLICIT = """[net]
width=64
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=silu
[implicit_add]
filters=16
[implicit_mul]
filters=16
[route]
layers=0
[convolutional]
size=1
filters=16
activation=linear
[shift_channels]
from=1
[control_channels]
from=2
[yolo]
mask=0,1
num=2
classes=3
anchors=4,5, 7,9
"""


def exported(network: Network, settings: OnnxSettings = DEFAULT_SETTINGS) -> onnx.ModelProto:
    """The model that `yolor export` writes: folded and rewritten."""
    return make_onnx_once(rewrite_for_speed(network).network, settings)


def judged(network: Network, path: Path) -> tuple[NetworkComparison, Diagnosis | None]:
    """What the comparison with a file says."""
    run = LayerRun(network, plain.images_of(network))
    other = ComparedFile(str(path)).values(run, None, tolerance=1e-4, find_value=FaultFinder(run, 1e-4, {}))
    found = compare_layers(run, other)
    return found, next(iter(diagnose(run, found, {})), None)


def first_node(model: onnx.ModelProto, kind: str, number: int = 0) -> onnx.NodeProto:
    return [node for node in model.graph.node if node.op_type == kind][number]


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(one for one in node.attribute if one.name == name)


def change_kernels(number: int, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """A fault of the kernels of that convolution."""

    def spoil(model: onnx.ModelProto) -> None:
        name = first_node(model, "Conv", number).input[1]
        kernels = next(one for one in model.graph.initializer if one.name == name)
        kernels.CopyFrom(from_array(np.ascontiguousarray(change(to_array(kernels)), np.float32), name))

    return spoil


def insert_first(kind: str, constant: np.ndarray, **attributes: int) -> Fault:
    """A fault of the input: an operation before the first convolution."""

    def spoil(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(from_array(constant, "constant"))
        model.graph.node.insert(0, make_node(kind, ["images", "constant"], ["changed"], **attributes))
        first_node(model, "Conv").input[0] = "changed"

    return spoil


def swap_inputs(model: onnx.ModelProto) -> None:
    node = next(one for one in model.graph.node if one.op_type == "Concat" and len(one.input) == 2)
    node.input[0], node.input[1] = list(node.input)[::-1]


def round_to_8_bits(kernels: np.ndarray) -> np.ndarray:
    step = np.abs(kernels).max() / 127
    return np.round(kernels / step) * step


def set_linear(model: onnx.ModelProto) -> None:
    attribute(first_node(model, "Resize"), "mode").s = b"linear"


FAULTS: dict[str, tuple[Fault, int, str, str]] = {
    "slope": (
        lambda model: setattr(attribute(first_node(model, "LeakyRelu"), "alpha"), "f", 0.01),
        plain.CONV0,
        "leaky slope",
        "slope 0.01",
    ),
    "upsampling": (set_linear, plain.UPSAMPLE, "upsampling", "bilinear, from the corners"),
    "concatenation": (swap_inputs, plain.ROUTE, "route order", "#3, #5"),
    "pooling": (
        lambda model: attribute(first_node(model, "MaxPool"), "pads").ints.__setitem__(
            slice(None), [1, 1, 0, 0]
        ),
        plain.POOL,
        "pooling padding",
        "1 rows and columns of nothing before",
    ),
    "float16": (
        change_kernels(1, lambda kernels: kernels.astype(np.float16)),
        plain.CONV1,
        "half precision",
        "kernels rounded to float16, batch norm folded",
    ),
    "8 bits": (
        change_kernels(1, round_to_8_bits),
        plain.CONV1,
        "quantisation",
        "8 bits, one scale, batch norm",
    ),
    "turned": (
        change_kernels(2, lambda kernels: kernels[:, :, ::-1, ::-1]),
        plain.CONV4,
        "kernel order",
        "180 degrees",
    ),
    "0..255": (
        insert_first("Div", np.float32(255)),
        plain.CONV0,
        "preprocessing",
        "divided by 255 once more",
    ),
    "bgr": (insert_first("Gather", np.array([2, 1, 0]), axis=1), plain.CONV0, "preprocessing", "BGR"),
    "noise": (
        change_kernels(
            1, lambda kernels: kernels * np.random.default_rng(0).uniform(0.8, 1.2, kernels.shape)
        ),
        plain.CONV1,
        "",
        "",
    ),
}


def test_an_exported_file_is_equal_in_every_layer(tmp_path: Path) -> None:
    network = plain.network_of()
    onnx.save(exported(network), tmp_path / "model.onnx")
    found, why = judged(network, tmp_path / "model.onnx")
    assert why is None and [one.verdict for one in found.layers] == [EQUAL] * 14


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_file_is_found_and_named(name: str, tmp_path: Path) -> None:
    spoil, first, cause, text = FAULTS[name]
    network = plain.network_of()
    model = exported(network)
    spoil(model)
    onnx.save(model, tmp_path / "model.onnx")
    found, why = judged(network, tmp_path / "model.onnx")
    assert found.first is not None and found.first.node.index == first
    assert why
    named = why.causes[0] if why.causes else None
    assert (named.name if named else "") == cause and text in (named.text if named else "")


def test_openvino_reads_the_same_values(tmp_path: Path, openvino: ModuleType) -> None:
    network = plain.network_of()
    onnx.save(exported(network), tmp_path / "model.onnx")
    openvino.save_model(
        openvino.convert_model(tmp_path / "model.onnx"), tmp_path / "model.xml", compress_to_fp16=False
    )
    found, _ = judged(network, tmp_path / "model.xml")
    assert found.is_equal and sum(one.verdict == EQUAL for one in found.layers) >= 12


def test_a_fault_in_a_convolution_that_took_in_implicit_knowledge_is_found_there(tmp_path: Path) -> None:
    network = Network(build_graph(parse(IMPLICIT), ReadOptions("yolor"))).eval()
    with torch.no_grad():
        seed_tensors(network, torch.Generator().manual_seed(0))
    model = make_onnx_once(rewrite_for_speed(network).network, OnnxSettings("raw"))
    onnx.save(model, tmp_path / "model.onnx")
    found, _ = judged(network, tmp_path / "model.onnx")
    assert found.is_equal and [one.node.section.type for one in found.layers if one.verdict == ABSENT] == [
        *("implicit_add", "implicit_mul", "convolutional", "shift_channels"),
    ]
    change_kernels(1, lambda kernels: kernels[:, ::-1])(model)
    onnx.save(model, tmp_path / "model.onnx")
    found, why = judged(network, tmp_path / "model.onnx")
    assert found.first is not None and found.first.node.section.type == "control_channels"
    assert why and why.node.section.type == "convolutional"
    assert why.causes[0].text == "kernels with inputs in reverse order"


def test_a_file_that_fits_pictures_is_compared_on_one(tmp_path: Path) -> None:
    network = plain.network_of()
    options = ExportOptions("onnx", DEFAULT_SETTINGS, preprocess="rgb")
    written = export_network(network, tmp_path, options, checks=False)
    picture = tiny.photo(40, 50)
    for how, is_equal in (("stretch", True), ("letterbox", False)):
        run = LayerRun(network, fit_picture(picture, network.graph, how))
        finder = FaultFinder(run, 1e-4, other_fits(picture, network.graph))
        other = ComparedFile(str(written.path)).values(run, picture, tolerance=1e-4, find_value=finder)
        found = compare_layers(run, other)
        assert found.is_equal == is_equal
    (why,) = diagnose(run, found, other_fits(picture, network.graph))
    assert why and "stretched as by C Darknet" in why.causes[0].text


def test_a_layer_that_a_head_which_agrees_takes_in_does_not_differ() -> None:
    """Plain Darknet has the logistic of the predictions in the convolution: its values are not ours there."""
    network = Network(build_graph(parse(IMPLICIT), ReadOptions("yolor"))).eval()
    with torch.no_grad():
        seed_tensors(network, torch.Generator().manual_seed(0))
    run = LayerRun(network, plain.images_of(network))
    for factor, verdict in ((1.0, ABSENT), (1.5, DIFFERS)):
        other = to_plain_darknet(network).eval()
        (*_, convolution) = [one for one in other.modules() if isinstance(one, torch.nn.Conv2d)]
        convolution.weight.data.mul_(factor)
        values = network_values(run, other, title="", tolerance=1e-4, find_value=FaultFinder(run, 1e-4, {}))
        found = compare_layers(run, values)
        assert found.is_equal == (factor == 1)
        assert found.layers[4].verdict == verdict and (found.layers[7].verdict == EQUAL) == (factor == 1)
