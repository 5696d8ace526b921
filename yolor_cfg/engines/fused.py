"""Convolutions with their activation in one call of oneDNN, with kernels brought into its order once.

Torch has these operators for its compiler; without a compiler they run as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yolor_cfg.model import Network
from yolor_cfg.ops.activations import activate_
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.shape import Shape

FUSED: dict[str, tuple[str, list[float]]] = {
    "linear": ("none", []),
    "leaky": ("leaky_relu", [0.1]),
    "logistic": ("sigmoid", []),
    "relu": ("relu", []),
    "swish": ("swish", []),
    "tanh": ("tanh", []),
}
"""Activations that oneDNN computes with a convolution: its name and numbers. Others come after it."""
CHUNK = 1 << 16
"""Values of a map that take all steps of mish together, so that they stay in the caches."""


class FusedConvolution(nn.Module):
    """Computes what a ConvBlock without batch norm does, on the CPU, without parameters and gradients."""

    def __init__(self, block: ConvBlock, seen: Shape) -> None:
        super().__init__()
        conv: nn.Conv2d = getattr(block, block.conv_name)
        assert not isinstance(conv.padding, str) and conv.bias is not None
        self._where = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._rest = "" if block.activation in FUSED else block.activation
        self._fused = FUSED.get(block.activation, FUSED["linear"])
        self._bias = conv.bias.detach()
        self._weight = _operators()._reorder_convolution_weight(
            conv.weight.detach(), *self._where, [1, *seen]
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        y: Tensor = _operators()._convolution_pointwise(
            x, self._weight, self._bias, *self._where, *self._fused, ""
        )
        if self._rest == "mish" and y.dtype == torch.bfloat16:
            return mish_(y)
        return activate_(y, self._rest) if self._rest else y


def mish_(x: Tensor) -> Tensor:
    """The mish of a map [N, C, H, W] of bfloat16 without gaps, in place: x - 2x / ((e^x + 1)^2 + 1) in
    float32, in a third of the time of torch's logarithm and tangent."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    values = (x.permute(0, 2, 3, 1) if channels_last else x).view(-1)
    one = torch.ones(())
    for part in values.split(CHUNK):
        chunk = part.float()
        square = torch.addcmul(one, power := chunk.exp().add_(1), power)
        part.copy_(chunk.addcdiv_(chunk, square, value=-2))
    return x


def _operators() -> Any:
    return torch.ops.mkldnn


def can_fuse() -> bool:
    """Whether this torch has the operators."""
    names = ("_convolution_pointwise", "_reorder_convolution_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(_operators(), name) for name in names)


def fuse_activations(network: Network) -> None:
    """Put fused convolutions into the network, in its own type, wherever they fit."""
    if not can_fuse():
        return
    lenders = {id(one) for layer in network.module_list for one in getattr(layer, "_weight_source", ())}
    for node, layer in zip(network.graph.nodes, network.module_list, strict=True):
        if isinstance(layer, ConvBlock) and id(layer) not in lenders and is_plain(layer):
            network.module_list[node.index] = FusedConvolution(layer, node.inputs[0])


def is_plain(block: ConvBlock) -> bool:
    """Whether a block is a convolution with a bias, and an activation, and nothing else."""
    conv = getattr(block, block.conv_name)
    simple = (
        type(block) is ConvBlock
        and type(conv) is nn.Conv2d
        and conv.padding_mode == "zeros"
        and conv.bias is not None
    )
    return simple and not block.has_norm and not block.focus and block.blur is None
