#!/usr/bin/env bash
# onnx's own ReferenceEvaluator computes LRN for the first channel alone, and takes MaxPool's pads in another order.
# One would guess: the evaluator that comes with the standard is what other engines are checked against, so where it
# and ONNX Runtime differ, the other one is wrong.
# What happens: its LRN counts channels up to the size of the batch: with one image, channel 0 is normalised and the
# others come out as they went in (nothing is divided but by bias ** beta). Its MaxPool with pads of [0, 0, 1, 1], one
# row below and one column at the right (Darknet's [maxpool] size=2 stride=1), pads the columns on both sides and no
# row, and gives another shape; AveragePool and Conv take the same pads as the standard says.
# The way out: compare with ONNX Runtime, or with the formula.
# Seen on 2026-11-30 with onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__)
x = np.random.default_rng(0).normal(size=(1, 4, 7, 9)).astype(np.float32)


def evaluate(kind: str, **attributes: object) -> tuple[np.ndarray, np.ndarray]:
    """By the reference, and by ONNX Runtime."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, name, "w"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"], **attributes)], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ReferenceEvaluator(model).run(None, {"x": x})[0], session.run(None, {"x": x})[0]


alpha, beta, bias = 0.3, 0.75, 1.0
near = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
formula = x / (bias + alpha / 3 * (near[:, :-2] + near[:, 1:-1] + near[:, 2:])) ** beta
reference, runtime = evaluate("LRN", size=3, alpha=alpha, beta=beta, bias=bias)
wrong = [c for c in range(4) if not np.allclose(reference[:, c], formula[:, c], atol=1e-6)]
print("LRN: channels that differ from the formula:", wrong)
assert np.allclose(runtime, formula, atol=1e-6) and wrong == [1, 2, 3]
assert np.array_equal(reference[:, 1:], x[:, 1:])

reference, runtime = evaluate("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 1, 1])
below = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
right = np.maximum(below[..., 1:], below[..., :-1])
assert np.array_equal(runtime, np.maximum(right[:, :, 1:], right[:, :, :-1]))
print("MaxPool: wanted", runtime.shape, "reference", reference.shape)
assert runtime.shape == x.shape and reference.shape == (1, 4, 6, 10)
average = evaluate("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1])
assert np.allclose(*average, atol=1e-6)
PY
