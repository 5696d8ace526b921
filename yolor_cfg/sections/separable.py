"""[depthwise], [EP] and [PEP]: convolutions of one channel each, and blocks with them, each from one fork.

Facts: SpursLipu/YOLOv3v4-ModelCompression models.py; yolo-nano in eriklindernoren/PyTorch-YOLOv3
layers/layers.py and models.py.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from yolor_cfg.lang.keys import ActivationKey, Flag, Int
from yolor_cfg.ops.geometry import ConvGeometry, half_size
from yolor_cfg.ops.windows import Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm, norm_rules
from yolor_cfg.sections.tensors import KernelGroup, TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.separable import BlockConv


class DepthwiseSection(Section, names="depthwise"):
    """Convolve each channel with kernels of its own, normalize (or add a bias), then apply the activation."""

    dialects = ("spurs",)
    is_stored_by_its_program = True
    darknet_form = "depthwise"
    examples = (
        "[depthwise]\nfilters=8\nsize=3\nstride=2\npad=1\nbatch_normalize=1\nactivation=h_swish",
        "[depthwise]\nfilters=16\nsize=5\nstride=1\npad=0\nbatch_normalize=0\nactivation=none",
    )

    filters = Int(1, least=1, wanted=True, help="number of filters, a multiple of the channels")
    size = Int(1, least=1, wanted=True, unit="pixels", help="kernel height and width")
    stride = Int(1, least=1, wanted=True, unit="pixels", help="stride in pixels")
    pad = Flag(False, wanted=True, help="1: zero padding of (size - 1) / 2 pixels on each side")
    batch_normalize = Flag(False, wanted=True, help="batch norm instead of a bias")
    activation = ActivationKey("linear")

    def check(self) -> None:
        self.require_keys("filters", "size", "stride", "pad", "batch_normalize", "activation")

    def shape(self, x: Shape) -> Shape:
        if self.filters % x.channels:
            raise self.error(
                "filters",
                "not a multiple of the channels",
                found=f"{self.filters} filters, {x.channels} channels",
                allowed=f"{x.channels}, {2 * x.channels} ...",
            )
        return Shape(self.filters, *self._geometry(x).positions(self.size, x.height, x.width))

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (self._geometry(x).sight(self.size),)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.blocks import ConvBlock

        bias = not self.batch_normalize
        conv = nn.Conv2d(x.channels, self.filters, self.size, *self._geometry(x), bias=bias)
        norm = None if bias else build_batch_norm(self.dialect, self.filters)
        return ConvBlock(conv, norm, self.activation, name="DepthWise2d")

    def macs(self, out: Shape, x: Shape) -> int:
        return out.size * self.size**2

    def tensors(self, x: Shape) -> list[TensorSpec]:
        kernel = KernelGroup("DepthWise2d", self.size, self.filters)
        norm = batch_norm_specs(self.filters) if self.batch_normalize else [kernel.bias()]
        return [*norm, kernel.weight(1)]

    def decayed(self) -> tuple[str, ...]:
        return ("DepthWise2d.weight",)

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS if self.batch_normalize else ()

    def _geometry(self, x: Shape) -> ConvGeometry:
        zeros = half_size(self.size, "half") if self.pad else 0
        return ConvGeometry((self.stride, self.stride), zeros, groups=x.channels)


class _SeparableSection(Section):
    """Convolutions without biases, each with a batch norm and leaky, the last without leaky.

    The source stores them in no weights file; the order here is ours: as they run, each as a [convolutional].
    """

    dialects = ("nano",)

    filters = Int(1, least=1, wanted=True, help="number of filters")

    def convolutions(self, channels: int) -> list[BlockConv]:
        """The convolutions as they run."""
        raise AssertionError(f"[{self.type}] has no convolutions")

    def shape(self, x: Shape) -> Shape:
        stride = self._stride
        return Shape(self.filters, (x.height - 1) // stride + 1, (x.width - 1) // stride + 1)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        """Those of its depthwise 3x3: the others have one cell, and so has the input where it is added."""
        return (ConvGeometry((self._stride, self._stride), padding=1).sight(3),)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.separable import SeparableBlock

        adds = self._stride == 1 and self.filters == x.channels
        block = SeparableBlock(self.convolutions(x.channels), norm_rules(self.dialect), adds=adds)
        return nn.Sequential(OrderedDict({self._layer_name: block}))

    def macs(self, out: Shape, x: Shape) -> int:
        pairs = zip(self.convolutions(x.channels), self._areas(out, x), strict=True)
        return sum(conv.filters * conv.channels // conv.groups * conv.size**2 * area for conv, area in pairs)

    def tensors(self, x: Shape) -> list[TensorSpec]:
        return [spec for conv in self.convolutions(x.channels) for spec in self._conv_specs(conv)]

    def decayed(self) -> tuple[str, ...]:
        return tuple(f"{self._layer_name}.{one.part}.{one.place}.weight" for one in self.convolutions(1))

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS

    @property
    def _layer_name(self) -> str:
        return f"{self.type}_{self.index}"

    @property
    def _stride(self) -> int:
        return 1

    def _areas(self, out: Shape, x: Shape) -> list[int]:
        """The number of cells that each convolution computes: the depthwise one has the stride."""
        narrow = len(self.convolutions(x.channels)) - 2
        return [x.area] * narrow + [out.area] * 2

    def _conv_specs(self, conv: BlockConv) -> list[TensorSpec]:
        prefix = f"{self._layer_name}.{conv.part}"
        kernel = KernelGroup(f"{prefix}.{conv.place}", conv.size, conv.filters)
        norm = batch_norm_specs(conv.filters, f"{prefix}.{conv.place + 1}.")
        return [*norm, kernel.weight(conv.channels // conv.groups)]


def list_separable(channels: int, filters: int, *, stride: int = 1) -> list[BlockConv]:
    """1x1, 3x3 for each channel, 1x1 to the filters."""
    from yolor_cfg.ops.separable import BlockConv

    return [
        BlockConv("sepconv", 0, channels, channels),
        BlockConv("sepconv", 3, channels, channels, 3, stride, channels),
        BlockConv("sepconv", 6, channels, filters),
    ]


class ExpansionProjectionSection(_SeparableSection, names="EP"):
    """A separable convolution, plus its input where stride and channels allow (yolo-nano)."""

    examples = ("[EP]\nfilters=8\nstride=1", "[EP]\nfilters=6\nstride=2")

    stride = Int(1, least=1, wanted=True, unit="pixels", help="stride in pixels")

    def check(self) -> None:
        self.require_keys("filters", "stride")

    def convolutions(self, channels: int) -> list[BlockConv]:
        """The three of a separable convolution."""
        return list_separable(channels, self.filters, stride=self.stride)

    @property
    def _stride(self) -> int:
        return self.stride


class ProjectionExpansionProjectionSection(_SeparableSection, names="PEP"):
    """Fewer channels, then a separable convolution, plus the input where the channels allow (yolo-nano)."""

    examples = ("[PEP]\nfilters=8\ncompress=3", "[PEP]\nfilters=6\ncompress=4")

    compress = Int(1, least=1, wanted=True, help="number of channels inside the block")

    def check(self) -> None:
        self.require_keys("filters", "compress")

    def convolutions(self, channels: int) -> list[BlockConv]:
        """One to fewer channels, then the three of a separable convolution."""
        from yolor_cfg.ops.separable import BlockConv

        return [
            BlockConv("conv", 0, channels, self.compress),
            *list_separable(self.compress, self.filters),
        ]
