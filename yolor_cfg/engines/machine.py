"""The machine and the software of a run, and the memory that it takes."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CPUINFO, STATUS, STATM = Path("/proc/cpuinfo"), Path("/proc/self/status"), Path("/proc/self/statm")
MIB = 2**20


def describe_machine() -> dict[str, Any]:
    """The versions of the libraries, and the processor; torch is not imported for it."""
    return {
        "yolor-cfg": _find_version("yolor-cfg"),
        "python": platform.python_version(),
        "torch": _find_version("torch"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": processor_name(),
        "cores": os.cpu_count() or 0,
    }


def describe_processes() -> dict[str, Any]:
    """What torch computes with: threads, processes, the GPU."""
    import torch

    from yolor_cfg.parallel import this_process

    return {
        "threads": torch.get_num_threads(),
        "processes": this_process().world_size,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def processor_name() -> str:
    """The name of the processor as the system tells it; "" where it does not."""
    try:
        lines = (line.partition(":") for line in CPUINFO.read_text(encoding="utf-8").splitlines())
        return next((value.strip() for key, _, value in lines if key.strip() == "model name"), "")
    except OSError:
        return platform.processor()


def peak_memory() -> float:
    """The most memory that this process had in RAM so far, in MiB. On Linux `ru_maxrss` is no less than that
    of the process that started it, so its own file says it. 0 where the system does not tell it."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    if find_spec("resource") is None:  # Windows
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 2**10)


def used_memory() -> float:
    """The memory that this process has in RAM now, in MiB; where the system does not tell it, the most that
    it had."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    return peak_memory()
