#!/usr/bin/env bash
# cv2.resize of a transposed image is not the transposed result: of bytes, one pixel in ten is a grey level off.
#
# One would guess: bilinear interpolation treats rows and columns alike, so resizing commutes with transposing (and a
# network gives the same boxes for an image and its transpose as far as preprocessing goes). In floats it nearly does.
# What happens with uint8: columns are summed exactly in whole numbers, rows then by products that are cut off one by
# one, so the two axes round differently, in OpenCV 4 as in 5. Whoever writes this resize again (an ONNX graph, a
# page, a kernel) has to do columns first and cut off in the same places to be equal to the byte.
# Seen with opencv-python-headless 5.0.0.93 and 4.14.0.94, numpy 2.4.6, x86-64, on 2026-11-29.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat > "$folder/try.py" <<'PYTHON'
import cv2
import numpy as np

random = np.random.default_rng(0)


def differing(kind, size, wanted):
    """Pixels that differ between the two orders, of so many, and the largest difference."""
    image = random.integers(0, 256, size).astype(kind)
    plain = cv2.resize(image, wanted[::-1], interpolation=cv2.INTER_LINEAR)
    turned = cv2.resize(np.ascontiguousarray(image.T), wanted, interpolation=cv2.INTER_LINEAR).T
    difference = np.abs(plain.astype(np.float64) - turned)
    return int((difference > 0).sum()), plain.size, float(difference.max())


for size, wanted in (((48, 48), (80, 80)), ((30, 40), (64, 77)), ((100, 100), (64, 64))):
    pixels, of, largest = differing(np.uint8, size, wanted)
    *_, in_floats = differing(np.float32, size, wanted)
    print(cv2.__version__, size, "to", wanted, f"bytes: {pixels} of {of} by {largest:g}; floats: {in_floats:.1e}")
    assert 0.04 < pixels / of < 0.2 and largest == 1 and in_floats < 1e-3
PYTHON
for version in 5.0.0.93 4.14.0.94; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "opencv-python-headless==$version" numpy==2.4.6
    "$folder/venv/bin/python" "$folder/try.py"
done
echo "seen again: the axes round differently"
