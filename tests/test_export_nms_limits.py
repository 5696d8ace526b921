"""NMS inside a file at its limits: ONNX Runtime, OpenVINO and OpenCV 5 give the same rows, in order."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import parser

from yolor_cfg.export.onnx_nms import NmsLimits, add_nms
from yolor_cfg.export.telemetry import import_openvino

Rows = NDArray[np.float32]
Engine = Callable[[onnx.ModelProto, Rows, Path], Rows]


def run_onnxruntime(model: onnx.ModelProto, predictions: Rows, folder: Path) -> Rows:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": predictions})[0])


def run_openvino(model: onnx.ModelProto, predictions: Rows, folder: Path) -> Rows:
    core = import_openvino().Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    return np.array(compiled(predictions)[0])


def run_opencv(model: onnx.ModelProto, predictions: Rows, folder: Path) -> Rows:
    onnx.save(model, folder / "model.onnx")
    net = cv2.dnn.readNetFromONNX(str(folder / "model.onnx"))
    net.setInput(predictions)
    return np.asarray(net.forward())


def filter_boxes(predictions: Rows, limits: NmsLimits, *, engine: Engine, folder: Path) -> Rows:
    """What a model gives that passes its input to NMS."""
    shape = ",".join(map(str, predictions.shape))
    text = f'<ir_version: 8, opset_import: ["" : 18]> passed (float[{shape}] images) => '
    text += f"(float[{shape}] predictions) {{ predictions = Identity (images) }}"
    return engine(add_nms(parser.parse_model(text), limits), predictions, folder)


def boxes_apart(images: int, count: int, classes: int) -> Rows:
    """Boxes that do not overlap, with scores above 0.3, different in every image and class."""
    predictions = np.ones((images, count, 5 + classes), np.float32)
    predictions[..., 0] = 20 * np.arange(count)
    predictions[..., 5:] = np.random.default_rng(0).uniform(0.3, 0.99, (images, count, classes))
    return predictions


ENGINES = [
    pytest.param(run_onnxruntime, id="onnxruntime"),
    pytest.param(run_openvino, id="openvino"),
    pytest.param(
        run_opencv,
        id="opencv",
        marks=pytest.mark.skipif(hasattr(cv2.dnn, "readNetFromDarknet"), reason="needs OpenCV 5"),
    ),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("images", "count", "most"), [(1, 10, 3), (2, 10, 3), (1, 10, 10), (1, 700, 300)])
def test_the_best_boxes_of_each_class_stay(
    images: int, count: int, most: int, engine: Engine, tmp_path: Path
) -> None:
    predictions = boxes_apart(images, count, 2)
    limits = NmsLimits(0.25, 0.45, most, multi_label=True)
    rows = filter_boxes(predictions, limits, engine=engine, folder=tmp_path)
    assert len(rows) == images * 2 * min(most, count)
    wanted = []
    for image in range(images):
        for label in range(2):
            best = np.argsort(-predictions[image, :, 5 + label], kind="stable")[:most]
            wanted += [(image, predictions[image, box, 5 + label], label, 20 * box) for box in best]
    middle = (rows[:, 1] + rows[:, 3]) / 2
    assert np.allclose(
        np.column_stack([rows[:, 0], rows[:, 5], rows[:, 6], middle]), wanted, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_scores_come_in_the_order_of_boxes(engine: Engine, tmp_path: Path) -> None:
    predictions = boxes_apart(1, 10, 1)
    predictions[..., 5] = 0.5
    limits = NmsLimits(0.25, 0.45, 3, multi_label=True)
    rows = filter_boxes(predictions, limits, engine=engine, folder=tmp_path)
    assert rows[:, 3].tolist() == [0.5, 20.5, 40.5]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_box_has_to_score_more_than_the_threshold(engine: Engine, tmp_path: Path) -> None:
    predictions = boxes_apart(1, 3, 1)
    predictions[0, :, 5] = 0.25, np.nextafter(np.float32(0.25), np.float32(1)), 0.2
    limits = NmsLimits(0.25, 0.45, 300, multi_label=True)
    (row,) = filter_boxes(predictions, limits, engine=engine, folder=tmp_path)
    assert row[3] == 20.5


@pytest.mark.parametrize("engine", [ENGINES[0], ENGINES[2]])
def test_a_box_that_overlaps_by_the_very_threshold_stays(engine: Engine, tmp_path: Path) -> None:
    """The second box is half of the first one. OpenVINO 2026.4 drops it."""
    predictions = np.array([[[5, 5, 10, 10, 1, 0.9], [5, 7.5, 10, 5, 1, 0.8]]], np.float32)
    limits = NmsLimits(0.25, 0.5, 300, multi_label=True)
    assert len(filter_boxes(predictions, limits, engine=engine, folder=tmp_path)) == 2
    less = limits._replace(iou=0.49)
    assert len(filter_boxes(predictions, less, engine=engine, folder=tmp_path)) == 1
