"""Weights in the order in which the kernels read them: panels of output channels, in them the taps, in these
the input channels, each with the panel's weights side by side (in pairs of input channels for bfloat16).

Legend: K output channels, C input channels, T taps, P panels, D depth (input channels, padded).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from yolor_cfg.engines.native.binding import InstructionSet
from yolor_cfg.engines.native.steps import Filters

PANELS = 2  # that are packed at a time


class Packed(NamedTuple):
    """Weights and bias as the kernels want them, their depth, and the numbers by tap that are not padding."""

    weights: Tensor
    bias: Tensor
    depth: int
    channels: int


def round_up(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def pack_direct(filters: Filters, kernels: InstructionSet, *, narrow: bool, pixel: int = 0) -> Packed:
    """A dense convolution; `narrow` for maps in bfloat16. `pixel` is the numbers of a pixel that has no gap
    to the next one: then a row of the kernel is one tap, of as many channels as its width times `pixel`."""
    weight = filters.weight.detach()
    if pixel:
        weight = F.pad(weight, (0, 0, 0, 0, 0, pixel - weight.shape[1]))
        taps = weight.permute(0, 2, 3, 1).flatten(2)
    else:
        taps = weight.flatten(2).transpose(1, 2)
    return _pack_taps(taps, filters.bias, kernels, narrow=narrow)


def pack_winograd(filters: Filters, kernels: InstructionSet, *, narrow: bool, tile: int) -> Packed:
    """3x3 weights transformed for F(tile x tile, 3 x 3), in float64, a few panels at a time: all at once
    would need twice the memory of the result."""
    matrix = torch.tensor(TRANSFORMS[tile], dtype=torch.float64)

    def pack_some(weight: Tensor, bias: Tensor) -> Packed:
        transformed = matrix @ weight.double() @ matrix.T
        taps = transformed.flatten(2).transpose(1, 2).float()
        return _pack_taps(taps, bias, kernels, narrow=narrow)

    step = PANELS * kernels.panel
    parts = zip(filters.weight.detach().split(step), filters.bias.split(step), strict=True)
    return _join_packed(filters, (pack_some(*part) for part in parts), kernels)


def _join_packed(filters: Filters, parts: Iterator[Packed], kernels: InstructionSet) -> Packed:
    """The panels of all parts in one tensor."""
    first = next(parts)
    panels = round_up(len(filters.weight), kernels.panel) // kernels.panel
    weights = first.weights.new_empty(panels, *first.weights.shape[1:])
    done = 0
    for part in chain((first,), parts):
        weights[done : done + len(part.weights)] = part.weights
        done += len(part.weights)
    return first._replace(weights=weights, bias=_pad_bias(filters.bias, kernels))


def pack_depthwise(filters: Filters, kernels: InstructionSet) -> Packed:
    """One filter by channel [C, 1, h, w] -> [T, C padded], in float32."""
    weight = filters.weight.detach().flatten(1).T.float()
    padded = F.pad(weight, (0, round_up(weight.shape[1], kernels.panel) - weight.shape[1]))
    return Packed(padded.contiguous(), _pad_bias(filters.bias, kernels), 1, 1)


def _pack_taps(taps: Tensor, bias: Tensor, kernels: InstructionSet, *, narrow: bool) -> Packed:
    """taps [K, T, C] -> [P, T, D, panel] in float32, or [P, T, D / 2, panel, 2] in bfloat16."""
    K, T, C = taps.shape
    pairs = narrow and kernels.has_pairs
    depth = round_up(C, kernels.depth_step) if pairs else C
    padded = F.pad(taps.float(), (0, depth - C, 0, 0, 0, round_up(K, kernels.panel) - K))
    panels = padded.reshape(-1, kernels.panel, T, depth)
    if pairs:
        ordered = panels.unflatten(3, (-1, 2)).permute(0, 2, 3, 1, 4).bfloat16().contiguous()
    else:
        rounded = panels.bfloat16().float() if narrow else panels
        ordered = rounded.permute(0, 2, 3, 1).contiguous()
    return Packed(ordered, _pad_bias(bias, kernels), depth, C)


def _pad_bias(bias: Tensor, kernels: InstructionSet) -> Tensor:
    return F.pad(bias.detach().float(), (0, round_up(len(bias), kernels.panel) - len(bias))).contiguous()


HALF_ROOT, ROOT = 0.5**0.5, 2**0.5
TRANSFORMS = {
    2: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    4: (
        (1, 0, 0),
        (-2 / 3, -2 / 3 * HALF_ROOT, -1 / 3),
        (-2 / 3, 2 / 3 * HALF_ROOT, -1 / 3),
        (1 / 6, 1 / 6 * ROOT, 1 / 3),
        (1 / 6, -1 / 6 * ROOT, 1 / 3),
        (0, 0, 1),
    ),
}
"""G of F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3), by the points of src/winograd.inl."""
