#!/usr/bin/env bash
# OpenCV 5's new ONNX engine reads auto_pad=SAME_LOWER as SAME_UPPER, and loses output_shape of ConvTranspose.
# One would guess: the importer of a new major version, which refuses operators that it lacks with a long message,
# follows or refuses an attribute that moves every value of a map.
# What happens, without a word: MaxPool, AveragePool and Conv with SAME_LOWER and an even kernel give the values of
# SAME_UPPER, that is the map moved by a pixel; ConvTranspose with output_shape [14, 18] gives 16 x 20, with
# auto_pad=SAME_LOWER 13 x 17.
# The way out: pads written out, which give the same numbers as ONNX Runtime.
# Seen on 2026-11-30 with opencv-python-headless 5.0.0.93, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PY'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

print("OpenCV", cv2.__version__)
rng = np.random.default_rng(0)
x = rng.normal(size=(1, 4, 7, 9)).astype(np.float32)


def run(kind: str, weights: np.ndarray | None = None, **attributes: object) -> tuple[np.ndarray, np.ndarray]:
    """By OpenCV, and by ONNX Runtime."""
    given = [] if weights is None else [numpy_helper.from_array(weights, "w")]
    node = helper.make_node(kind, ["x", "w"][: 1 + len(given)], ["y"], **attributes)
    sizes = {"x": list(x.shape), "y": ["n", "c", "h", "w"]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items()]
    graph = helper.make_graph([node], "g", values[:1], values[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    net.setInput(x)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return net.forward(), session.run(None, {"x": x})[0]


def agree(pair: tuple[np.ndarray, np.ndarray]) -> bool:
    return pair[0].shape == pair[1].shape and np.allclose(*pair, atol=1e-4)


kernel = rng.normal(size=(4, 4, 2, 2)).astype(np.float32)
for kind, weights in (("MaxPool", None), ("AveragePool", None), ("Conv", kernel)):
    lower = run(kind, weights, kernel_shape=[2, 2], auto_pad="SAME_LOWER")
    upper = run(kind, weights, kernel_shape=[2, 2], auto_pad="SAME_UPPER")
    taken = np.allclose(lower[0], upper[1], atol=1e-4)
    print(f"{kind}: SAME_LOWER right {agree(lower)}, is SAME_UPPER {taken}; SAME_UPPER right {agree(upper)}")
    assert not agree(lower) and taken and agree(upper)
assert agree(run("MaxPool", kernel_shape=[2, 2], pads=[1, 1, 0, 0]))
assert agree(run("Conv", kernel, pads=[1, 1, 0, 0]))

wide = rng.normal(size=(4, 2, 3, 3)).astype(np.float32)
for attributes in ({"output_shape": [14, 18]}, {"auto_pad": "SAME_LOWER"}):
    found, wanted = run("ConvTranspose", wide, strides=[2, 2], **attributes)
    print("ConvTranspose", attributes, "wanted", wanted.shape, "OpenCV", found.shape)
    assert wanted.shape == (1, 2, 14, 18) != found.shape
PY
