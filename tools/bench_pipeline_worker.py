"""One process of bench_pipeline.py: reads JSON requests line by line, answers with seconds and memory.

`{"arguments": [...]}` runs `yolor detect` with them; `{"bare": {...}}` runs the engine alone on these images.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from yolor_cfg.cli import main


def run_command(arguments: list[str]) -> int:
    """The command, its lines thrown away; the number of its images."""
    lines = io.StringIO()
    with contextlib.redirect_stdout(lines), open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stderr(nowhere):
            main(["detect", *arguments], standalone_mode=False)
    return lines.getvalue().count("\n")


def run_bare(request: dict[str, Any]) -> float:
    """Seconds for so many calls of the engine, on the inputs of the first images."""
    import numpy as np
    import torch

    from yolor_cfg.detect.pipeline import Detector

    detector = Detector(request["cfg"], request["weights"], precision=request["precision"])
    inputs = [torch.from_numpy(detector.prepare(path).pixels[np.newaxis]) for path in request["images"]]
    with torch.inference_mode():
        for one in inputs:
            detector.engine(one)
        start = time.perf_counter()
        for number in range(request["count"]):
            detector.engine(inputs[number % len(inputs)])
        return time.perf_counter() - start


def answer(request: dict[str, Any]) -> dict[str, float]:
    """What one request takes."""
    start = time.perf_counter()
    seconds = run_bare(request["bare"]) if "bare" in request else 0.0
    if "arguments" in request:
        run_command(request["arguments"])
        seconds = time.perf_counter() - start
    # ru_maxrss would be no less than that of the process that started this one.
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return {"seconds": seconds, "peak_kib": int(peak.split()[1])}


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        replies.write(json.dumps(answer(json.loads(line))) + "\n")
