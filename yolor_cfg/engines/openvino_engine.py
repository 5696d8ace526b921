"""OpenVINO, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.export.onnx_file import make_raw_model
from yolor_cfg.export.telemetry import import_openvino
from yolor_cfg.model import Network

HINTS = {"fp32": "f32", "bf16": "bf16"}
MOST_SIZES = 8


class OpenvinoEngine:
    """The network as a model that is compiled anew for each size of a batch: that is faster than one for all.

    The model is read from memory; by its path OpenVINO may take what it compiled for older weights.
    """

    name = "openvino"

    def __init__(self, network: Network, precision: str = "fp32") -> None:
        self._core = import_openvino().Core()
        self.precision = precision
        self.notes: tuple[str, ...] = ()
        self._model: bytes = make_raw_model(network).SerializeToString()
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The raw maps, as `Engine` says."""
        size = tuple(images.shape)
        if size not in self._compiled:
            self._compile(size)
        compiled = self._compiled[size]
        results = compiled(images.contiguous().numpy())
        return [torch.from_numpy(np.array(results[output])) for output in compiled.outputs]

    def _compile(self, size: tuple[int, ...]) -> None:
        if len(self._compiled) >= MOST_SIZES:
            del self._compiled[next(iter(self._compiled))]
        model = self._core.read_model(self._model)
        model.reshape(list(size))
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled[size] = self._core.compile_model(model, "CPU", settings)
