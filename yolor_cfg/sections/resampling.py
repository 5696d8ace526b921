"""[upsample], [reorg], [reorg3d], [dwt] and [crop]: another size without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import Flag, Float, Int
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class UpsampleSection(Section, names="upsample"):
    """Repeat each pixel `stride` times both ways; a negative stride sums blocks of pixels instead."""

    thop_reason = "2 for each number that is upsampled"
    examples = ("[upsample]\nstride=3\nscale=1.5", "[upsample]\nstride=-2\nscale=.5")

    stride = Int(2, help="how many times each pixel is repeated; below 0: side of the blocks that are summed")
    scale = Float(1, dialects=DARKNET_ONLY, help="factor on every number")

    def check(self) -> None:
        if self.stride == 0:
            self.fault("stride", "out of bounds", found="0", allowed="1 or more, -1 or less")

    def shape(self, x: Shape) -> Shape:
        if self.stride < 0:
            return Shape(x.channels, x.height // -self.stride, x.width // -self.stride)
        return Shape(x.channels, x.height * self.stride, x.width * self.stride)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import BlockSum, RepeatUpsample

        return (
            BlockSum(-self.stride, self.scale) if self.stride < 0 else RepeatUpsample(self.stride, self.scale)
        )

    def thop_operations(self, out: Shape, x: Shape) -> int:
        return out.size if self.stride > 0 else 0


class _ReorderingSection(Section):
    """Space to depth or back: the same numbers at another resolution."""

    stride = Int(1, least=1, help="side of the blocks of pixels that become channels")
    reverse = Flag(False, dialects=DARKNET_ONLY, help="1: channels become blocks of pixels")

    def space_to_depth_shape(self, x: Shape, stride: int) -> Shape:
        """The size after space to depth."""
        if x.height % stride or x.width % stride:
            raise self.error(
                "stride",
                "does not divide the map",
                found=f"stride={stride}, input {x}",
                hint=f"height and width must be multiples of {stride}",
            )
        return Shape(x.channels * stride**2, x.height // stride, x.width // stride)

    def depth_to_space_shape(self, x: Shape) -> Shape:
        """The size after depth to space."""
        return Shape(x.channels // self.stride**2, x.height * self.stride, x.width * self.stride)

    def check_divisor(self, x: Shape, divisor: int) -> None:
        """Complain unless the channels are a multiple of `divisor`."""
        if x.channels % divisor:
            raise self.error(
                "stride",
                "does not fit the channels",
                found=f"stride={self.stride}, input {x}",
                hint=f"the channels must be a multiple of {divisor}",
            )


class ReorgSection(_ReorderingSection, names="reorg"):
    """Blocks of pixels become channels.

    darknet: scrambled as in YOLOv2, with reverse the true depth to space; yolor: 2x2 in the order (row,
    column) = 00, 10, 01, 11.
    """

    examples = (
        "[convolutional]\nfilters=16\n[reorg]\nstride=2",
        "[convolutional]\nfilters=36\n[reorg]\nstride=3\nreverse=1",
    )
    darknet_form = "blocks"
    ignored_keys = {"extra": "a key of the first Darknet; reorders nothing (default 0)"}

    stride = Int(
        lambda section: 2 if section.dialect.is_yolor else 1,
        least=1,
        help="side of the blocks of pixels that become channels (yolor: always 2)",
    )

    def check(self) -> None:
        if self.dialect.is_yolor and self.stride != 2:
            self.warn("stride", "has no effect in the yolor dialect: blocks are 2x2", found=str(self.stride))

    def shape(self, x: Shape) -> Shape:
        if self.dialect.is_yolor:
            return self.space_to_depth_shape(x, 2)
        self.check_divisor(x, self.stride**2)
        return self.depth_to_space_shape(x) if self.reverse else self.space_to_depth_shape(x, self.stride)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import ColumnsFirst, Reorder, darknet_reorg, depth_to_space

        if self.dialect.is_yolor:
            return ColumnsFirst()
        return Reorder(depth_to_space if self.reverse else darknet_reorg, self.stride)

    def has_dialect_variants(self) -> bool:
        return True


class Reorg3dSection(_ReorderingSection, names="reorg3d"):
    """Blocks of pixels become channels in the order (row, column) = 00, 01, 10, 11; yolor: does nothing."""

    examples = (
        "[reorg3d]\nstride=2",
        "[convolutional]\nfilters=16\n[reorg3d]\nstride=2\nreverse=1",
    )
    darknet_form = "nothing"

    @property
    def is_alias(self) -> bool:
        """True in the yolor dialect, where the section does nothing."""
        return self.dialect.is_yolor

    def shape(self, x: Shape) -> Shape:
        if self.dialect.is_yolor:
            return x
        if not self.reverse:
            return self.space_to_depth_shape(x, self.stride)
        self.check_divisor(x, self.stride**4)
        return self.depth_to_space_shape(x)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.resampling import Reorder, reorg3d_reverse, space_to_depth

        if self.dialect.is_yolor:
            return nn.Identity()
        return Reorder(reorg3d_reverse if self.reverse else space_to_depth, self.stride)

    def has_dialect_variants(self) -> bool:
        return True


class WaveletTransformSection(Section, names="dwt"):
    """One level of the Haar transform: the means of 2x2 blocks, then three differences for each channel."""

    dialects = YOLOR_ONLY
    examples = ("[dwt]",)
    darknet_form = "blocks"

    def shape(self, x: Shape) -> Shape:
        if x.height % 2 or x.width % 2:
            raise self.error("", "needs an even height and width", found=f"input {x}")
        return Shape(4 * x.channels, x.height // 2, x.width // 2)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import Wavelets

        return Wavelets()


class CropSection(Section, names="crop"):
    """Cut out the middle of the image, then take 0..1 to -1..1."""

    dialects = DARKNET_ONLY
    examples = ("[crop]\ncrop_height=10\ncrop_width=14", "[crop]\ncrop_height=9\ncrop_width=9\nnoadjust=1")

    crop_height = Int(1, least=1, wanted=True, help="height that is left, in pixels")
    crop_width = Int(1, least=1, wanted=True, help="width that is left, in pixels")
    noadjust = Flag(False, help="1: the numbers stay as they are")
    flip = Flag(False, help="training mirrors half of the images")
    angle = Float(0, help="training turns images by up to so many degrees")
    saturation = Float(1, help="training changes saturation by up to this factor")
    exposure = Float(1, help="training changes brightness by up to this factor")
    shift = Float(0, help="training shifts the colours by up to so much")

    def shape(self, x: Shape) -> Shape:
        lengths = {"crop_height": (self.crop_height, x.height), "crop_width": (self.crop_width, x.width)}
        for key, (left, there) in lengths.items():
            if left > there:
                raise self.error(key, "larger than the input", found=str(left), allowed=f"1 to {there}")
        return Shape(x.channels, self.crop_height, self.crop_width)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import CenterCrop

        scale, shift = (1.0, 0.0) if self.noadjust else (2.0, -1.0)
        return CenterCrop((self.crop_height, self.crop_width), scale, shift)
