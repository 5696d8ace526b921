"""[convolutional]: the section that holds nearly all weights and work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from yolor_cfg.lang.keys import Activation, Flag, Int, Ints, Refs
from yolor_cfg.sections.base import Section, Stored
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


def batch_norm(count: int, prefix: str = "BatchNorm2d.") -> list[Stored]:
    """The four tensors of a batch norm in the order in which Darknet's convolutions store them."""
    return [
        Stored("bias", f"{prefix}bias", (count,)),
        Stored("scale", f"{prefix}weight", (count,)),
        Stored("mean", f"{prefix}running_mean", (count,), trained=False),
        Stored("variance", f"{prefix}running_var", (count,), trained=False),
    ]


class Convolutional(Section, names="convolutional conv"):
    """Correlate with learned kernels, normalise (or add a bias), then activate."""

    examples = (
        "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nbatch_normalize=1\nactivation=leaky",
        "[convolutional]\nfilters=6\nsize=3\nstride_x=2\nstride_y=1\npadding=2\ngroups=2\nactivation=mish",
    )
    ignored = {}

    filters = Int(1, least=1, wanted=True, help="channels of the output")
    size = Ints((1,), help="height and width of the kernel")
    stride = Int(1, least=1, help="pixels between two positions")
    stride_x = Int(lambda section: section.stride, least=1, help="stride across; replaces stride")
    stride_y = Int(lambda section: section.stride, least=1, help="stride down; replaces stride")
    pad = Flag(False, help="1: zeros of size/2 all around")
    padding = Int(0, least=0, help="zeros all around, in pixels")
    groups = Int(1, least=1, help="input and output channels split into so many independent parts")
    dilation = Int(1, least=1, help="pixels between two kernel elements")
    batch_normalize = Flag(False, help="batch norm in place of a bias")
    activation = Activation("logistic")
    share_index = Refs((), help="the section whose weights this one uses")

    def shape(self, x: Shape) -> Shape:  # type: ignore[override]
        if x.channels % self.groups:
            raise self.error("groups", "does not divide the channels", found=f"{x.channels} channels, groups={self.groups}")
        return Shape(self.filters, self._along(x.height, self.stride_y), self._along(x.width, self.stride_x))

    def _pads(self) -> int:
        return self.size[0] // 2 if self.pad else self.padding

    def _along(self, length: int, stride: int) -> int:
        return (length + 2 * self._pads() - self.size[0]) // stride + 1

    def module(self, x: Shape) -> nn.Module:  # type: ignore[override]
        from torch import nn

        from yolor_cfg.ops.blocks import ConvBlock
        conv = nn.Conv2d(x.channels, self.filters, self.size[0], (self.stride_y, self.stride_x), self._pads(),
                         groups=self.groups, bias=not self.batch_normalize)
        norm = nn.BatchNorm2d(self.filters, eps=self.dialect.bn_eps) if self.batch_normalize else None
        return ConvBlock(conv, norm, self.activation)

    def macs(self, out: Shape, x: Shape) -> int:  # type: ignore[override]
        return out.size * (x.channels // self.groups) * self.size[0] ** 2

    def bflops(self, out: Shape, x: Shape) -> float:  # type: ignore[override]
        return 2 * self.macs(out, x) / 1e9

    def tensors(self, x: Shape) -> list[Stored]:  # type: ignore[override]
        weight = Stored("weight", "Conv2d.weight", (self.filters, x.channels // self.groups, self.size[0], self.size[0]))
        offsets = batch_norm(self.filters) if self.batch_normalize else [Stored("bias", "Conv2d.bias", (self.filters,))]
        return [*offsets, weight]

    def decayed(self) -> tuple[str, ...]:
        return ("Conv2d.weight",)
