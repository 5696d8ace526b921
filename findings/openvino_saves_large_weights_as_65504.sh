#!/usr/bin/env bash
# openvino.save_model stores a weight of 100000 as 65504, and small ones as 0, without a word.
#
# One would guess: saving a model and reading it again gives the same model; where a weight does not fit into half
# precision, its tensor stays in single precision, or a warning is printed.
# What happens: `compress_to_fp16=True` is the default. Weights beyond the range of float16 become 65504, those below
# 6e-8 become 0, in a tensor with one such weight as in one where nearly half are beyond; nothing is printed, and
# inference in f32 then runs with the clamped weights. compress_to_fp16=False keeps all of them.
# A batch norm with a tiny rolling variance that is folded into its kernel makes such weights.
# Seen with openvino 2026.4.1, onnx 1.23.2 on 2026-11-29.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 openvino==2026.4.1 numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import sys

sys.modules["openvino_telemetry"] = None
import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

core = openvino.Core()
path = f"{sys.argv[1]}/model.xml"


def weights_after_saving(weights, **options):
    kernel = numpy_helper.from_array(weights.reshape(-1, 1, 1, 1).astype(np.float32), "kernel")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(weights), 1, 1])],
        [kernel],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    openvino.save_model(core.read_model(model.SerializeToString()), path, **options)
    engine = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return engine(np.ones((1, 1, 1, 1), np.float32))[0].ravel()


weights = np.random.default_rng(0).normal(size=1000)
weights[:2] = 1e5, 1e-9
one = weights_after_saving(weights)
many = weights.copy()
many[:400] = 1e5
half = weights_after_saving(many)
whole = weights_after_saving(weights, compress_to_fp16=False)
print("of 1e5 and 1e-9 are left:", one[:2], "| 400 of 1000:", set(half[:400].tolist()), "| kept:", whole[:2])
assert one[0] == 65504 and one[1] == 0
assert (half[:400] == 65504).all()
assert (whole == weights.astype(np.float32)).all()
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder" > "$folder/out" 2>&1 || { cat "$folder/out"; exit 1; }
cat "$folder/out"
test "$(wc -l < "$folder/out")" -eq 1  # no warning
echo "seen again: clamped in silence"
