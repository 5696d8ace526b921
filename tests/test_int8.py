"""`yolor export --precision int8`: calibrated on images, close to our own network, refused without them."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import tiny_detector
from click.testing import CliRunner

from yolor_cfg.cli import main
from yolor_cfg.cli.calibrate import find_images, pick_evenly
from yolor_cfg.errors import CfgError
from yolor_cfg.export.formats import ExportOptions, check_export
from yolor_cfg.export.quantize import Calibration, name_convolutions
from yolor_cfg.graph import ReadOptions
from yolor_cfg.weights.loading import open_network


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tiny_detector.Files:
    folder = tmp_path_factory.mktemp("int8")
    (folder / "photos").mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"photos/{number}.png"), tiny_detector.photo(seed=number))
    return tiny_detector.write(folder, tiny_detector.text())


def export(files: tiny_detector.Files, *words: str) -> tuple[int, str, Path]:
    folder = files.cfg.parent
    where = ["--project", str(folder / "runs"), "--name", "x".join(words).replace("/", "_")[-40:]]
    result = CliRunner().invoke(main, ["export", str(files.cfg), str(files.weights), *where, *words])
    return result.exit_code, result.output, max((folder / "runs").glob("*"), default=folder)


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_file_is_int8_and_close_to_ours(
    request: pytest.FixtureRequest, files: tiny_detector.Files, kind: str, tmp_path: Path
) -> None:
    if kind == "openvino":
        request.getfixturevalue("openvino")
    words = ["--format", kind, "--precision", "int8", "--calibrate", str(files.cfg.parent / "photos")]
    place = ["--project", str(tmp_path), "--name", "out", "--nms"]
    result = CliRunner().invoke(main, ["export", str(files.cfg), str(files.weights), *words, *place])
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out/meta.json").read_text())
    assert facts["precision"] == "int8"
    assert facts["calibration"]["images"] == 3
    parity = json.loads((tmp_path / "out/parity.json").read_text())
    worst = [one["outputs"][0]["relative"] for one in parity["engines"]]
    # Rounded to 8 bits, so neither equal nor far off.
    assert worst
    assert all(1e-4 < one < 0.1 for one in worst)


def test_inner_convolutions_alone_are_quantized(files: tiny_detector.Files, tmp_path: Path) -> None:
    words = ["--precision", "int8", "--calibrate", str(files.cfg.parent / "photos"), "--no-check"]
    place = ["--project", str(tmp_path), "--name", "out", "--preprocess"]
    result = CliRunner().invoke(main, ["export", str(files.cfg), str(files.weights), *words, *place])
    assert result.exit_code == 0, result.output
    model = onnx.load(tmp_path / "out/model.onnx")
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    quantized = [node for node in convolutions if made_by.get(node.input[1]) == "DequantizeLinear"]
    assert (len(convolutions), len(quantized)) == (5, 3)
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    stored = [one for one in weights.values() if one.dtype == np.int8 and one.ndim == 4]
    assert len(stored) == 3
    assert all(np.abs(one.astype(int)).max() == 127 for one in stored)


def test_without_images_it_says_so(files: tiny_detector.Files) -> None:
    code, output, _ = export(files, "--precision", "int8")
    assert code == 2
    assert "--calibrate" in output
    code, output, _ = export(files, "--calibrate", str(files.cfg.parent / "photos"))
    assert code == 2
    assert "--precision int8" in output


def test_format_without_int8_says_so(files: tiny_detector.Files) -> None:
    network = open_network(str(files.cfg), str(files.weights), reading=ReadOptions()).network
    with pytest.raises(CfgError, match="int8"):
        check_export(network, ExportOptions("pt2", precision="int8", calibration=Calibration(["a.png"])))


def test_network_of_two_convolutions_has_none_to_quantize() -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["images", "w"], ["a"]),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("Conv", ["b", "w"], ["c"]),
        onnx.helper.make_node("Sigmoid", ["c"], ["out"]),
    ]
    values = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("images", "out")]
    with pytest.raises(CfgError, match="no convolution"):
        name_convolutions(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", values[:1], values[1:])))


def test_images_are_spread_over_the_folder(files: tiny_detector.Files) -> None:
    found = find_images(str(files.cfg.parent / "photos"))
    assert [Path(one).name for one in found] == ["0.png", "1.png", "2.png"]
    assert pick_evenly([str(number) for number in range(10)], 4) == ["0", "2", "5", "7"]
    assert pick_evenly(found, 128) == list(found)
