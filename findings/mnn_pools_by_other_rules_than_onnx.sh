#!/usr/bin/env bash
# MNN's converter reads auto_pad=SAME_LOWER as SAME_UPPER and drops the dilations of a pooling layer, in silence.
#
# One would guess: a converter that prints "Converted Success!" computes what the model says, or refuses an
# attribute that it does not know.
# What happens, on models that onnx.checker takes: a 2 x 2 MaxPool (or convolution) of stride 1 with SAME_LOWER takes
# its padding at the bottom and the right instead of the top and the left, so that every map is shifted by a pixel;
# a MaxPool with dilations [2, 2] gives the output of the undilated one, of another shape. Darknet's
# [maxpool] size=2 stride=1 is such a layer. pads written out give the same numbers as ONNX Runtime.
# Seen with MNN 3.6.1, onnxruntime 1.32.0, onnx 1.23.2 on 2026-11-29.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mnn==3.6.1 onnxruntime==1.32.0 onnx==1.23.2 \
    numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import os
import subprocess
import sys

import MNN.expr as expr
import MNN.nn as nn
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

IMAGE = np.arange(1, 37, dtype=np.float32).reshape(1, 1, 6, 6)
KERNEL = numpy_helper.from_array(np.array([[1, 0], [0, 0]], np.float32).reshape(1, 1, 2, 2), "kernel")
path = f"{sys.argv[1]}/model"


def run(kind, **attributes):
    names = ["x", "kernel"] if kind == "Conv" else ["x"]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, names, ["y"], kernel_shape=[2, 2], **attributes)],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])],
            [KERNEL] if kind == "Conv" else [],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    onnx.save(model, f"{path}.onnx")
    theirs = onnxruntime.InferenceSession(f"{path}.onnx").run(None, {"x": IMAGE})[0]
    command = os.path.join(os.path.dirname(sys.executable), "mnnconvert")
    said = subprocess.run(
        [command, "-f", "ONNX", "--modelFile", f"{path}.onnx", "--MNNModel", f"{path}.mnn", "--bizCode", "x"],
        capture_output=True, text=True, check=True,
    ).stdout
    assert "Converted Success" in said, said
    network = nn.load_module_from_file(f"{path}.mnn", ["x"], ["y"])
    image = expr.convert(expr.const(IMAGE.copy(), list(IMAGE.shape), expr.NCHW), expr.NC4HW4)
    ours = np.array(expr.convert(network.forward([image])[0], expr.NCHW).read())
    return theirs, ours.reshape(theirs.shape) if ours.size == theirs.size else ours


for kind in ("MaxPool", "Conv"):
    lower, ours = run(kind, strides=[1, 1], auto_pad="SAME_LOWER")
    upper, _ = run(kind, strides=[1, 1], auto_pad="SAME_UPPER")
    written, same = run(kind, strides=[1, 1], pads=[1, 1, 0, 0])
    print(kind, "SAME_LOWER:", lower[0, 0, 0], "| MNN:", ours[0, 0, 0], "| pads written out:", same[0, 0, 0])
    assert (ours == upper).all() and not (ours == lower).all() and (same == written).all() and (same == lower).all()
dilated, ours = run("MaxPool", strides=[1, 1], dilations=[2, 2])
plain, _ = run("MaxPool", strides=[1, 1])
print("dilated MaxPool:", dilated.shape, "| MNN:", ours.shape)
assert dilated.shape == (1, 1, 4, 4) and ours.shape == plain.shape == (1, 1, 5, 5) and (ours == plain).all()
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder" 2> "$folder/stderr" || { cat "$folder/stderr"; exit 1; }
echo "seen again: SAME_LOWER read as SAME_UPPER, dilations dropped"
