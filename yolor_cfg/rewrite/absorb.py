"""Folds channel maps and batch norms into the tensors of convolutions; the new modules are float64.

O output channels, C input channels of a group, k kernel size.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import singledispatch
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.ops.binary import BinaryConv2d
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.cuts import CutBlock
from yolor_cfg.ops.norms import has_bias, norm_scale
from yolor_cfg.ops.recurrent import LinearBlock
from yolor_cfg.rewrite.channel_maps import ChannelMap, Obstacle

FoldableBlock = ConvBlock | LinearBlock
KernelLayer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def to_float64(module: AnyModule) -> AnyModule:
    """A copy on the CPU, in float64 and eval mode."""
    return copy.deepcopy(module).to("cpu", torch.float64).eval()


def find_norm(block: FoldableBlock) -> _BatchNorm | None:
    """The batch norm of a block, if it has one."""
    return getattr(block, "BatchNorm2d", None) or getattr(block, "BatchNorm1d", None)


def find_norms(module: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a module, itself included."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def running_stats(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The running mean and variance (not copies)."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def kernel_layers(block: FoldableBlock) -> list[KernelLayer]:
    """The layers whose kernels produce the output channels, in order."""
    if isinstance(block, LinearBlock):
        return [block.Linear]
    if not hasattr(block, "conv_name"):
        return []  # its kernels are another one's
    convolution = getattr(block, block.conv_name)
    return list(getattr(convolution, "m", [getattr(convolution, "conv", convolution)]))


@singledispatch
def fold_input_map(module: nn.Module, of_input: ChannelMap) -> nn.Module:
    """A module of the same kind that computes module(of_input(x)); raises Obstacle if there is none."""
    raise Obstacle("its reader is not a convolution")


@fold_input_map.register
def _(module: ConvBlock, of_input: ChannelMap) -> ConvBlock:
    seen = of_input.tile(4) if module.focus else of_input
    block = to_float64(module)
    convolutions = [part for part in block.modules() if isinstance(part, nn.Conv2d)]
    if not set(kernel_layers(block)) <= set(convolutions):
        raise Obstacle("the convolution that reads it is transposed")
    if any(isinstance(conv, BinaryConv2d) for conv in convolutions):
        raise Obstacle("the convolution that reads it is binary (xnor)")
    if seen.has_shift and any(any(conv.padding) for conv in convolutions):
        raise Obstacle("the convolution that reads it pads its input with zeros, to which nothing is added")
    if not seen.is_diagonal and any(conv.groups > 1 for conv in convolutions):
        raise Obstacle("the convolution that reads it has groups")
    added: dict[nn.Module, Tensor] = {conv: _take_input(conv, seen) for conv in convolutions}
    add_to_output(block, torch.cat([added[conv] for conv in kernel_layers(block)]))
    return block


@fold_input_map.register
def _(module: LinearBlock, of_input: ChannelMap) -> LinearBlock:
    block = to_float64(module)
    cells = block.Linear.in_features // len(of_input.source)
    add_to_output(block, _take_input(block.Linear, of_input.expand_cells(cells)))
    return block


@fold_input_map.register
def _(module: _BatchNorm, of_input: ChannelMap) -> _BatchNorm:
    if not of_input.is_diagonal or bool((of_input.scale == 0).any()):
        raise Obstacle("a batch norm is in between")
    norm = to_float64(module)
    running_stats(norm)[0].sub_(of_input.shift).div_(of_input.scale)
    norm.weight.mul_(of_input.scale)
    return norm


@singledispatch
def fold_output_map(module: nn.Module, of_output: ChannelMap) -> nn.Module:
    """A module of the same kind that computes of_output(module(x)) for a diagonal map; raises Obstacle if
    there is none."""
    raise Obstacle("its source is not a convolution")


@fold_output_map.register(ConvBlock)
@fold_output_map.register(LinearBlock)
def _(module: FoldableBlock, of_output: ChannelMap) -> FoldableBlock:
    if module.activation != "linear":
        raise Obstacle("an activation comes before it")
    if getattr(module, "blur", None) is not None:
        raise Obstacle("a blur comes before it")
    block = to_float64(module)
    norm = find_norm(block)
    if norm is not None:
        _take_output(norm, of_output)
    else:
        scale_outputs(block, of_output)
    return block


@fold_output_map.register
def _(module: _BatchNorm, of_output: ChannelMap) -> _BatchNorm:
    norm = to_float64(module)
    _take_output(norm, of_output)
    return norm


@singledispatch
def fold_norm(module: nn.Module) -> nn.Module | None:
    """The block with its batch norm folded into kernels and biases; None if there is none to fold."""
    return None


@fold_norm.register(ConvBlock)
@fold_norm.register(LinearBlock)
def _(module: FoldableBlock) -> FoldableBlock | None:
    if find_norm(module) is None:
        return None
    block = to_float64(module)
    signed = [part for part in kernel_layers(block) if isinstance(part, BinaryConv2d)]
    if any(bool((part.weight == 0).any()) for part in signed):
        raise Obstacle("a binary kernel has zeros, whose sign would change")
    norm = find_norm(block)
    assert norm is not None
    delattr(block, "BatchNorm1d" if isinstance(block, LinearBlock) else "BatchNorm2d")
    block.has_norm = False
    scale_outputs(block, norm_map(norm))
    return block


@fold_norm.register
def _(module: CutBlock) -> CutBlock | None:
    if module.BatchNorm2d is None:
        return None
    whole = fold_norm(ConvBlock(module.Conv2d, module.BatchNorm2d, "linear"))
    assert isinstance(whole, ConvBlock)
    conv = kernel_layers(whole)[0]
    assert isinstance(conv, nn.Conv2d)
    block = to_float64(module)
    block.Conv2d, block.BatchNorm2d = conv, None
    return block


def norm_map(module: _BatchNorm) -> ChannelMap:
    """The channel map of a batch norm in eval mode."""
    norm = to_float64(module)
    mean, variance = running_stats(norm)
    scale = norm_scale(norm, variance)
    return ChannelMap.diagonal(scale, norm.bias - mean * scale)


def scale_outputs(block: FoldableBlock, of_output: ChannelMap) -> None:
    """Fold a diagonal map of the output into the kernels and biases that produce it."""
    start = 0
    for kernels in kernel_layers(block):
        part = of_output.narrow(start, _count_outputs(kernels))
        bias = 0 if kernels.bias is None else kernels.bias * part.scale
        _scale_kernels(kernels, part.scale)
        kernels.bias = nn.Parameter(bias + part.shift)
        start += _count_outputs(kernels)


def _count_outputs(kernels: KernelLayer) -> int:
    return kernels.out_features if isinstance(kernels, nn.Linear) else kernels.out_channels


def _scale_kernels(kernels: KernelLayer, scale: Tensor) -> None:
    """Multiply what makes each output channel by its factor [O]."""
    ends = [1] * (kernels.weight.ndim - 2)
    if isinstance(kernels, nn.ConvTranspose2d):  # [C, O of a group, k, k]
        scale = _expand_to_filters(scale, kernels.groups, len(kernels.weight))
        kernels.weight.mul_(scale.reshape(*scale.shape, *ends))
    else:
        kernels.weight.mul_(scale.reshape(-1, 1, *ends))


def _take_output(norm: _BatchNorm, of_output: ChannelMap) -> None:
    if not has_bias(norm) and bool(of_output.shift.any()):
        raise Obstacle("the batch norm before it has no bias")
    norm.weight.mul_(of_output.scale)
    norm.bias.mul_(of_output.scale).add_(of_output.shift)


def _take_input(kernels: KernelLayer, seen: ChannelMap) -> Tensor:
    """Fold a map of the inputs into kernels [O, D, k, k] -> [O, C, k, k]; returns what the shift adds [O]."""
    weight, groups = kernels.weight, getattr(kernels, "groups", 1)
    shift, scale = (_expand_to_filters(part, groups, len(weight)) for part in (seen.shift, seen.scale))
    ends = [1] * (weight.ndim - 2)
    added = (weight * shift.reshape(*shift.shape, *ends)).flatten(1).sum(1)
    scaled = weight * scale.reshape(*scale.shape, *ends)
    if not seen.is_diagonal:
        known = seen.source >= 0
        fewer = weight.new_zeros(len(weight), seen.channels, *weight.shape[2:])
        scaled = fewer.index_add_(1, seen.source[known], scaled[:, known])
    kernels.weight = nn.Parameter(scaled)
    return added


def _expand_to_filters(numbers: Tensor, groups: int, filters: int) -> Tensor:
    """Values per input channel [groups*C] as seen by each filter, [O, C]."""
    return numbers.reshape(groups, -1).repeat_interleave(filters // groups, dim=0)


def add_to_output(block: FoldableBlock, added: Tensor) -> None:
    """Add a vector [O] to the output of a block's kernels, before its batch norm."""
    norm = find_norm(block)
    if norm is not None:
        running_stats(norm)[0].sub_(added)
        return
    parts: Sequence[Tensor] = added.split([_count_outputs(kernels) for kernels in kernel_layers(block)])
    for kernels, part in zip(kernel_layers(block), parts, strict=True):
        assert kernels.bias is not None, "a convolution has a batch norm or a bias"
        kernels.bias.add_(part)
