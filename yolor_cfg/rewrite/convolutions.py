"""Steps that say with convolutions, which every reader has, what Darknet or OpenCV have no words for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.rewrite.channel_maps import ChannelMap
from yolor_cfg.rewrite.program import Program, ProgramStep, make_pointwise


def replace_step(program: Program, old: ProgramStep, new: ProgramStep, *others: ProgramStep) -> None:
    """Put new steps in the place of an old one; the first is read in its place."""
    new.comments = (*old.comments, *new.comments)
    for step in (*others, new):
        program.insert(step, before=old)
    program.replace(old, new)


def convolution_from_map(of_channels: ChannelMap, source: ProgramStep) -> ProgramStep:
    """A map of channels as a 1x1 convolution of `source`."""
    if of_channels.is_diagonal:
        return make_depthwise(source, of_channels.scale, of_channels.shift)
    matrix = torch.zeros(len(of_channels.source), of_channels.channels, dtype=torch.float64)
    known = (of_channels.source >= 0).nonzero()[:, 0]
    matrix[known, of_channels.source[known]] = of_channels.scale[known]
    return make_pointwise(matrix, of_channels.shift, source=source)


def make_depthwise(
    source: ProgramStep, scale: Tensor, shift: Tensor | None = None, *, activation: str = "linear"
) -> ProgramStep:
    """Each channel times a number plus a number, then the activation."""
    kernels = scale[:, None, None, None]
    shift = torch.zeros_like(scale) if shift is None else shift
    return make_convolution(source, kernels, shift, groups=len(scale), activation=activation)


def make_convolution(
    source: ProgramStep, weight: Tensor, bias: Tensor, *, activation: str = "linear", **keys: int
) -> ProgramStep:
    """A convolution with these kernels [D, C/groups, k, k]; keys are those of the section."""
    filters, channels, size, _ = weight.shape
    convolution = nn.Conv2d(channels * keys.get("groups", 1), filters, size, groups=keys.get("groups", 1))
    convolution.weight, convolution.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    texts = {"filters": filters, "size": size, "stride": 1, "pad": 0, **keys, "activation": activation}
    return ProgramStep(
        "convolutional",
        ConvBlock(convolution, None, activation),
        {key: str(value) for key, value in texts.items()},
        [source],
        channels=filters,
    )


def channel_ones(source: ProgramStep) -> Tensor:
    return torch.ones(source.channels, dtype=torch.float64)


def translate_reorg(program: Program, step: ProgramStep, side: int = 2) -> None:
    """[reorg], [reorg3d] and [dwt]: what is made of every block of pixels, found by trying each pixel."""
    source = step.sources[0]
    count = side**2 * source.channels
    pixels = torch.eye(count, dtype=torch.float64).reshape(count, source.channels, side, side)
    bias = step.module(torch.zeros_like(pixels[:1])).flatten()
    weight = (step.module(pixels).flatten(1) - bias).T.reshape(-1, source.channels, side, side)
    new = make_convolution(source, weight, bias, stride=side)
    new.comments = (
        f"# [{step.name}]: every {side}x{side} block of pixels becomes one of {len(bias)} channels",
    )
    replace_step(program, step, new)
