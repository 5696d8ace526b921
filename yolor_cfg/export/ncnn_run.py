"""Runs a file in ncnn. As a program of its own, since ncnn ends the whole process where it fails:

    python ncnn_run.py MODEL.ncnn.param ARRAYS.npz

ARRAYS.npz has the inputs `in0`, `in1`, ... [1, ...], and gets all outputs `out0`, ... in their place.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(param: str, arrays: str) -> None:
    """Without float16 and bf16 at run time, which it takes by itself; there is no axis for the batch."""
    import ncnn

    net = ncnn.Net()
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "vulkan_compute"):
        setattr(net.opt, f"use_{name}", False)
    if net.load_param(param) or net.load_model(str(Path(param).with_suffix(".bin"))):
        sys.exit("ncnn cannot load the file")
    run = net.create_extractor()
    for name, value in np.load(arrays).items():
        # A copy: memory that is not ncnn's own has no count of its readers, and layers that work in place ask
        # for that without a look (net.cpp), which ends the process.
        run.input(name, ncnn.Mat(np.ascontiguousarray(value[0])).clone())
    results = {name: run.extract(name) for name in net.output_names()}
    if any(code for code, _ in results.values()):
        sys.exit("ncnn cannot run the file")
    found: dict[str, Any] = {name: np.array(value)[None] for name, (_, value) in results.items()}
    np.savez(arrays, **found)


def describe_end(program: str, code: int) -> str:
    """How a program ended, from its exit code: below 0 it is that of the signal that ended it."""
    return f"{program} crashed ({signal.Signals(-code).name})" if code < 0 else f"{program} ended with {code}"


if __name__ == "__main__":
    main(*sys.argv[1:])
