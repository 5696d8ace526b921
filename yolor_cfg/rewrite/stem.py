"""A stem that turns blocks of pixels into channels, and the convolution behind it, become one convolution.

C channels of the image, D of the cells that the stem makes of blocks of f x f pixels, O filters of k x k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.resampling import (
    ColumnsFirst,
    Reorder,
    Wavelets,
    space_to_depth,
    space_to_depth_by_columns,
)
from yolor_cfg.rewrite.absorb import add_to_output, to_float64
from yolor_cfg.rewrite.plain_convolutions import (
    PlainConvolution,
    convolve_like,
    find_plain_convolution,
    make_convolution,
)
from yolor_cfg.rewrite.program import Program, ProgramStep

Rearrange = Callable[[Tensor], Tensor]


class Stem(NamedTuple):
    """The steps of a stem in order, what they do, and the side of a block in pixels."""

    steps: tuple[ProgramStep, ...] = ()
    functions: tuple[Rearrange, ...] = ()
    side: int = 1

    def apply(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, D, H/f, W/f]."""
        for function in self.functions:
            x = function(x)
        return x

    def kernels(self, channels: int) -> tuple[Tensor, Tensor]:
        """The convolution that it is: kernels [D, C, f, f] and biases [D]."""
        pixels = channels * self.side**2
        basis = torch.eye(pixels, dtype=torch.float64).reshape(pixels, channels, self.side, self.side)
        shift = self.apply(torch.zeros_like(basis[:1]))[0, :, 0, 0]
        matrix = self.apply(basis)[:, :, 0, 0] - shift
        return matrix.T.reshape(len(shift), channels, self.side, self.side), shift


def fold_stems(program: Program) -> int:
    """Fold stems into the convolution behind them, in place; returns how many sections that makes fewer."""
    found = [
        one
        for step in list(program.steps)
        for one in [find_plain_convolution(program, step)]
        if one is not None
    ]
    return sum(_fold_stem(program, one) for one in found)


def _fold_stem(program: Program, found: PlainConvolution) -> int:
    stem = find_stem(program, found)
    if not stem.functions:
        return 0
    source = stem.steps[0].sources[0] if stem.steps else found.step.sources[0]
    block = _make_block(found, stem, source.channels)
    folded = make_convolution(program, block, found.step) if block else None
    if folded is None:
        return 0
    folded.sources = [source]
    program.insert(folded, before=stem.steps[0] if stem.steps else found.step)
    program.replace(found.step, folded)
    for step in stem.steps:
        program.steps.remove(step)
    return len(stem.steps) + found.block.focus


def find_stem(program: Program, found: PlainConvolution) -> Stem:
    """What directly before a convolution only reorders pixels, and is read by nothing else."""
    steps: list[ProgramStep] = []
    parts: list[tuple[Rearrange, int]] = [(space_to_depth_by_columns, 2)] if found.block.focus else []
    reader, step = found.step, found.step.sources[0]
    while (part := _read_stem(step)) and program.readers(step) == [reader] and step not in program.outputs:
        steps.insert(0, step)
        parts.insert(0, part)
        reader, step = step, step.sources[0]
    side = 1
    for _, stride in parts:
        side *= stride
    return Stem(tuple(steps), tuple(function for function, _ in parts), side)


def _read_stem(step: ProgramStep) -> tuple[Rearrange, int] | None:
    """What the step does to blocks of pixels, and their side; None if it is no such step."""
    layer = step.module
    if isinstance(layer, (ColumnsFirst, Wavelets)):
        return layer, 2
    if isinstance(layer, Reorder) and layer.function is space_to_depth:
        return layer, layer.stride
    return None


def _make_block(found: PlainConvolution, stem: Stem, channels: int) -> ConvBlock | None:
    """The convolution of both, in float64; None where the border would differ: beyond it a cell of zeros is
    meant, but the stem makes something else of zeros."""
    kernels, shift = stem.kernels(channels)
    if any(map(int, found.conv.padding)) and bool(shift.any()):
        return None
    block, old = to_float64(found.block), to_float64(found.conv)
    block.focus = False
    add_to_output(block, torch.einsum("odij,d->o", old.weight, shift))
    weight = torch.einsum("odij,dcab->ociajb", old.weight, kernels)  # [O, C, k, f, k, f]
    size = stem.side * weight.shape[2]
    bias = getattr(block, block.conv_name).bias
    conv = convolve_like(old, weight.reshape(len(weight), channels, size, size), bias, side=stem.side)
    setattr(block, block.conv_name, conv)
    return block
