"""[upsample], [reorg], [reorg3d], [dwt] and [crop], which change the size without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import (
    C_DARKNET,
    EARLY,
    LATER,
    NOT_DARKFLOW,
    PJREDDIE_ONLY,
    YOLOR_ONLY,
)
from yolor_cfg.lang.keys import Flag, Float, Int
from yolor_cfg.ops.windows import ALL_CELLS, EACH_CELL, CellWindow, Sight, blocks, pieces
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import FlatShape, Shape

if TYPE_CHECKING:
    from torch import nn


class UpsampleSection(Section, names="upsample"):
    """Repeat each pixel `stride` times in both directions; a negative one sums blocks of pixels."""

    is_self_contained = True
    dialects = NOT_DARKFLOW
    thop_reason = "2 for each upsampled value"
    examples = ("[upsample]\nstride=3\nscale=1.5", "[upsample]\nstride=-2\nscale=.5")

    stride = Int(2, help="upsampling factor; if negative, side of the blocks that are summed")
    scale = Float(1, dialects=C_DARKNET, help="factor on all values")

    def check(self) -> None:
        if self.stride == 0:
            self.fault("stride", "out of bounds", found="0", allowed="1 or more, -1 or less")

    def shape(self, x: Shape) -> Shape:
        if self.stride < 0:
            return Shape(x.channels, x.height // -self.stride, x.width // -self.stride)
        return Shape(x.channels, x.height * self.stride, x.width * self.stride)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        """With a rest, C Darknet takes the numbers for those of a map without it: all over the map."""
        if self.stride > 0:
            return (pieces(self.stride),)
        has_rest = (out.height * -self.stride, out.width * -self.stride) != x[1:]
        return (ALL_CELLS if has_rest else blocks(-self.stride),)

    def check_inputs(self, x: Shape) -> None:
        if self.stride < 0 and (x.height % self.stride or x.width % self.stride):
            self.warn(
                "stride",
                "does not divide the height and width: read as a smaller map, as in C Darknet",
                found=f"stride={self.stride}, input {x}",
                allowed=f"a height and width that are multiples of {-self.stride}",
            )

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import BlockSum, RepeatUpsample

        return (
            BlockSum(-self.stride, self.scale) if self.stride < 0 else RepeatUpsample(self.stride, self.scale)
        )

    def thop_operations(self, out: Shape, x: Shape) -> int:
        return out.size if self.stride > 0 else 0


class _ReorderingSection(Section):
    """Space to depth or back: the same values at another resolution."""

    stride = Int(1, least=1, unit="pixels", help="side of the blocks of pixels that become channels")
    reverse = Flag(False, dialects=C_DARKNET, help="1: channels become blocks of pixels")

    def space_to_depth_shape(self, x: Shape, stride: int) -> Shape:
        """The shape after space to depth."""
        if x.height % stride or x.width % stride:
            raise self.error(
                "stride",
                "does not divide the height and width",
                found=f"stride={stride}, input {x}",
                hint=f"both must be multiples of {stride}",
            )
        return Shape(x.channels * stride**2, x.height // stride, x.width // stride)

    def depth_to_space_shape(self, x: Shape) -> Shape:
        """The shape after depth to space."""
        return Shape(x.channels // self.stride**2, x.height * self.stride, x.width * self.stride)

    def check_divisor(self, x: Shape, divisor: int) -> None:
        """Raise CfgError unless the number of channels is a multiple of `divisor`."""
        if x.channels % divisor:
            raise self.error(
                "stride",
                "does not match the channels",
                found=f"stride={self.stride}, input {x}",
                hint=f"the number of channels must be a multiple of {divisor}",
            )


class ReorgSection(_ReorderingSection, names="reorg"):
    """Blocks of pixels become channels.

    darknet: scrambled as in YOLOv2, but with reverse a true depth to space; yolor: 2x2 blocks in the order
    (row, column) = 00, 10, 01, 11; darkflow: in the order 00, 01, 10, 11, as [reorg3d].
    """

    examples = (
        "[convolutional]\nfilters=16\n[reorg]\nstride=2",
        "[convolutional]\nfilters=36\n[reorg]\nstride=3\nreverse=1",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n[reorg]\nflatten=1\nstride=2",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n[reorg]\nextra=5",
    )
    darknet_form = "blocks"
    flatten = Flag(
        False,
        dialects=PJREDDIE_ONLY,
        help="1: no blocks; the numbers of each cell one after the other, with reverse channel by channel",
    )
    extra = Int(0, least=0, dialects=PJREDDIE_ONLY, help="no blocks; so many zeros after the numbers")
    stride = Int(
        lambda section: 2 if section.dialect.reorg_order == "columns" else 1,
        least=1,
        unit="pixels",
        help="side of the blocks of pixels that become channels (yolor: always 2)",
    )

    def check(self) -> None:
        if self.dialect.reorg_order == "columns" and self.stride != 2:
            what = f"has no effect in the {self.dialect.name} dialect: blocks are 2x2"
            self.warn("stride", what, found=str(self.stride))
        if self.flatten and self.extra:
            self.fault("extra", "not possible with flatten=1", found=str(self.extra), allowed="0")

    def shape(self, x: Shape) -> Shape:
        if self.dialect.reorg_order == "columns":
            return self.space_to_depth_shape(x, 2)
        if self.dialect.reorg_order == "rows":
            return self.space_to_depth_shape(x, self.stride)
        if self.extra:
            return FlatShape(x.size + self.extra, 1, 1)
        self.check_divisor(x, self.stride**2)
        return self.depth_to_space_shape(x) if self.reverse else self.space_to_depth_shape(x, self.stride)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        """YOLOv2's blocks are those of a larger map with the same numbers, in which rows lie elsewhere: told
        are those of maps of any height, of which some are not read where the stride divides the output's."""
        side = x.height // out.height
        if self.dialect.reorg_order in ("columns", "rows"):
            return (blocks(side),)
        if self.extra or self.flatten:
            return (ALL_CELLS,)
        if self.reverse:
            return (pieces(self.stride),)
        return (Sight((CellWindow(side, (side - 1) ** 2, side * (side - 1)),), blocks(side).across),)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import (
            CellOrder,
            ColumnsFirst,
            ExtraZeros,
            Reorder,
            darknet_reorg,
            depth_to_space,
            space_to_depth,
        )

        if self.dialect.reorg_order == "columns":
            return ColumnsFirst()
        if self.dialect.reorg_order == "rows":
            return Reorder(space_to_depth, self.stride)
        if self.extra:
            return ExtraZeros(self.extra)
        if self.flatten:
            return CellOrder(self.shape(x), reverse=self.reverse)
        return Reorder(depth_to_space if self.reverse else darknet_reorg, self.stride)

    def facts(self) -> tuple[str, ...]:
        return ("reorg_order",)


class Reorg3dSection(_ReorderingSection, names="reorg3d"):
    """Blocks of pixels become channels in the order (row, column) = 00, 01, 10, 11; yolor: no effect."""

    dialects = LATER
    examples = (
        "[reorg3d]\nstride=2",
        "[convolutional]\nfilters=16\n[reorg3d]\nstride=2\nreverse=1",
    )
    darknet_form = "nothing"

    @property
    def is_alias(self) -> bool:
        """True in a dialect where the section does nothing."""
        return not self.dialect.has_reorg3d

    def shape(self, x: Shape) -> Shape:
        if not self.dialect.has_reorg3d:
            return x
        if not self.reverse:
            return self.space_to_depth_shape(x, self.stride)
        self.check_divisor(x, self.stride**4)
        return self.depth_to_space_shape(x)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        """In reverse the blocks are made of a larger map with the same numbers: rows jump within a block."""
        if not self.dialect.has_reorg3d:
            return (EACH_CELL,)
        if not self.reverse:
            return (blocks(self.stride),)
        jump = self.stride * (self.stride - 1)
        return (Sight((CellWindow(1, jump, jump, self.stride),), pieces(self.stride).across),)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.resampling import Reorder, reorg3d_reverse, space_to_depth

        if not self.dialect.has_reorg3d:
            return nn.Identity()
        return Reorder(reorg3d_reverse if self.reverse else space_to_depth, self.stride)

    def facts(self) -> tuple[str, ...]:
        return ("has_reorg3d",)


class WaveletTransformSection(Section, names="dwt"):
    """One level of the Haar wavelet transform: means of 2x2 blocks, then three differences per channel."""

    dialects = YOLOR_ONLY
    examples = ("[dwt]",)
    darknet_form = "blocks"
    has_fixed_filters = True

    def shape(self, x: Shape) -> Shape:
        if x.height % 2 or x.width % 2:
            raise self.error("", "needs an even height and width", found=f"input {x}")
        return Shape(4 * x.channels, x.height // 2, x.width // 2)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (blocks(2),)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import Wavelets

        return Wavelets()


class CropSection(Section, names="crop"):
    """Crop the center of the image, then scale values from 0..1 to -1..1.

    In darkflow there is no crop: images are resized to this size instead of that in [net].
    """

    dialects = EARLY
    untrained = "networks with a [crop] are classifiers, which are not trained here"
    examples = ("[crop]\ncrop_height=10\ncrop_width=14", "[crop]\ncrop_height=9\ncrop_width=9\nnoadjust=1")

    crop_height = Int(1, least=1, wanted=True, unit="pixels", help="height of the crop, in pixels")
    crop_width = Int(1, least=1, wanted=True, unit="pixels", help="width of the crop, in pixels")
    noadjust = Flag(False, help="1: do not scale the values")
    flip = Flag(False, use="training", help="flip half of the images horizontally in training")
    angle = Float(0, use="training", unit="degrees", help="maximum random rotation in training, in degrees")
    saturation = Float(
        1, use="training", unit="factor", help="maximum random change of saturation in training, as a factor"
    )
    exposure = Float(
        1, use="training", unit="factor", help="maximum random change of brightness in training, as a factor"
    )
    shift = Float(0, use="training", help="maximum random color shift in training")

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the input in place of those in [net] (utils/process.py of darkflow)."""
        is_given = self.dialect.resizes_to_crop and {"crop_height", "crop_width"} <= self.values.keys()
        return (self.crop_height, self.crop_width) if is_given else None

    def shape(self, x: Shape) -> Shape:
        if self.dialect.resizes_to_crop:
            return x
        lengths = {"crop_height": (self.crop_height, x.height), "crop_width": (self.crop_width, x.width)}
        for key, (left, there) in lengths.items():
            if left > there:
                raise self.error(key, "larger than the input", found=str(left), allowed=f"1 to {there}")
        return Shape(x.channels, self.crop_height, self.crop_width)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        starts = [(there - left) // 2 for there, left in zip(x[1:], out[1:], strict=True)]
        down, across = ((CellWindow(1, -start, start),) for start in starts)
        return (Sight(down, across),)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.resampling import CenterCrop

        is_plain = self.noadjust and not self.dialect.resizes_to_crop
        scale, shift = (1.0, 0.0) if is_plain else (2.0, -1.0)
        _, height, width = self.shape(x)
        return CenterCrop((height, width), scale, shift)

    def facts(self) -> tuple[str, ...]:
        is_whole = (self.crop_height, self.crop_width) == (self.image.height, self.image.width)
        return () if is_whole and not self.noadjust else ("resizes_to_crop",)
