"""[maxpool], [local_avgpool] and [avgpool]: one value per window of a feature map."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY, EARLY, LATER, NOT_PJREDDIE
from yolor_cfg.lang.keys import INT32_MAX, Flag, Int
from yolor_cfg.ops.geometry import blur_geometry, last_window_borders
from yolor_cfg.ops.windows import ALL_CELLS, EACH_CELL, CellWindow, Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from yolor_cfg.ops.pooling import PoolWindow

BLUR_SIZES = {1: 3, 2: 2}  # antialiasing= -> the blur's kernel


class _PoolingSection(Section):
    """The common part of poolings with a sliding window."""

    is_self_contained = True
    stride = Int(1, least=1, unit="pixels", help="stride in pixels")
    stride_x = Int(
        lambda section: section.stride,
        least=1,
        dialects=NOT_PJREDDIE,
        unit="pixels",
        help="horizontal stride; overrides `stride`, but see side_strides",
    )
    stride_y = Int(
        lambda section: section.stride,
        least=1,
        dialects=NOT_PJREDDIE,
        unit="pixels",
        help="vertical stride; overrides `stride`, but see side_strides",
    )
    size = Int(lambda section: section.stride, least=1, unit="pixels", help="height and width of the window")
    padding = Int(
        lambda section: section.size - 1,
        least=0,
        dialects=EARLY,
        unit="pixels",
        help="total padding per axis, both sides together; an odd pixel goes to the right and bottom",
    )

    def check(self) -> None:
        if self.dialect.pool_padding == "half" and "padding" in self.values:
            what = f"has no effect in the {self.dialect.name} dialect"
            self.warn("padding", what, found=str(self.padding))

    def shape(self, x: Shape) -> Shape:
        return self.pooled_shape(x, self.strides)

    @property
    def strides(self) -> tuple[int, int]:
        """Vertical and horizontal."""
        return self.stride_y, self.stride_x

    @property
    def fits_last_window(self) -> bool:
        """Whether, where the dialect pads for the last window, this pool does."""
        return False

    @property
    def border(self) -> int:
        """The total padding per axis, both sides together."""
        if self.dialect.pads_last_window:
            return self.size - 1  # gives the size; less may be padded
        if self.dialect.pool_padding == "size":
            return self.padding
        return 1 if (self.size, *self.strides) == (2, 1, 1) else (self.size - 1) // 2 * 2

    def pooled_shape(self, x: Shape, strides: tuple[int, int]) -> Shape:
        """The shape of the output with these strides."""
        padded = x._replace(height=x.height + self.border, width=x.width + self.border)
        if padded.size > INT32_MAX:
            raise self.error(
                "size", "too large", found=f"{padded} with its padding", allowed=f"{INT32_MAX} values"
            )
        height, width = (
            (length + self.border - self.size) // stride + 1
            for length, stride in zip((x.height, x.width), strides, strict=True)
        )
        return Shape(x.channels, height, width)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (self.pool_sight(x, self.strides),)

    def pool_sight(self, x: Shape, strides: tuple[int, int]) -> Sight:
        """What a pool with these strides reads."""
        return Sight(*map(self._pool_path, x[1:], strides))

    def _pool_path(self, length: int, stride: int) -> tuple[CellWindow]:
        fits_last = self.dialect.pads_last_window and self.fits_last_window
        before, _ = last_window_borders(length, self.size, stride) if fits_last else (self.border // 2, 0)
        return (CellWindow(stride, before, self.size - 1 - before),)

    def build_pool(
        self, function: Callable[[Tensor, PoolWindow], Tensor], strides: tuple[int, int]
    ) -> nn.Module:
        """A module that applies this function from ops.pooling to each window."""
        from yolor_cfg.ops.pooling import PoolLayer, PoolWindow

        return PoolLayer(function, PoolWindow(self.size, strides, self.border))

    def bflops(self, out: Shape, x: Shape) -> float:
        return self.size**2 * x.channels * out.area / 1e9

    def facts(self) -> tuple[str, ...]:
        overlaps = self.size > 2 and max(self.strides) > 1 or "padding" in self.values
        last = ("pads_last_window",) if overlaps else ()
        return self.stride_facts + last + (("pool_padding",) if self.size % 2 == 0 else ())


class MaxPoolSection(_PoolingSection, names="maxpool max"):
    """The maximum of each window, ignoring padding (yolor with size 2 and stride 1: zero padding)."""

    examples = (
        "[maxpool]\nsize=2\nstride=2",
        "[maxpool]\nsize=3\nstride_x=2\nstride_y=3\npadding=1",
        "[maxpool]\nmaxpool_depth=1\nout_channels=3",
        "[maxpool]\nsize=3\nstride=2\nantialiasing=1",
    )
    darknet_form = "maxpool"
    ignored_keys = {"maxpool_zero_nonmax": "GPU training: gradient only to the maximum (default 0)"}

    maxpool_depth = Flag(False, dialects=DARKNET_ONLY, help="1: pool over channels instead of pixels")
    out_channels = Int(
        1,
        least=1,
        dialects=DARKNET_ONLY,
        help="with maxpool_depth: number of output channels; channel g is the "
        "maximum of channels g, g+out_channels, ...",
    )
    antialiasing = Int(
        0,
        least=0,
        most=2,
        dialects=DARKNET_ONLY,
        help="1, 2: pool with stride 1, then a strided blur of 3x3 or 2x2",
    )

    def shape(self, x: Shape) -> Shape:
        if self.maxpool_depth:
            if self.out_channels > x.channels:
                raise self.error(
                    "out_channels",
                    "more channels than the input has",
                    found=str(self.out_channels),
                    allowed=f"1 to {x.channels}",
                )
            return Shape(self.out_channels, x.height, x.width)
        return (
            self._blurred_shape(self.pooled_shape(x, (1, 1)))
            if self.antialiasing
            else self.pooled_shape(x, self.strides)
        )

    def _blurred_shape(self, x: Shape) -> Shape:
        size = BLUR_SIZES[self.antialiasing]
        return Shape(x.channels, *blur_geometry(size, self.strides).positions(size, x.height, x.width))

    fits_last_window = True

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        if self.maxpool_depth:
            return (EACH_CELL,)
        if not self.antialiasing:
            return super().sights(out, x)
        size = BLUR_SIZES[self.antialiasing]
        return (blur_geometry(size, self.strides).sight(size).then(self.pool_sight(x, (1, 1))),)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.pooling import Blur, DepthMaxPool

        if self.maxpool_depth:
            return DepthMaxPool(self.out_channels)
        function = self._find_function()
        if not self.antialiasing:
            return self.build_pool(function, self.strides)
        return nn.Sequential(
            self.build_pool(function, (1, 1)), Blur(BLUR_SIZES[self.antialiasing], self.strides)
        )

    def _find_function(self) -> Callable[[Tensor, PoolWindow], Tensor]:
        from yolor_cfg.ops.pooling import max_pool2d, max_pool2d_same, max_pool2d_zero_pad

        if self.dialect.pads_last_window:
            return max_pool2d_same
        zeros = self.dialect.pads_with_zeros and self.border % 2 == 1
        return max_pool2d_zero_pad if zeros else max_pool2d

    def bflops(self, out: Shape, x: Shape) -> float:
        return super().bflops(self.pooled_shape(x, (1, 1)) if self.antialiasing else out, x)


class LocalAveragePoolSection(_PoolingSection, names="local_avgpool local_avg"):
    """The mean of each window, leaving out the padding (darknet) or counting its zeros (yolor)."""

    dialects = LATER
    thop_reason = "2 for each mean of a window"
    examples = (
        "[local_avgpool]\nsize=2\nstride=2",
        "[local_avgpool]\nsize=3\nstride_x=2\nstride_y=3\npadding=1",
    )
    darknet_form = "local mean"

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.pooling import avg_pool2d, avg_pool2d_zero_pad

        return self.build_pool(
            avg_pool2d_zero_pad if self.dialect.pads_with_zeros else avg_pool2d, self.strides
        )

    def thop_operations(self, out: Shape, x: Shape) -> int:
        return out.size

    def facts(self) -> tuple[str, ...]:
        return self.stride_facts + (("pool_padding", "pads_with_zeros") if self.size > 1 else ())


class AveragePoolSection(Section, names="avgpool avg"):
    """Global average pooling: the mean of each channel over the whole feature map."""

    thop_reason = "2 for each cell of a mean and 2 for the mean"
    examples = ("[avgpool]",)

    def shape(self, x: Shape) -> Shape:
        return Shape(x.channels, 1, 1)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (ALL_CELLS,)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.pooling import GlobalAvgPool

        return GlobalAvgPool()

    def thop_operations(self, out: Shape, x: Shape) -> int:
        return (x.area + 1) * out.size
