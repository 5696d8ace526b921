#!/usr/bin/env bash
# OpenCV 4.14's Darknet importer reads cfgs with keys that it does not know and drops the keys in silence.
# One would guess: an error, or at least a log line, for a key that changes the shape or the numbers of a layer.
# What happens: `[upsample] scale`, `[maxpool] maxpool_depth` and, in [convolutional], `dilation`, `stride_x`/`stride_y`
# and `antialiasing` are passed over. The network loads, runs, and gives the output of the same cfg without the key.
# Seen on 2026-11-28 with opencv-python-headless 4.14.0.94 (cv2 4.14.0), numpy 2.2.6, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install opencv-python-headless==4.14.0.94 numpy==2.2.6
cd "$folder"
OPENCV_LOG_LEVEL=WARNING venv/bin/python - 2>stderr.txt <<'PY'
import cv2
import numpy as np

print("cv2", cv2.__version__)
IMAGE = np.arange(1, 65, dtype=np.float32).reshape(1, 1, 8, 8)
TWO = np.concatenate([IMAGE, 2 * IMAGE], axis=1)
KERNEL = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0]  # the bias, then 3 x 3: the upper left pixel plus the middle one
CONVOLUTION = "[convolutional]\nfilters=1\nsize=3\npad=1\nactivation=linear\n"


def run(section, image, floats=()):
    _, channels, height, width = image.shape
    with open("n.cfg", "w") as file:
        file.write(f"[net]\nwidth={width}\nheight={height}\nchannels={channels}\n{section}")
    header = np.array([0, 2, 5, 0, 0], "<i4").tobytes()
    with open("n.weights", "wb") as file:
        file.write(header + np.asarray(floats, "<f4").tobytes())
    net = cv2.dnn.readNetFromDarknet("n.cfg", "n.weights")
    net.setInput(image)
    return net.forward(net.getUnconnectedOutLayersNames()[-1])


def show(what, with_key, without):
    same = with_key.shape == without.shape and np.array_equal(with_key, without)
    print(f"{what}: output {with_key.shape}, {'the same as without the key' if same else 'another'}")
    assert same, what


upsample = "[upsample]\nstride=2\n"
show("upsample scale=0.5", run(upsample + "scale=0.5\n", IMAGE), run(upsample, IMAGE))
pool = "[maxpool]\nsize=1\nstride=1\n"
show("maxpool maxpool_depth=1", run(pool + "maxpool_depth=1\nout_channels=1\n", TWO), run(pool, TWO))
one, two = CONVOLUTION + "stride=1\n", CONVOLUTION + "stride=2\n"
show("convolutional dilation=2", run(one + "dilation=2\n", IMAGE, KERNEL), run(one, IMAGE, KERNEL))
strides = run(CONVOLUTION + "stride_x=2\nstride_y=1\n", IMAGE, KERNEL)
show("convolutional stride_x=2", strides, run(one, IMAGE, KERNEL))
show("convolutional antialiasing=1", run(two + "antialiasing=1\n", IMAGE, KERNEL), run(two, IMAGE, KERNEL))
PY
[ ! -s stderr.txt ] || { echo "it says something now:"; cat stderr.txt; exit 1; }
echo "nothing was written to standard error"
