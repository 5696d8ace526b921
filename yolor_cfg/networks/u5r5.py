"""The U5R5 networks of the paper's Tables A1 and A2 (10.5281/zenodo.4679653), by depth and width."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from yolor_cfg.networks.blocks import (
    CfgWriter,
    HeadsConfig,
    NetworkStyle,
    write_csp_first,
    write_downsample,
    write_max_pools,
)


class U5R5Row(NamedTuple):
    """One network: `depth` scales the repeats and `width` the channels (rounded up to a multiple of 8) of the
    stages P2, P3, ... (channels, repeats); `pooling` are the pooling sizes of the coarsest level."""

    depth: float
    width: float
    anchors: str
    stages: tuple[tuple[int, int], ...]
    pooling: tuple[int, ...]
    size: int
    activation: str = "silu"
    implicit: bool = False

    @property
    def summary(self) -> str:
        """One line about the architecture."""
        heads = " ".join(f"P{level}" for level, _ in enumerate(self.stages[1:], start=3))
        implicit = ", implicit knowledge" if self.implicit else ""
        return f"U5R5 of Tables A1 and A2: depth {self.depth}, width {self.width}, heads {heads}{implicit}."

    @property
    def details(self) -> str:
        """What tells it from others of its architecture."""
        return self.activation

    @property
    def style(self) -> NetworkStyle:
        """What the whole network has in common."""
        return NetworkStyle(self.activation)

    @property
    def bn_eps(self) -> str:
        """The epsilon of batch norm, as in the paper branch."""
        return ".001"

    def scale_channels(self, channels: int) -> int:
        """Scale a number of channels by the width."""
        return ceil(channels * self.width / 8) * 8

    def scale_repeats(self, repeats: int) -> int:
        """Scale a number of repeats by the depth."""
        return max(round(repeats * self.depth), 1)

    def heads_config(self, classes: int) -> HeadsConfig:
        """The configuration of the heads, which predict directly from the neck's maps."""
        widths = tuple(self.scale_channels(channels) for channels, _ in self.stages[1:])
        return HeadsConfig(widths, self.anchors, classes, self.implicit, has_convs=False)

    def write_body(self, w: CfgWriter) -> list[int]:
        """Write backbone and neck; returns the indices of the maps that the heads read, P3 first."""
        return _write_bottom_up(w, self, _write_top_down(w, self, _write_backbone(w, self)))


def _write_backbone(w: CfgWriter, row: U5R5Row) -> list[int]:
    """Write the backbone; returns the index of the last section of P3, P4, ..."""
    stem = row.scale_channels(64)
    w.start_part(f"stem: focus, {stem} channels")
    w.conv(3, stem, kind="focus")
    tips = []
    top = len(row.stages) + 1
    for level, (channels, repeats) in enumerate(row.stages, start=2):
        filters, repeats = row.scale_channels(channels), row.scale_repeats(repeats)
        pyramid = "pyramid pooling, " if level == top else ""
        block = f"{pyramid}C3 block of {repeats} bottleneck{'s' if repeats > 1 else ''}"
        w.start_part(f"backbone P{level}, stride {1 << level}: 3x3/2, {block}, {filters} channels")
        write_downsample(w, filters)
        if pyramid:
            _write_pyramid_pooling(w, filters, row.pooling)
        tip = _write_c3(w, filters, repeats, residual=not pyramid)
        tips.append(w.name_section(tip, f"P{level} of the backbone, {filters} channels"))
    return tips[1:]


def _write_c3(w: CfgWriter, filters: int, repeats: int, *, residual: bool) -> int:
    """The cross stage partial block of these networks: fusion first."""
    return write_csp_first(w, filters, repeats, kind="c3", residual=residual)


def _write_pyramid_pooling(w: CfgWriter, filters: int, sizes: tuple[int, ...]) -> None:
    """1x1 to half the channels, concatenated with its max-poolings, 1x1 back to all."""
    w.conv(1, filters // 2)
    write_max_pools(w, sizes)
    w.route(-2 * len(sizes), *range(1 - 2 * len(sizes), 0, 2))
    w.conv(1, filters)


def _write_top_down(w: CfgWriter, row: U5R5Row, laterals: list[int]) -> list[int]:
    """From the coarsest level to P3; returns P3's tip, then the index of the 1x1 of each coarser level."""
    narrow = []
    for level in reversed(range(len(laterals) - 1)):
        filters = _neck_channels(row, level)
        w.start_part(f"neck, top-down to P{level + 3}: {filters} channels")
        narrow.append(w.name_section(w.conv(1, filters), f"P{level + 4} of the way down, {filters} channels"))
        w.add("upsample", stride=2)
        w.route(-1, laterals[level])
        tip = _write_c3(w, filters, row.scale_repeats(3), residual=False)
    return [w.name_section(tip, f"P3 of the way down, {filters} channels"), *reversed(narrow)]


def _write_bottom_up(w: CfgWriter, row: U5R5Row, laterals: list[int]) -> list[int]:
    """From P3 to the coarsest level; `laterals` are P3's tip and the 1x1 of each coarser level."""
    levels = laterals[:1]
    for level, narrow in enumerate(laterals[1:], start=1):
        filters = _neck_channels(row, level)
        w.start_part(f"neck, bottom-up to P{level + 3}: {filters} channels")
        write_downsample(w, _neck_channels(row, level - 1))
        w.route(-1, narrow)
        tip = _write_c3(w, filters, row.scale_repeats(3), residual=False)
        levels.append(w.name_section(tip, f"P{level + 3} of the way up, {filters} channels"))
    return levels


def _neck_channels(row: U5R5Row, level: int) -> int:
    return row.scale_channels(row.stages[level + 1][0])
