"""Convolutions that the rewrites may take apart, and the section that says one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.geometry import half_size
from yolor_cfg.rewrite.program import Program, ProgramStep
from yolor_cfg.sections import SECTIONS


class PlainConvolution(NamedTuple):
    """A step that convolves, perhaps normalizes, and activates."""

    step: ProgramStep
    block: ConvBlock
    conv: nn.Conv2d


def find_plain_convolution(program: Program, step: ProgramStep) -> PlainConvolution | None:
    """The convolution of a step, if it has one kernel without groups and dilation, no blur, and no other
    section refers to it."""
    block = step.module
    if type(block) is not ConvBlock or block.blur is not None:
        return None
    conv: nn.Module = getattr(block, block.conv_name)
    if type(conv) is not nn.Conv2d or conv.groups > 1 or max(conv.dilation) > 1:
        return None
    is_linked = any(step in linked for other in program.steps for linked in other.links.values())
    return None if is_linked or step.links else PlainConvolution(step, block, conv)


def convolve_like(like: nn.Conv2d, weight: Tensor, bias: Tensor | None, *, side: int = 1) -> nn.Conv2d:
    """A convolution with these kernels [O, C, k, k] and biases [O], whose strides and padding are `side`
    times those of another one."""
    assert not isinstance(like.padding, str)
    (down, across), (above, left) = like.stride, like.padding
    strides, zeros = (side * down, side * across), (side * above, side * left)
    with torch.device("meta"):
        conv = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2], strides, zeros)
    conv.weight = nn.Parameter(weight)
    conv.bias = None if bias is None else nn.Parameter(bias)
    return conv


def heeds_key(program: Program, section: str, key: str) -> bool:
    """Whether a section of that name goes by the key in the program's dialect."""
    kind = SECTIONS[section]
    return kind.heeds_key(kind.keys[key], program.graph.dialect)


def make_convolution(program: Program, block: ConvBlock, like: ProgramStep) -> ProgramStep | None:
    """A step of a convolution with the activation of another step and what that reads; None where the dialect
    has no words for its padding."""
    conv: nn.Conv2d = getattr(block, block.conv_name)
    padding = _padding_keys(program, conv)
    if padding is None:
        return None
    keys = {"batch_normalize": str(int(block.has_norm)), "filters": str(conv.out_channels)}
    keys |= {"size": str(conv.kernel_size[0]), **_stride_keys(conv), **padding}
    keys |= {key: like.keys[key] for key in ("activation",) if key in like.keys}
    return ProgramStep(
        "convolutional",
        block,
        keys,
        list(like.sources),
        channels=conv.out_channels,
        comments=like.comments,
        origin=like.origin,
    )


def _stride_keys(conv: nn.Conv2d) -> dict[str, str]:
    down, across = conv.stride
    if down == across:
        return {"stride": str(down)}
    return {"stride_y": str(down), "stride_x": str(across)}


def _padding_keys(program: Program, conv: nn.Conv2d) -> dict[str, str] | None:
    rule = program.graph.dialect.conv_padding
    assert not isinstance(conv.padding, str)
    zeros, usual = conv.padding[0], half_size(conv.kernel_size[0], rule)
    if rule == "always":
        return {} if zeros == usual else None
    if zeros in (0, usual):
        return {"pad": "1"} if zeros else {}
    return {"padding": str(zeros)} if heeds_key(program, "convolutional", "padding") else None
