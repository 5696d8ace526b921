"""[deformableconvolutional]: a convolution whose sampling points are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import YOLOR_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Int
from yolor_cfg.ops.windows import ALL_CELLS, Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import build_batch_norm
from yolor_cfg.sections.tensors import KernelGroup, TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class DeformableConvolutionalSection(Section, names="deformableconvolutional"):
    """A convolution whose sampling points and their weights come from two small convolutions."""

    learns_by_adam = True
    dialects = YOLOR_ONLY
    examples = (
        "[deformableconvolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nbatch_normalize=1\nactivation=silu",
        "[deformableconvolutional]\nfilters=6\nsize=5\nactivation=leaky",
    )
    ignored_keys = {"pad": "no effect: the input is always zero-padded here (default 0)"}

    filters = Int(1, least=1, wanted=True, help="number of filters")
    size = Int(1, least=1, wanted=True, unit="pixels", help="kernel height and width")
    stride = Int(1, least=1, unit="pixels", help="stride in pixels")
    batch_normalize = Flag(False, help="batch norm instead of a bias")
    activation = ActivationKey("linear")

    def check(self) -> None:
        self.require_keys("filters", "size")

    def shape(self, x: Shape) -> Shape:
        return Shape(self.filters, (x.height - 1) // self.stride + 1, (x.width - 1) // self.stride + 1)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        """All cells: the sampling points may be anywhere."""
        return (ALL_CELLS,)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.blocks import ConvBlock
        from yolor_cfg.ops.deformable import DeformConv2d

        bias = not self.batch_normalize
        conv = DeformConv2d(x.channels, self.filters, self.size, stride=self.stride, bias=bias)
        norm = None if bias else build_batch_norm(self.dialect, self.filters)
        return ConvBlock(conv, norm, self.activation, name="DeformConv2d")

    def macs(self, out: Shape, x: Shape) -> int:
        return out.area * sum(tensor.size for tensor in self.tensors(x) if tensor.role == "weight")

    def tensors(self, x: Shape) -> list[TensorSpec]:
        kernel, offsets, scales = self._kernels
        norm = batch_norm_specs(self.filters) if self.batch_normalize else [kernel.bias()]
        return [
            *norm,
            kernel.weight(x.channels),
            offsets.weight(x.channels),
            offsets.bias(),
            scales.weight(x.channels),
            scales.bias(),
        ]

    def decayed(self) -> tuple[str, ...]:
        return ("DeformConv2d.conv.weight",)

    @property
    def _kernels(self) -> tuple[KernelGroup, KernelGroup, KernelGroup]:
        """The kernel itself, the convolution of its offsets and that of its weights."""
        elements = self.size**2
        return (
            KernelGroup("DeformConv2d.conv", self.size, self.filters),
            KernelGroup("DeformConv2d.p_conv", 3, 2 * elements),
            KernelGroup("DeformConv2d.m_conv", 3, elements),
        )
