#!/usr/bin/env bash
# safetensors' numpy writer saves other numbers than those of an array that is a view.
# One would guess: `save_file` writes the elements of an array in their order, or refuses what is not contiguous, as the
# torch writer does.
# What happens: a transposed or sliced array is written as the bytes that lie at its start in memory, with the shape of
# the view. No error, no warning; the file loads with the right shape and the wrong numbers.
# The way out: numpy.ascontiguousarray before saving.
# Seen on 2026-11-28 with safetensors 0.8.0, numpy 2.2.6, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install safetensors==0.8.0 numpy==2.2.6
cd "$folder"
venv/bin/python -W error - <<'PY'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("safetensors", safetensors.__version__)
base = np.arange(12, dtype=np.float32).reshape(3, 4)
views = {"transposed": base.T, "sliced": base[:, 1:3]}
save_file(views, "views.safetensors")
save_file({name: np.ascontiguousarray(view) for name, view in views.items()}, "copies.safetensors")
wrong, right = load_file("views.safetensors"), load_file("copies.safetensors")
for name, view in views.items():
    print(f"{name}: given {view.ravel()[:6].tolist()}, loaded {wrong[name].ravel()[:6].tolist()}")
    assert wrong[name].shape == view.shape and not np.array_equal(wrong[name], view)
    assert np.array_equal(right[name], view)
PY
