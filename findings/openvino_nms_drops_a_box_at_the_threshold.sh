#!/usr/bin/env bash
# NonMaxSuppression of ONNX: a box whose IoU with a better one equals iou_threshold goes in OpenVINO, and stays in
# ONNX Runtime and OpenCV 5.
#
# One would guess: engines that read the same operator of ONNX agree on it; its text says that boxes are removed
# whose IoU "is greater than" the threshold (ops/defs of 1.23).
# What happens, on a valid model of opset 18 with two unit squares that share a third of their union (IoU 1/3, the
# float32 nearest to it being the threshold) and with two that share half of it (0.5, exact): OpenVINO keeps one box, the
# other two keep both. A hair above the threshold all remove it, a hair below all keep it. So the same file gives
# another number of objects where detectors meet an IoU exactly, as they do with boxes on a grid.
# Seen with onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1, opencv-python-headless 5.0.0.93 on 2026-11-29.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 openvino==2026.4.1 \
    opencv-python-headless==5.0.0.93 numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import sys

sys.modules["openvino_telemetry"] = None
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

FOLDER = sys.argv[1]


def kept(boxes, threshold):
    """How many boxes each engine keeps."""
    names = ("many", "iou", "score")
    constants = [
        numpy_helper.from_array(np.array(value, kind), name)
        for name, value, kind in zip(names, ([10], [threshold], [0.1]), (np.int64, np.float32, np.float32))
    ]
    scores = numpy_helper.from_array(np.array([[[0.9, 0.8]]], np.float32), "scores")
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", *names], ["chosen"])
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, boxes.shape)],
        [helper.make_tensor_value_info("chosen", TensorProto.INT64, ["n", 3])],
        [*constants, scores],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    ort = onnxruntime.InferenceSession(data).run(None, {"boxes": boxes})[0]
    core = openvino.Core()
    ov = core.compile_model(core.read_model(data), "CPU")(boxes)[0]
    onnx.save(model, f"{FOLDER}/model.onnx")
    net = cv2.dnn.readNetFromONNX(f"{FOLDER}/model.onnx")
    net.setInput(boxes)
    return len(ort), len(ov[ov[:, 0] >= 0]), len(np.atleast_2d(net.forward()))


def pair(shift):
    """Two squares of side 3 (y1, x1, y2, x2), the second one `shift` to the right."""
    return np.array([[[0, 0, 3, 3], [0, shift, 3, 3 + shift]]], np.float32)


for shift, iou in ((1.5, np.float32(1) / np.float32(3)), (1.0, np.float32(0.5))):
    at = kept(pair(shift), iou)
    above, below = (kept(pair(shift), np.float32(iou + step)) for step in (-0.01, 0.01))
    print(f"IoU {iou}: onnxruntime, openvino, opencv keep {at}; threshold below it {above}, above it {below}")
    assert at == (2, 1, 2), at
    assert above == (1, 1, 1) and below == (2, 2, 2)
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
echo "seen again: OpenVINO alone drops a box whose IoU equals the threshold"
