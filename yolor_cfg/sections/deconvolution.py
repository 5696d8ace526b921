"""[deconvolutional]: transposed convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import MCMOT_ONLY, PJREDDIE_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Int
from yolor_cfg.lang.lists import IntList
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.ops.windows import Sight, widest
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_sizes
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm
from yolor_cfg.sections.tensors import (
    KernelGroup,
    TensorSpec,
    batch_norm_specs,
    split_kernels,
)
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

KERNEL = "DeConv2d"
MCMOT_NET = "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=mcmot\n"


class DeconvolutionalSection(Section, names="deconvolutional deconv"):
    """Spread each value over a window of the output by learned kernels, then normalize (or add a bias) and
    apply the activation.

    pjreddie/darknet, src/deconvolutional_layer.c; the kernels are stored as [channels, filters, k, k], as
    torch's ConvTranspose2d has them. CaptainEven/YOLOV4_MCMOT, models.py and utils/layers.py, has groups,
    strides and several sizes beside it, and stores none of it in a weights file: there the order is that of
    Darknet, which is ours.
    """

    learns_by_adam = True
    dialects = ("pjreddie", "mcmot")
    examples = (
        "[deconvolutional]\nfilters=6\nsize=4\nstride=2\npadding=1\nbatch_normalize=1\nactivation=leaky",
        "[deconvolutional]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=relu",
        "[deconvolutional]\nfilters=3\nsize=2\nstride=3",
        MCMOT_NET + "[deconvolutional]\nfilters=6\nsize=4\nstride_x=2\nstride_y=3\npad=1\ngroups=2\n"
        "batch_normalize=1\nactivation=relu",
        MCMOT_NET + "[deconvolutional]\nfilters=9\nsize=3,5\nstride=2\npad=1\nbatch_normalize=0\n"
        "activation=leaky",
    )

    filters = Int(1, least=1, wanted=True, help="number of filters")
    size = IntList(
        (1,), unit="pixels", help="kernel height and width; a list gives several sizes in parallel (mcmot)"
    )
    stride = Int(
        1, least=1, unit="pixels", help="distance of two neighbouring inputs in the output, in pixels"
    )
    stride_x = Int(
        lambda section: section.stride,
        least=1,
        dialects=MCMOT_ONLY,
        unit="pixels",
        help="that across, where there is no `stride`",
    )
    stride_y = Int(
        lambda section: section.stride,
        least=1,
        dialects=MCMOT_ONLY,
        unit="pixels",
        help="that down, where there is no `stride`",
    )
    groups = Int(1, least=1, dialects=MCMOT_ONLY, help="number of groups of a grouped convolution")
    pad = Flag(False, help="1: size/2 pixels are cut off on each side, instead of `padding`")
    padding = Int(
        0, least=0, dialects=PJREDDIE_ONLY, unit="pixels", help="pixels cut off the output on each side"
    )
    batch_normalize = Flag(False, help="batch norm instead of a bias")
    activation = ActivationKey("logistic")

    def check(self) -> None:
        if self.dialect.needs_filters:
            self.require_keys("filters", "size", "pad", "batch_normalize", "activation")
        self.try_checks(self._check_sizes)

    def _check_sizes(self) -> None:
        if min(self.size) < 1:
            self.fault("size", "out of bounds", found=self.lines["size"].value, allowed="1 or more")
        elif len(self._sizes) > 1:
            check_sizes(self, self._sizes, self.filters)

    def shape(self, x: Shape) -> Shape:
        if x.channels % self._groups or self.filters % self._groups:
            raise self.error(
                "groups",
                "does not divide the channels and the filters",
                found=f"{x.channels} channels, {self.filters} filters, groups={self._groups}",
            )
        size = self._sizes[0]
        return Shape(self.filters, *self._geometry(size).spread(size, x.height, x.width))

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (widest(self._geometry(size).spread_sight(size) for size in self._sizes),)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.blocks import MixConv2d, TransposedBlock

        norm = build_batch_norm(self.dialect, self.filters) if self.batch_normalize else None
        parts = [self._build_part(kernel, x.channels) for kernel in self._kernels]
        if len(parts) > 1:
            return TransposedBlock(MixConv2d(parts), norm, self.activation, name=f"Mix{KERNEL}")
        return TransposedBlock(parts[0], norm, self.activation, name=KERNEL)

    def _build_part(self, kernel: KernelGroup, channels: int) -> nn.ConvTranspose2d:
        from torch import nn

        strides, cut, dilation, groups = self._geometry(kernel.size)
        bias = not self.batch_normalize
        return nn.ConvTranspose2d(
            channels,
            kernel.filters,
            kernel.size,
            strides,
            cut,
            groups=groups,
            dilation=dilation,
            bias=bias,
        )

    def macs(self, out: Shape, x: Shape) -> int:
        return sum(self._kernel_spec(kernel, x).size for kernel in self._kernels) * x.area

    def tensors(self, x: Shape) -> list[TensorSpec]:
        biases = [kernel.bias() for kernel in self._kernels]
        norm = batch_norm_specs(self.filters) if self.batch_normalize else biases
        return norm + [self._kernel_spec(kernel, x) for kernel in self._kernels]

    def decayed(self) -> tuple[str, ...]:
        return tuple(f"{kernel.name}.weight" for kernel in self._kernels)

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS if self.batch_normalize else ()

    @property
    def _sizes(self) -> tuple[int, ...]:
        """The sizes of the kernels: of a list, some programs read only the first."""
        return self.size if self.dialect.has_kernel_lists else self.size[:1]

    @property
    def _kernels(self) -> list[KernelGroup]:
        return split_kernels(self._sizes, self.filters, KERNEL)

    @property
    def _groups(self) -> int:
        return self.groups if len(self._sizes) == 1 else 1

    def _geometry(self, size: int) -> ConvGeometry:
        """Strides and groups; the padding is what is cut off."""
        both = (self.stride, self.stride) if "stride" in self.values else (self.stride_y, self.stride_x)
        cut = size // 2 if self.pad or len(self._sizes) > 1 else self.padding
        return ConvGeometry(both, cut, groups=self._groups)

    def _kernel_spec(self, kernel: KernelGroup, x: Shape) -> TensorSpec:
        shape = (x.channels, kernel.filters // self._groups, kernel.size, kernel.size)
        return TensorSpec("weight", f"{kernel.name}.weight", shape)
