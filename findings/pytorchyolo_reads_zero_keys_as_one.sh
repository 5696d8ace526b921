#!/usr/bin/env bash
# pytorchyolo (PyTorch-YOLOv3 on PyPI) reads `new_coords=0` in a cfg as `new_coords=1`, and `pad=0` as `pad=1`.
# One would guess: 0 switches a key of a Darknet cfg off, as in the program whose format it is, and a 3x3 convolution
# without padding makes a map smaller by two pixels.
# What happens: the value of new_coords is text and every text is true, so that only leaving the key out gives plain
# boxes; with `new_coords=0` centres and scores get no sigmoid and sizes are squared. `pad` is never read: the padding
# is (size - 1) // 2. Nothing is said of either; the network loads, runs, and gives other boxes.
# Seen on 2026-11-29 with pytorchyolo 1.8.0, torch 2.13.0 (CPU), Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --quiet --disable-pip-version-check install "$@"; }
pip torch==2.13.0 numpy==2.2.6 tqdm==4.67.1
pip --no-deps pytorchyolo==1.8.0
cd "$folder"
# Two imports of its helpers are not needed for a network, and their versions cannot be installed beside this torch.
mkdir stubs
echo > stubs/torchvision.py
echo > stubs/imgaug.py
PYTHONPATH=stubs venv/bin/python - 2>stderr.txt <<'PY'
from importlib.metadata import version

import torch
from pytorchyolo.models import Darknet

print("pytorchyolo", version("pytorchyolo"), "torch", torch.__version__.split("+")[0])
NET = """[net]
batch=1
subdivisions=1
width=32
height=32
channels=3
momentum=0.9
decay=0.0005
learning_rate=0.001
burn_in=1
max_batches=1
policy=steps
steps=1
scales=.1
"""
HEAD = """[convolutional]
batch_normalize=0
filters=6
size=1
stride=1
pad=0
activation=linear
[yolo]
mask=0
anchors=8,8
classes=1
num=1
"""
CONVOLUTION = """[convolutional]
batch_normalize=0
filters=3
size=3
stride=1
pad=0
activation=linear
"""


def boxes(text):
    with open("n.cfg", "w") as file:
        file.write(NET + text)
    torch.manual_seed(0)
    network = Darknet("n.cfg").eval()
    with torch.no_grad():
        return network(torch.full((1, 3, 32, 32), 0.5))


left_out, zero, one = (boxes(HEAD + line) for line in ("", "new_coords=0\n", "new_coords=1\n"))
print("new_coords=0 gives the boxes of new_coords=1:", torch.equal(zero, one))
print("new_coords=0 gives the boxes of the cfg without the key:", torch.equal(zero, left_out))
assert torch.equal(zero, one) and not torch.equal(zero, left_out)
cells = boxes(CONVOLUTION + HEAD).shape[1]
print(f"a 3x3 convolution with pad=0 on 32x32 pixels: {cells} cells, where 30 x 30 = 900 are expected")
assert cells == 32 * 32
PY
[ ! -s stderr.txt ] || { echo "it says something now:"; cat stderr.txt; exit 1; }
echo "nothing was written to standard error"
