#!/usr/bin/env bash
# pnnx, the converter from PyTorch to ncnn, gives a channel gate that a Linear layer computes another shape, and neither it nor ncnn says so.
# One would guess: `x * sigmoid(linear(x.mean((2, 3))))[:, :, None, None]`, as squeeze-and-excitation blocks are often written, is a network that a
# converter takes as it is, or refuses.
# What happens: of the gate [1, C, 1, 1] the wrong axis is taken for the batch, so that ncnn's Reshape makes depth C of one channel (0=1 1=1 11=C 2=1);
# the product with maps [C, H, W] is broadcast to [C, C, W, 1]. pnnx ends with exit code 0, ncnn's extract with 0. The same gate by a 1x1
# convolution on x.mean((2, 3), keepdim=True) has the right shape and PyTorch's values.
# The way out: 1x1 convolutions in place of Linear layers, and a look at the shape and the values of what ncnn gives.
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


class ByLinear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(8, 8)

    def forward(self, x):
        return x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]


class ByConvolution(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


torch.manual_seed(0)
image = torch.rand(1, 8, 6, 5)
values = image[0].numpy().copy()  # an ncnn.Mat keeps no hold of the array that it reads
for module in (ByLinear(), ByConvolution()):
    name = type(module).__name__
    torch.jit.trace(module.eval(), image).save(f"{name}.pt")
    command = ["venv/bin/pnnx", f"{name}.pt", "inputshape=[1,8,6,5]", "fp16=0"]
    done = subprocess.run(command, capture_output=True, text=True)
    net = ncnn.Net()
    net.load_param(f"{name}.ncnn.param")
    net.load_model(f"{name}.ncnn.bin")
    run = net.create_extractor()
    run.input("in0", ncnn.Mat(values))
    code, out = run.extract("out0")
    wanted, found = module(image)[0].detach().numpy(), np.array(out)
    same = found.shape == wanted.shape and bool(np.abs(found - wanted).max() < 1e-5)
    print(name, "pnnx", done.returncode, "ncnn", code, found.shape, "of", wanted.shape, "equal" if same else "not equal")
PY
cd "$folder"
found=$(venv/bin/python try.py 2> errors.txt)
echo "$found"
grep -qx "ByLinear pnnx 0 ncnn 0 (8, 8, 5, 1) of (8, 6, 5) not equal" <<< "$found"
grep -qx "ByConvolution pnnx 0 ncnn 0 (8, 6, 5) of (8, 6, 5) equal" <<< "$found"
