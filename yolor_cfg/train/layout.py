"""What a network trains fastest with: channels last in memory, but for what torch cannot do so, and batch
norm and activation as one; and heads in float32, whatever the rest is in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yolor_cfg.engines.native.norms import normalize_activate
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock, SharedConvBlock

HALVES = (torch.bfloat16, torch.float16)


def use_channels_last(network: Network) -> None:
    """Order kernels by pixels, their channels last; all else stays as it is.

    A convolution that may see nothing but its padding keeps its order, and its input gets the same: the
    backward pass of torch 2.13 on CPUs is not made for it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and can_miss_input(module):
            module.register_forward_pre_hook(_order_by_channels)
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 4:  # the order is defined for images alone
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def join_norms(network: Network) -> None:
    """Compute batch norm and activation of convolutions by one kernel, where there is one."""
    for module in network.modules():
        if isinstance(module, ConvBlock | SharedConvBlock):
            module.joint_norm = normalize_activate


def widen_heads(network: Network) -> None:
    """Give heads their input in float32."""
    for node in network.graph.nodes:
        if node.section.is_head:
            network.module_list[node.index].register_forward_pre_hook(_widen)


def _widen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return tuple(each.float() if each.dtype in HALVES else each for each in inputs)


def can_miss_input(layer: nn.Conv2d) -> bool:
    """Whether there is a width or height of the input at which this convolution sees none of it."""
    assert not isinstance(layer.padding, str)
    axes = zip(layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    return any(
        _misses_input(length, taps, stride, padding=padding, dilation=dilation)
        for taps, stride, padding, dilation in axes
        for length in range(1, stride)  # no longer input fits between two outputs
    )


def _misses_input(length: int, taps: int, stride: int, *, padding: int, dilation: int) -> bool:
    count = (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    seen = (
        output * stride - padding + tap * dilation for output in range(max(count, 0)) for tap in range(taps)
    )
    return count > 0 and not any(0 <= place < length for place in seen)


def _order_by_channels(layer: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return tuple(each.contiguous() for each in inputs)
