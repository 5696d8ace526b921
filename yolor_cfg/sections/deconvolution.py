"""[deconvolutional]: transposed convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.keys import ActivationKey, Flag, Int
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm
from yolor_cfg.sections.tensors import TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

KERNEL = "DeConv2d"


class DeconvolutionalSection(Section, names="deconvolutional deconv"):
    """Spread each value over a window of the output by learned kernels, then normalize (or add a bias) and
    apply the activation.

    pjreddie/darknet, src/deconvolutional_layer.c; the kernels are stored as [channels, filters, k, k], as
    torch's ConvTranspose2d has them.
    """

    learns_by_adam = True
    dialects = ("pjreddie",)
    darknet_form = "none"
    examples = (
        "[deconvolutional]\nfilters=6\nsize=4\nstride=2\npadding=1\nbatch_normalize=1\nactivation=leaky",
        "[deconvolutional]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=relu",
        "[deconvolutional]\nfilters=3\nsize=2\nstride=3",
    )

    filters = Int(1, least=1, wanted=True, help="number of filters")
    size = Int(1, least=1, help="kernel height and width")
    stride = Int(1, least=1, help="distance of two neighbouring inputs in the output, in pixels")
    pad = Flag(False, help="1: size/2 pixels are cut off on each side, instead of `padding`")
    padding = Int(0, least=0, help="pixels cut off the output on each side")
    batch_normalize = Flag(False, help="batch norm instead of a bias")
    activation = ActivationKey("logistic")

    def shape(self, x: Shape) -> Shape:
        return Shape(self.filters, *self._geometry.spread(self.size, x.height, x.width))

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.blocks import ConvBlock

        strides, cut, dilation, groups = self._geometry
        conv = nn.ConvTranspose2d(
            x.channels,
            self.filters,
            self.size,
            strides,
            cut,
            groups=groups,
            dilation=dilation,
            bias=not self.batch_normalize,
        )
        norm = build_batch_norm(self, self.filters) if self.batch_normalize else None
        return ConvBlock(conv, norm, self.activation, name=KERNEL)

    def macs(self, out: Shape, x: Shape) -> int:
        return self._kernel(x).size * x.area

    def tensors(self, x: Shape) -> list[TensorSpec]:
        bias = TensorSpec("bias", f"{KERNEL}.bias", (self.filters,))
        norm = batch_norm_specs(self.filters) if self.batch_normalize else [bias]
        return [*norm, self._kernel(x)]

    def decayed(self) -> tuple[str, ...]:
        return (f"{KERNEL}.weight",)

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS if self.batch_normalize else ()

    @property
    def _geometry(self) -> ConvGeometry:
        """Strides and groups; the padding is what is cut off."""
        cut = self.size // 2 if self.pad else self.padding
        return ConvGeometry((self.stride, self.stride), cut)

    def _kernel(self, x: Shape) -> TensorSpec:
        shape = (x.channels, self.filters // self._geometry.groups, self.size, self.size)
        return TensorSpec("weight", f"{KERNEL}.weight", shape)
