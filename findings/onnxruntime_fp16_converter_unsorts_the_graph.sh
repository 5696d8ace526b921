#!/usr/bin/env bash
# onnxruntime's converter to float16 returns a model that onnx's own checker and OpenCV refuse.
#
# One would guess: a model that was valid before convert_float_to_float16(keep_io_types=True) is valid behind it,
# since ONNX demands nodes in the order of their use and every tool of the same house relies on that.
# What happens: the Cast of each input is appended at the end of the graph, behind the nodes that read it. ONNX
# Runtime sorts nodes itself and runs the model; onnx.checker refuses it (and so does onnx.compose), and OpenCV 5
# says "unknown input 'graph_input_cast_0'". Sorted by onnx_ir's graph.sort() the same model is read by all.
# Seen with onnxruntime 1.32.0, onnx 1.23.2, onnx-ir 1.1.0, opencv-python-headless 5.0.0.93 on 2026-11-29.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0 \
    opencv-python-headless==5.0.0.93 numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnx_ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

kernel = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "kernel")
model = helper.make_model(
    helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [kernel],
    ),
    opset_imports=[helper.make_opsetid("", 18)],
    ir_version=10,
)
onnx.checker.check_model(model)
half = convert_float_to_float16(model, keep_io_types=True)


def fault_of(function):
    try:
        function()
    except Exception as fault:
        return type(fault).__name__
    return "none"


def facts(name, model):
    data = model.SerializeToString()
    path = f"{sys.argv[1]}/{name}.onnx"
    open(path, "wb").write(data)
    image = {"x": np.ones((1, 3, 8, 8), np.float32)}
    return {
        "order": [node.op_type for node in model.graph.node],
        "checker": fault_of(lambda: onnx.checker.check_model(model)),
        "onnxruntime": fault_of(lambda: onnxruntime.InferenceSession(data).run(None, image)),
        "opencv": fault_of(lambda: cv2.dnn.readNetFromONNX(path)),
    }


made = facts("made", half)
sorted_model = onnx_ir.from_proto(half)
sorted_model.graph.sort()
mended = facts("mended", onnx_ir.to_proto(sorted_model))
print("as converted:", made)
print("sorted:      ", mended)
assert made["order"] == ["Conv", "Cast", "Cast"], made["order"]
assert (made["checker"], made["onnxruntime"], made["opencv"]) == ("ValidationError", "none", "error")
assert mended["order"] == ["Cast", "Conv", "Cast"]
assert [mended[key] for key in ("checker", "onnxruntime", "opencv")] == ["none"] * 3
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
echo "seen again: the converted model is out of order; ONNX Runtime alone reads it"
