"""Torch with its compiler, whose results it keeps on disk: a second process starts sooner."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor

from yolor_cfg.engines.base import DTYPES
from yolor_cfg.engines.raw_maps import RawMaps, convert_network
from yolor_cfg.errors import YolorError
from yolor_cfg.model import Network

COMPILERS = ("g++", "clang++", "c++", "cl")


class CompiledEngine:
    """Takes the network over; each size of images is compiled when it comes first."""

    name = "compiled"

    def __init__(self, network: Network, precision: str = "fp32") -> None:
        self.precision = precision
        self._device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
        if self._device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
            raise YolorError("torch.compile needs a C++ compiler", allowed=COMPILERS, hint="--engine torch")
        self.notes: tuple[str, ...] = ("torch compiles for the first image of each size: up to minutes",)
        raw_maps = RawMaps(convert_network(network, self._dtype)).eval()
        self._run: Any = torch.compile(raw_maps, dynamic=False, options={"freezing": True})

    @property
    def _dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The raw maps, as `Engine` says."""
        with torch.no_grad():
            return [raw.float() for raw in self._run(images.to(self._device, self._dtype))]
