"""An exact interpreter for Darknet and YOLOR cfg networks.

Public names are resolved on first use, so importing the package does not load torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime (1.29 and later) reports to its makers from its import on, and asks for this only then.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from yolor_cfg.detect.detections import Detections
    from yolor_cfg.detect.exported import ExportedDetector
    from yolor_cfg.detect.pipeline import Detector
    from yolor_cfg.errors import CfgError, CfgFaults, DataError, MissingExtra, WeightsError, YolorError
    from yolor_cfg.images.draw import Detection
    from yolor_cfg.weights.loading import load

    __version__: str

__all__ = [
    "CfgError",
    "CfgFaults",
    "DataError",
    "Detection",
    "Detections",
    "Detector",
    "ExportedDetector",
    "MissingExtra",
    "WeightsError",
    "YolorError",
    "__version__",
    "load",
]

_HOMES = {
    "CfgError": "yolor_cfg.errors",
    "CfgFaults": "yolor_cfg.errors",
    "DataError": "yolor_cfg.errors",
    "Detection": "yolor_cfg.images.draw",
    "Detections": "yolor_cfg.detect.detections",
    "Detector": "yolor_cfg.detect.pipeline",
    "ExportedDetector": "yolor_cfg.detect.exported",
    "MissingExtra": "yolor_cfg.errors",
    "WeightsError": "yolor_cfg.errors",
    "YolorError": "yolor_cfg.errors",
    "load": "yolor_cfg.weights.loading",
}


def __getattr__(name: str) -> Any:
    """The public object of that name; `__version__` is that of the installed package."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("yolor-cfg")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
