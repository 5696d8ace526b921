"""A network run on a batch for a test: in evaluation mode, without memory of earlier images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from yolor_cfg.model import Network, Predictions

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def is_recurrent(network: Network) -> bool:
    """Whether any layer keeps state from one image to the next."""
    return any(hasattr(layer, "initial_state") for layer in network.module_list)


def predict(network: Network, images: Tensor, *, precision: str = "fp32") -> Predictions:
    """The predictions for images [N, C, H, W], in float32 on the CPU; recurrent state starts from zero."""
    return decode(network, run_network(network, images, precision=precision))


def run_network(network: Network, images: Tensor, *, precision: str = "fp32") -> list[Tensor]:
    """The raw maps for images [N, C, H, W], in float32; recurrent state starts from zero."""
    device = next(network.parameters()).device
    kind = PRECISIONS[precision]
    network.reset()
    with torch.autocast(device.type, dtype=kind, enabled=kind is not None):
        raws = network(images.to(device))
    network.reset()
    return [raw.float() for raw in raws]


def decode(network: Network, raws: Sequence[Tensor], *, least: float = 0) -> Predictions:
    """The predictions of raw maps, on the CPU; those below the score `least` may be left out."""
    return Predictions(*(part.float().cpu() for part in network.decode(raws, least=least)))


@contextmanager
def eval_mode(network: Network) -> Iterator[None]:
    """The network in evaluation mode; afterwards the mode of each module is restored."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
