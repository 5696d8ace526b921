"""[convolutional] and [focus]: nearly all weights and operations of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.errors import count_of
from yolor_cfg.lang.dialect import C_DARKNET, DARKNET_ONLY, EARLY, NOT_DARKFLOW, NOT_PJREDDIE, YOLOR_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Int, SectionNumber
from yolor_cfg.lang.lists import IntList
from yolor_cfg.ops.geometry import ConvGeometry, blur_geometry, half_size
from yolor_cfg.ops.windows import Sight, blocks, widest
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_sizes
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm
from yolor_cfg.sections.tensors import (
    KernelGroup,
    TensorSpec,
    batch_norm_specs,
    format_tensors,
    split_kernels,
)
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

MIXED_SIZE_KEYS = frozenset("filters size stride stride_x stride_y pad batch_normalize activation".split())
"""The keys that are allowed when `size` is a list."""

C_SIDES = tuple(name for name in NOT_PJREDDIE if name in NOT_DARKFLOW)
"""The dialects in which a stride has two sides."""

WARP_KEYS = ("sway", "rotate", "stretch", "stretch_sway")
"""The keys with which C Darknet transforms the kernels, in its GPU code only."""


class ConvolutionalSection(Section, names="convolutional conv"):
    """Convolve with learned kernels, normalize (or add a bias), then apply the activation.

    With a list of sizes (yolor), each kernel size computes some of the output channels.
    """

    is_self_contained = True
    learns_by_adam = True
    examples: ClassVar[tuple[str, ...]] = (
        "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nbatch_normalize=1\nactivation=leaky",
        "[convolutional]\nfilters=6\nsize=3\nstride_x=2\nstride_y=1\npadding=2\ngroups=2\nactivation=mish",
        "[convolutional]\nfilters=6\nsize=3\npadding=1\ndilation=2\ncbn=1\nflipped=1\nactivation=swish",
        "[convolutional]\nfilters=6\nsize=5\nstride=2\npad=1\nantialiasing=1\nactivation=relu",
        "[convolutional]\nfilters=8\nsize=3\npad=1\nxnor=1\nbin_output=1\nbatch_normalize=1\nactivation=elu",
        "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
        "[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=linear\nshare_index=-1",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=yolor\n"
        "[convolutional]\nfilters=28\nsize=3,5,7\nstride=2\npad=1\nactivation=silu",
    )
    ignored_keys = {
        "binary": "no effect in C Darknet's CPU code (default 0)",
        "assisted_excitation": "adds the labels to the feature map in C Darknet's training (default 0)",
        "angle": "angle of sway and rotate, in degrees (default 15)",
        "reverse": "only for GPU training in C Darknet (default 0)",
        "dot": "only for GPU training in C Darknet (default 0)",
        "grad_centr": "gradient centralization in C Darknet's GPU training (default 0)",
        "coordconv": "only for GPU training in C Darknet (default 0)",
        "stream": "CUDA stream in C Darknet (default none)",
        "wait_stream": "CUDA stream that C Darknet waits for (default none)",
    }

    filters = Int(1, least=1, wanted=True, help="number of filters")
    size = IntList(
        (1,),
        unit="pixels",
        help="kernel height and width; a list gives several kernel sizes in parallel (yolor)",
    )
    stride = Int(1, least=1, unit="pixels", help="stride in pixels")
    stride_x = Int(
        -1,
        dialects=C_SIDES,
        unit="pixels",
        help="horizontal stride; overrides `stride` if 1 or more, but see side_strides",
    )
    stride_y = Int(
        -1,
        dialects=C_SIDES,
        unit="pixels",
        help="vertical stride; overrides `stride` if 1 or more, but see side_strides",
    )
    pad = Flag(False, help="1: zero padding of size/2 pixels on each side, instead of `padding`")
    padding = Int(0, least=0, dialects=EARLY, unit="pixels", help="zero padding on each side, in pixels")
    groups = Int(1, least=1, dialects=NOT_DARKFLOW, help="number of groups of a grouped convolution")
    dilation = Int(
        1,
        least=1,
        dialects=DARKNET_ONLY,
        unit="pixels",
        help="dilation in pixels; also multiplies the padding",
    )
    batch_normalize = Flag(False, help="batch norm instead of a bias")
    cbn = Flag(
        False,
        dialects=DARKNET_ONLY,
        help="as batch_normalize, but trained on the statistics of several mini-batches in C Darknet",
    )
    activation = ActivationKey("logistic")
    antialiasing = Int(
        0,
        least=0,
        most=2,
        dialects=DARKNET_ONLY,
        help="1, 2: stride 1, then a strided blur of 3x3 or 2x2",
    )
    share_index = SectionNumber(
        None, dialects=DARKNET_ONLY, help="section whose tensors this one uses instead of its own"
    )
    flipped = Flag(
        False, dialects=C_DARKNET, help="the weights file stores the filters as the last dimension"
    )
    xnor = Flag(False, dialects=C_DARKNET, help="binary convolution, with the signs of inputs and weights")
    bin_output = Flag(
        False, dialects=DARKNET_ONLY, help="with xnor: no activation, since the next section takes the signs"
    )
    sway = Flag(
        False,
        dialects=DARKNET_ONLY,
        unused="kernels are not turned in training here",
        help="rotates the kernels by a few degrees in C Darknet's GPU code",
    )
    rotate = Flag(
        False,
        dialects=DARKNET_ONLY,
        unused="kernels are not turned in training here",
        help="rotates the kernels in C Darknet's GPU code",
    )
    stretch = Flag(
        False,
        dialects=DARKNET_ONLY,
        unused="kernels are not turned in training here",
        help="stretches the kernels in C Darknet's GPU code",
    )
    stretch_sway = Flag(
        False,
        dialects=DARKNET_ONLY,
        unused="kernels are not turned in training here",
        help="stretches and rotates the kernels in C Darknet's GPU code",
    )

    darknet_form: ClassVar[str] = "kernels"
    is_focus: ClassVar[bool] = False  # blocks of 2x2 pixels become one cell first

    def check(self) -> None:
        if self.dialect.needs_filters:
            self.require_keys("filters")
        if min(self.size) < 1:
            self.fault("size", "out of bounds", found=self.lines["size"].value, allowed="1 or more")
        elif len(self.size) > 1:
            check_size_list(self)
        if self.xnor and self.groups > 1:
            self.warn("groups", "counts as 1 with xnor, as in Darknet")
        elif self.filters % self.groups:
            found = f"{count_of(self.filters, 'filter')}, groups={self.groups}"
            self.fault("groups", "does not divide the filters", found=found)
        self.try_checks(self._check_warps)

    def _check_warps(self) -> None:
        warps = [key for key in WARP_KEYS if getattr(self, key)]
        if len(warps) > 1:
            self.fault(warps[1], "only one of these transformations is possible", found=", ".join(warps))
        if warps and self.size[0] == 1:
            self.fault(warps[0], "needs kernels of 3x3 or more", found="size=1")
        for key in warps:
            self.warn(key, f"{self.keys[key].help}; not applied here")

    def check_inputs(self, x: Shape) -> None:
        if self._has_dropped_channels(x):
            self.warn(
                "groups",
                "does not divide the channels: the last ones are not read, as in Darknet",
                found=f"{count_of(x.channels, 'channel')}, groups={self.groups}",
                allowed=count_of(self._conv_input_shape(x).channels, "channel"),
            )

    def shape(self, x: Shape) -> Shape:
        seen, geometry = self._conv_input_shape(x), self._geometry()
        if seen.channels % geometry.groups:
            raise self.error(
                "groups",
                "does not divide the channels",
                found=f"{count_of(seen.channels, 'channel')}, groups={self.groups}",
                hint="the channels must be a multiple of groups",
            )
        height, width = geometry.positions(self.size[0], seen.height, seen.width)
        if self.antialiasing:
            size = 4 - self.antialiasing
            height, width = blur_geometry(size, self.strides).positions(size, height, width)
        return Shape(self.filters, height, width)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        sight = widest(self._geometry(kernel.size).sight(kernel.size) for kernel in self._kernels)
        if self.antialiasing:
            size = 4 - self.antialiasing
            sight = blur_geometry(size, self.strides).sight(size).then(sight)
        return (sight.then(blocks(2)) if self.is_focus else sight,)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.blocks import ConvBlock, FirstChannels, MixConv2d, SharedConvBlock
        from yolor_cfg.ops.pooling import Blur

        activation = "linear" if self.xnor and self.bin_output else self.activation
        blur = Blur(4 - self.antialiasing, self.strides) if self.antialiasing else None
        if self.share_index is not None:
            geometry = self._geometry()
            return SharedConvBlock(geometry, activation, binary=self.xnor, focus=self.is_focus, blur=blur)
        norm = build_batch_norm(self.dialect, self.filters) if self._has_norm else None
        parts = [self._build_conv(kernel, self._conv_input_shape(x).channels) for kernel in self._kernels]
        if len(parts) > 1:
            return ConvBlock(MixConv2d(parts), norm, activation, name="MixConv2d")
        block = ConvBlock(parts[0], norm, activation, focus=self.is_focus, blur=blur)
        return (
            FirstChannels(block, self._conv_input_shape(x).channels)
            if self._has_dropped_channels(x)
            else block
        )

    def weight_source(self) -> int | None:
        if self.share_index is None:
            return None
        return self.resolve_refs((self.share_index,), "share_index")[0]

    def check_shared_weights(self, shared: Sequence[TensorSpec], *inputs: Shape) -> None:
        wanted = self._own_tensors(*inputs)
        if [(one.name, one.shape) for one in shared] != [(one.name, one.shape) for one in wanted]:
            raise self.error(
                "share_index",
                "the tensors of that section do not fit here",
                found=format_tensors(shared),
                allowed=format_tensors(wanted),
                hint="name a convolution whose tensors have the same shapes",
            )

    def macs(self, out: Shape, x: Shape) -> int:
        seen = self._conv_input_shape(x)
        height, width = self._geometry().positions(self.size[0], seen.height, seen.width)
        weights = sum(kernel.filters * kernel.size**2 for kernel in self._kernels)
        return weights * (seen.channels // self._groups) * height * width

    def bflops(self, out: Shape, x: Shape) -> float | None:
        return 2 * self.macs(out, x) / 1e9 / (32 if self.xnor else 1)

    def tensors(self, x: Shape) -> list[TensorSpec]:
        return self._own_tensors(x) if self.share_index is None else []

    def decayed(self) -> tuple[str, ...]:
        return tuple(f"{kernel.name}.weight" for kernel in self._kernels) if self.share_index is None else ()

    def facts(self) -> tuple[str, ...]:
        norm = NORM_FACTS if self._has_norm else ()
        lists = ("has_kernel_lists",) if len(self.size) > 1 else ()
        return (
            norm
            + lists
            + self.stride_facts
            + (("conv_padding",) if self.pad and self.size[0] % 2 == 0 else ())
        )

    @property
    def _has_norm(self) -> bool:
        return self.batch_normalize or self.cbn

    @property
    def strides(self) -> tuple[int, int]:
        """Vertical and horizontal."""
        down, across = (step if step >= 1 else self.stride for step in (self.stride_y, self.stride_x))
        return down, across

    @property
    def zeros(self) -> int:
        """The padding on each side, before it is dilated."""
        return self._find_zeros(self.size[0])

    @property
    def _groups(self) -> int:
        return 1 if self.xnor else self.groups

    @property
    def _kernels(self) -> list[KernelGroup]:
        return split_kernels(self.size if self.dialect.has_kernel_lists else self.size[:1], self.filters)

    def _conv_input_shape(self, x: Shape) -> Shape:
        """The input of the convolution itself."""
        if self._has_dropped_channels(x):
            return x._replace(channels=x.channels - x.channels % self.groups)
        if not self.is_focus:
            return x
        if x.height % 2 or x.width % 2:
            raise self.error("", "width and height must be even", found=f"input {x}")
        return Shape(4 * x.channels, x.height // 2, x.width // 2)

    def _has_dropped_channels(self, x: Shape) -> bool:
        """Whether C Darknet's integer division of channels by groups drops some channels."""
        spare = x.channels % self._groups
        if self.is_focus or not self.dialect.drops_spare_channels:
            return False
        return spare > 0 and x.channels > self.groups

    def _geometry(self, size: int = 0) -> ConvGeometry:
        """Stride, padding, dilation and groups of a kernel of that size (the first by default)."""
        size = size or self.size[0]
        dilation = 1 if size == 1 else self.dilation
        zeros = size // 2 if self._kernels[1:] else self._find_zeros(size)
        strides = (1, 1) if self.antialiasing else self.strides
        return ConvGeometry(strides, zeros * dilation, dilation, self._groups)

    def _find_zeros(self, size: int) -> int:
        """The padding on each side of kernels of that size, before it is dilated."""
        rule = self.dialect.conv_padding
        pads = {"always": True, "given": "pad" in self.values}.get(rule, self.pad)
        return half_size(size, rule) if pads else self.padding

    def _build_conv(self, kernel: KernelGroup, channels: int) -> nn.Conv2d:
        from torch import nn

        from yolor_cfg.ops.binary import BinaryConv2d

        kind = BinaryConv2d if self.xnor else nn.Conv2d
        geometry = self._geometry(kernel.size)
        return kind(channels, kernel.filters, kernel.size, *geometry, bias=not self._has_norm)

    def _own_tensors(self, x: Shape) -> list[TensorSpec]:
        channels = self._conv_input_shape(x).channels // self._groups
        norm = (
            batch_norm_specs(self.filters) if self._has_norm else [kernel.bias() for kernel in self._kernels]
        )
        return norm + [kernel.weight(channels, flipped=self.flipped) for kernel in self._kernels]


class FocusSection(ConvolutionalSection, names="focus"):
    """Turn 2x2 blocks of pixels into cells with four times the channels, then do as [convolutional]."""

    learns_by_adam = True
    dialects = YOLOR_ONLY
    examples: ClassVar[tuple[str, ...]] = (
        "[focus]\nfilters=8\nsize=3\nstride=2\npad=1\nbatch_normalize=1\nactivation=silu",
        "[focus]\nfilters=8\ngroups=2\nstride_x=2\nstride_y=1\nactivation=mish",
        "[focus]\nfilters=8\nsize=3\npadding=1\ndilation=2\ncbn=1\nflipped=1\nactivation=leaky",
        "[focus]\nfilters=8\nsize=5\nstride=2\npad=1\nantialiasing=1\nxnor=1\nbin_output=1\nactivation=mish",
    )

    darknet_form = "focus"
    is_focus = True

    def bflops(self, out: Shape, x: Shape) -> None:
        return None


def check_size_list(section: ConvolutionalSection) -> None:
    """Record the errors of a convolution with several sizes; C Darknet reads only the first size."""
    sizes, filters = section.size, section.filters
    if not section.dialect.has_kernel_lists:
        section.warn(
            "size",
            f"a list: read as {sizes[0]}, as in Darknet",
            found=section.lines["size"].value,
            hint="--dialect yolor makes one kernel of each size",
        )
        return
    for key in sorted(section.values.keys() & set(section.own_keys()) - MIXED_SIZE_KEYS):
        section.fault(key, "not possible with a list of sizes", allowed=sorted(MIXED_SIZE_KEYS))
    check_sizes(section, sizes, filters)
