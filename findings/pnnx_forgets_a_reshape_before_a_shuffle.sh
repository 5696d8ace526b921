#!/usr/bin/env bash
# pnnx, the converter from PyTorch to ncnn, forgets a reshape that stands before a channel shuffle, and neither it nor ncnn says so.
# One would guess: reshape, then reshape(n, 2, c/2, h, w).transpose(1, 2).reshape(n, c, h, w) (as in depth to space, reorg layers and ShuffleNet) is
# converted as a Reshape and a ShuffleChannel, since the shuffle alone is converted rightly.
# What happens: the first reshape and the one of the shuffle are taken for one, so that the whole input is shuffled instead of the map that the reshape makes
# of it: another shape and other values, pnnx ends with exit code 0, ncnn's extract with 0. With four axes (height and width as one) the same
# shuffle is kept as Reshape, Permute, Reshape, and its values are PyTorch's, behind an axis of one more.
# The way out: no tensor of five axes behind a reshape, and a look at the shape and the values of what ncnn gives.
# Seen on 2026-11-29 with pnnx 20261020, ncnn 1.0.20261020, torch 2.13.0, Python 3.11, Linux x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.13.0 numpy==2.4.6 pnnx==20261020 ncnn==1.0.20261020
cat > "$folder/try.py" <<'PY'
import subprocess

import ncnn
import numpy as np
import torch


class Shuffle(torch.nn.Module):
    """The channels in another order: two halves, one channel of each in turn."""

    def forward(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleBehindReshape(Shuffle):
    """The same of the map seen as one of a quarter of the channels and four times the cells."""

    def forward(self, x):
        n, c, h, w = x.shape
        return super().forward(x.reshape(n, c // 4, 2 * h, 2 * w))


class FourAxes(torch.nn.Module):
    """The same values as ShuffleBehindReshape, computed with four axes."""

    def forward(self, x):
        n, c, h, w = x.shape
        halves = x.reshape(n, 2, c // 8, 4 * h * w).transpose(1, 2)
        return halves.reshape(n, c // 4, 2 * h, 2 * w)


torch.manual_seed(0)
image = torch.rand(1, 32, 4, 6)
values = np.ascontiguousarray(image[0].numpy())
for module in (Shuffle(), ShuffleBehindReshape(), FourAxes()):
    name = type(module).__name__
    torch.jit.trace(module.eval(), image).save(f"{name}.pt")
    command = ["venv/bin/pnnx", f"{name}.pt", "inputshape=[1,32,4,6]", "fp16=0"]
    done = subprocess.run(command, capture_output=True, text=True)
    net = ncnn.Net()
    net.load_param(f"{name}.ncnn.param")
    net.load_model(f"{name}.ncnn.bin")
    run = net.create_extractor()
    given = ncnn.Mat(values)
    run.input("in0", given)
    code, out = run.extract("out0")
    wanted, found = module(image)[0].numpy(), np.array(out)
    same = found.size == wanted.size and bool((found.ravel() == wanted.ravel()).all())
    layers = [line.split()[0] for line in open(f"{name}.ncnn.param").read().splitlines()[2:]]
    print(name, "pnnx", done.returncode, "ncnn", code, found.shape, "of", wanted.shape, "equal values" if same else "other values", *layers)
PY
cd "$folder"
found=$(venv/bin/python try.py 2> errors.txt)
echo "$found"
diff <(echo "$found") - <<'OUT'
Shuffle pnnx 0 ncnn 0 (32, 4, 6) of (32, 4, 6) equal values Input ShuffleChannel
ShuffleBehindReshape pnnx 0 ncnn 0 (32, 4, 6) of (8, 8, 12) other values Input ShuffleChannel
FourAxes pnnx 0 ncnn 0 (1, 8, 8, 12) of (8, 8, 12) equal values Input Reshape Permute Reshape
OUT
