"""A network as engines take it: a function of images alone, its kernels in the order that suits the maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolor_cfg.model import Network


class RawMaps(nn.Module):
    """A network without a state."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images [N, C, H, W] -> the raw map of each head."""
        raws, _ = self.network.step(images, {})
        return tuple(raws)


def convert_network(network: Network, dtype: torch.dtype) -> Network:
    """The network itself in this type, with channels last in its kernels as in its maps."""
    network = network.to(dtype)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
