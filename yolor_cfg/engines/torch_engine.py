"""Torch without a compiler. On a processor, each convolution and its activation are one call of oneDNN."""

from __future__ import annotations

import torch
from torch import Tensor

from yolor_cfg.engines.base import DTYPES
from yolor_cfg.engines.fused import fuse_activations
from yolor_cfg.engines.raw_maps import convert_network
from yolor_cfg.model import Network


class TorchEngine:
    """Takes the network over; one that keeps a state stays as it is."""

    name = "torch"

    def __init__(self, network: Network, precision: str = "fp32") -> None:
        self.precision = precision
        self.notes: tuple[str, ...] = ()
        self._dtype = DTYPES[precision]
        self._device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
        self._is_recurrent = any(hasattr(layer, "initial_state") for layer in network.module_list)
        self._network = network if self._is_recurrent else self._prepare(network)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The raw maps, as `Engine` says."""
        if not self._is_recurrent:
            return self._run(images.to(self._device, self._dtype))
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self.precision != "fp32"):
            raws = self._network(images.to(self._device))
        return [raw.float() for raw in raws]

    def _run(self, images: Tensor) -> list[Tensor]:
        raws, _ = self._network.step(images, {})
        return [raw.float() for raw in raws]

    def _prepare(self, network: Network) -> Network:
        """The network in this precision, as fast as it gets."""
        with torch.no_grad():
            network = convert_network(network, self._dtype)
            if self._device.type == "cpu":
                fuse_activations(network)
            return network
