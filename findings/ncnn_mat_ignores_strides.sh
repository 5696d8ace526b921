#!/usr/bin/env bash
# ncnn.Mat of a numpy array that is a view holds other numbers than the array.
# One would guess: ncnn.Mat(image.transpose(2, 0, 1)), the usual way from an image [H, W, C] to a network's input, has
# the elements of the view in their order, or an error is raised, as OpenCV does for layouts that it cannot take.
# What happens: the numbers are taken from memory as they lie there, in the shape of the view: a transposed or thinned
# array gives an input that is scrambled, without a word; a detector then finds nothing or nonsense. Nor does the Mat
# hold a reference to the array: its memory is the array's, and changes with it.
# The way out: ncnn.Mat(numpy.ascontiguousarray(view)).clone().
# Seen on 2026-11-30 with ncnn 1.0.20260114, numpy 2.4.6, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install ncnn==1.0.20260114 numpy==2.4.6
cd "$folder"
venv/bin/python -W error - <<'PY'
import sys

import ncnn
import numpy as np

print("ncnn", ncnn.__version__)
image = np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3)
views = {"channels first": image.transpose(2, 0, 1), "every second column": image[:, ::2]}
for name, view in views.items():
    taken = np.array(ncnn.Mat(view))
    print(f"{name}: wanted {view.ravel()[:6].tolist()}, taken {taken.ravel()[:6].tolist()}")
    assert taken.shape == view.shape and not np.array_equal(taken, view)
    assert np.array_equal(taken.ravel(), image.ravel()[: view.size])
    assert np.array_equal(np.array(ncnn.Mat(np.ascontiguousarray(view)).clone()), view)

before = sys.getrefcount(image)
mat = ncnn.Mat(image)
assert sys.getrefcount(image) == before
image[:] = 7
assert (np.array(mat) == 7).all()
print("the Mat holds no reference to the array and changes with it")
PY
