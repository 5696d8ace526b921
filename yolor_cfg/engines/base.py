"""What every engine is: a function from images to the raw maps of a network's heads."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of the maps inside a network, by precision; its outputs are float32 in all of them."""


class Engine(Protocol):
    """An engine with a network in it. `notes` are remarks for the user."""

    name: str
    precision: str
    notes: tuple[str, ...]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """images [N, C, H, W] float32 -> the raw map of each head in cfg order, float32, as `Network.forward`
        gives them."""


class EngineSettings(NamedTuple):
    """What is asked for: the engine and the precision, by name or `auto`, and rewrites that are left out."""

    engine: str = "auto"
    precision: str = "fp32"
    without: tuple[str, ...] = ()


DEFAULT_ENGINE = EngineSettings()
