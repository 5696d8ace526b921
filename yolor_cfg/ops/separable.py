"""Blocks of narrow and depthwise convolutions (yolo-nano). N images, C channels, H W cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from yolor_cfg.ops.norms import NormRules, fresh_batch_norm


class BlockConv(NamedTuple):
    """A convolution of a block, without a bias and followed by a batch norm: `part` of the block it is in and
    its `place` there. It pads with half its size."""

    part: str
    place: int
    channels: int
    filters: int
    size: int = 1
    stride: int = 1
    groups: int = 1


class SeparableBlock(nn.Module):
    """Parts one after another; with `adds`, their input is added in the end."""

    def __init__(self, convs: Sequence[BlockConv], rules: NormRules, *, adds: bool) -> None:
        super().__init__()
        self.parts = tuple(dict.fromkeys(conv.part for conv in convs))
        self.adds = adds
        for part in self.parts:
            layers = [layer for conv in convs if conv.part == part for layer in _build_layers(conv, rules)]
            self.add_module(part, nn.Sequential(*(layers[:-1] if part == self.parts[-1] else layers)))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, filters, H', W']."""
        value = x
        for part in self.parts:
            value = getattr(self, part)(value)
        return x + value if self.adds else value


def _build_layers(conv: BlockConv, rules: NormRules) -> list[nn.Module]:
    padding = conv.size // 2
    kernel = nn.Conv2d(
        conv.channels, conv.filters, conv.size, conv.stride, padding, groups=conv.groups, bias=False
    )
    return [kernel, fresh_batch_norm(conv.filters, rules), nn.LeakyReLU(0.1)]
