#!/usr/bin/env bash
# MaxPool with ceil_mode=1: OpenVINO and ONNX's own shape inference have a row more than ONNX Runtime and PyTorch,
# and that row is filled with the lowest float.
#
# One would guess: all compute ceil((size + pads - kernel) / stride) + 1, or all drop a window that begins in the
# padding behind the map, as PyTorch does.
# What happens, on a valid model of opset 18 with a 2 x 2 kernel, stride 2 and one row of padding, at size 5:
# ONNX Runtime gives 3 x 3 and warns that 4 x 4 was expected, onnx.shape_inference says 4 x 4, OpenVINO computes
# 4 x 4 with a last row and column of -3.4028235e+38, with no warning. Whatever comes next (an average, a
# convolution) is then off by 1e38. Padding by hand and ceil_mode=0 give the same numbers everywhere.
# Seen with onnxruntime 1.32.0, onnx 1.23.2, openvino 2026.4.1 on 2026-11-29.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 openvino==2026.4.1 \
    numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import sys

sys.modules["openvino_telemetry"] = None
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

IMAGE = np.arange(1, 26, dtype=np.float32).reshape(1, 1, 5, 5)


def facts(*, pads, ceil_mode):
    pool = helper.make_node(
        "MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], pads=pads, ceil_mode=ceil_mode
    )
    graph = helper.make_graph(
        [pool],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    inferred = onnx.shape_inference.infer_shapes(helper.make_model(
        helper.make_graph([pool], "graph", graph.input, [helper.make_empty_tensor_value_info("y")]),
        opset_imports=[helper.make_opsetid("", 18)],
    )).graph.output[0].type.tensor_type.shape.dim
    core = openvino.Core()
    return (
        [dim.dim_value for dim in inferred],
        onnxruntime.InferenceSession(data).run(None, {"x": IMAGE})[0],
        core.compile_model(core.read_model(data), "CPU")(IMAGE)[0],
    )


inferred, theirs, ours = facts(pads=[1, 1, 1, 1], ceil_mode=1)
print("inferred", inferred, "| onnxruntime", theirs.shape, "| openvino", ours.shape, "last row", ours[0, 0, -1])
assert inferred == [1, 1, 4, 4] and theirs.shape == (1, 1, 3, 3) and ours.shape == (1, 1, 4, 4)
assert (ours[0, 0, -1] == np.finfo(np.float32).min).all() and (ours[..., :3, :3] == theirs).all()
inferred, theirs, ours = facts(pads=[1, 1, 0, 0], ceil_mode=0)
print("padded by hand:", inferred, theirs.shape, ours.shape)
assert inferred == [1, 1, 3, 3] and (theirs == ours).all()
PYTHON
"$folder/venv/bin/python" "$folder/try.py" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
echo "seen again: a row and a column of the lowest float in OpenVINO alone"
