#!/usr/bin/env bash
# In PyTorch's ONNX exporter, len(tensor) in a model closes a size that was asked for by name, and nothing says so.
# One would guess: `len(x)` and `x.shape[0]` are the same to a tracer; and where a model forces an asked-for open size
# to be a constant, the export fails, as torch.export does with the very same arguments ("Constraints violated").
# What happens: with `Dim.DYNAMIC` both are open. With `Dim("batch")` the file of `x.shape[0]` is open, that of `len(x)`
# has the batch of the example as a constant; torch.onnx.export raises nothing and warns of nothing: it catches the
# fault of torch.export and tries again in a way that gives the constant.
# The way out: x.shape[0] in models, and a look at the sizes of the file's inputs after each export.
# Seen on 2026-11-29 with torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2
cat > "$folder/try.py" <<'PY'
import logging
import warnings

import torch

logging.disable(logging.WARNING)
EXAMPLE = (torch.zeros(2, 3, 4),)


class ByLen(torch.nn.Module):
    def forward(self, x):
        return x.reshape(len(x), -1)


class ByShape(torch.nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], -1)


def sizes(module, size):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        made = torch.onnx.export(module, EXAMPLE, dynamo=True, dynamic_shapes=({0: size},), verbose=False)
    told = any("specializ" in str(one.message) or "batch" in str(one.message) for one in seen)
    dims = made.model_proto.graph.input[0].type.tensor_type.shape.dim
    return ["open" if dim.dim_param else dim.dim_value for dim in dims], "warned" if told else "no warning"


for module in (ByShape(), ByLen()):
    for title, size in (("DYNAMIC", torch.export.Dim.DYNAMIC), ("named", torch.export.Dim("batch"))):
        print(type(module).__name__, title, *sizes(module, size))
try:
    torch.export.export(ByLen(), EXAMPLE, dynamic_shapes=({0: torch.export.Dim("batch")},))
except torch._dynamo.exc.UserError as fault:
    print("torch.export:", "Constraints violated" in str(fault))
PY
cd "$folder"
found=$(venv/bin/python try.py 2> errors.txt)
echo "$found"
grep -qx "ByShape DYNAMIC \['open', 3, 4\] no warning" <<< "$found"
grep -qx "ByShape named \['open', 3, 4\] no warning" <<< "$found"
grep -qx "ByLen DYNAMIC \['open', 3, 4\] no warning" <<< "$found"
grep -qx "ByLen named \[2, 3, 4\] no warning" <<< "$found"
grep -qx "torch.export: True" <<< "$found"
