"""Parallel convolutions over one input become one, of whose channels each takes its part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.combining import ChannelGroup, Concatenate
from yolor_cfg.rewrite.plain_convolutions import (
    PlainConvolution,
    convolve_like,
    find_plain_convolution,
    heeds_key,
    make_convolution,
)
from yolor_cfg.rewrite.program import Program, ProgramStep, make_route


def merge_convolutions(program: Program) -> int:
    """Merge convolutions that differ in their kernels alone, in place; returns how many became one with
    others. Only equal numbers of filters: a [route] takes one of several equal groups of channels."""
    dialect = program.graph.dialect
    if dialect.takes_second_half or not heeds_key(program, "route", "group_id"):
        return 0
    found = [group for source in program.steps for group in _find_parallel(program, source)]
    return sum(len(group) for group in found if _merge(program, group))


def _find_parallel(program: Program, source: ProgramStep) -> Iterator[list[PlainConvolution]]:
    """The readers of a step that are convolutions, in groups of two or more that are alike."""
    alike: dict[tuple[object, ...], list[PlainConvolution]] = {}
    readers = dict.fromkeys(program.readers(source))
    for found in (find_plain_convolution(program, step) for step in readers if step not in program.outputs):
        if found and not found.block.focus and not found.block.has_norm:
            conv, activation = found.conv, found.step.keys.get("activation")
            sort = (conv.out_channels, conv.kernel_size, conv.stride, conv.padding, activation)
            alike.setdefault(sort, []).append(found)
    yield from (group for group in alike.values() if len(group) > 1)


def _merge(program: Program, group: list[PlainConvolution]) -> bool:
    first = group[0]
    merged = make_convolution(program, _concatenate(group), first.step)
    if merged is None:
        return False
    program.insert(merged, before=first.step)
    for number, one in enumerate(group):
        part = make_route(merged)
        part.module = Concatenate(ChannelGroup(len(group), number), 0)
        part.keys, part.channels = (
            {"groups": str(len(group)), "group_id": str(number)},
            one.conv.out_channels,
        )
        program.insert(part, before=one.step)
        program.replace(one.step, part)
    return True


def _concatenate(group: list[PlainConvolution]) -> ConvBlock:
    """A convolution with the filters of all."""
    weight = torch.cat([found.conv.weight for found in group])
    bias = torch.cat([_bias(found.conv) for found in group])
    return ConvBlock(convolve_like(group[0].conv, weight, bias), None, group[0].block.activation)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None, "a convolution has a batch norm or a bias"
    return conv.bias
