"""The U5R5 networks of the paper's Tables A1 and A2 (10.5281/zenodo.4679653) from rows of depth and width."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from yolor_cfg.networks.blocks import Heads, Style, Writer, csp_first, down, pools


class U5Row(NamedTuple):
    """One network: `depth` times the repeats, `width` times the channels (to a multiple of 8) of the stages
    (channels, repeats) P2, P3, ...; `pooling` are the sizes of the coarsest level's pyramid."""

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
    def style(self) -> Style:
        """What is the same in all of it."""
        return Style(self.activation)

    @property
    def bn_eps(self) -> str:
        """The epsilon of batch norm, as in the paper branch."""
        return ".001"

    def channels(self, channels: int) -> int:
        """So many at width 1, scaled."""
        return ceil(channels * self.width / 8) * 8

    def repeats(self, repeats: int) -> int:
        """So many at depth 1, scaled."""
        return max(round(repeats * self.depth), 1)

    def heads(self, classes: int) -> Heads:
        """What the heads need to know; they predict on the neck's maps as they are."""
        widths = tuple(self.channels(channels) for channels, _ in self.stages[1:])
        return Heads(widths, self.anchors, classes, self.implicit, convs=False)

    def body(self, w: Writer) -> list[int]:
        """Write backbone and neck; the indices of the maps that the heads read, P3 first."""
        return _bottom_up(w, self, _top_down(w, self, _backbone(w, self)))


def _backbone(w: Writer, row: U5Row) -> list[int]:
    """The index of the last section of P3, P4, ..."""
    stem = row.channels(64)
    w.part(f"stem: focus, {stem} channels")
    w.conv(3, stem, kind="focus")
    tips = []
    top = len(row.stages) + 1
    for level, (channels, repeats) in enumerate(row.stages, start=2):
        filters, repeats = row.channels(channels), row.repeats(repeats)
        pyramid = "pyramid pooling, " if level == top else ""
        block = f"{pyramid}C3 block of {repeats} bottleneck{'s' if repeats > 1 else ''}"
        w.part(f"backbone P{level}, stride {1 << level}: 3x3/2, {block}, {filters} channels")
        down(w, filters)
        if pyramid:
            _pyramid(w, filters, row.pooling)
        tip = _c3(w, filters, repeats, residual=not pyramid)
        tips.append(w.name(tip, f"P{level} of the backbone, {filters} channels"))
    return tips[1:]


def _c3(w: Writer, filters: int, repeats: int, *, residual: bool) -> int:
    """What these networks call their cross stage partial block: fusion first."""
    return csp_first(w, filters, repeats, kind="c3", residual=residual)


def _pyramid(w: Writer, filters: int, sizes: tuple[int, ...]) -> None:
    """1x1 to half the channels, beside it its max-poolings, 1x1 back."""
    w.conv(1, filters // 2)
    pools(w, sizes)
    w.route(-2 * len(sizes), *range(1 - 2 * len(sizes), 0, 2))
    w.conv(1, filters)


def _top_down(w: Writer, row: U5Row, laterals: list[int]) -> list[int]:
    """From the coarsest level to P3; the index of the 1x1 of each level above P3, and last P3's tip."""
    narrow = []
    for level in reversed(range(len(laterals) - 1)):
        filters = _neck_channels(row, level)
        w.part(f"neck, top-down to P{level + 3}: {filters} channels")
        narrow.append(w.name(w.conv(1, filters), f"P{level + 4} of the way down, {filters} channels"))
        w.add("upsample", stride=2)
        w.route(-1, laterals[level])
        tip = _c3(w, filters, row.repeats(3), residual=False)
    return [w.name(tip, f"P3 of the way down, {filters} channels"), *reversed(narrow)]


def _bottom_up(w: Writer, row: U5Row, ways: list[int]) -> list[int]:
    """From P3 to the coarsest level; `ways` are P3's tip and the 1x1 of each level above."""
    levels = ways[:1]
    for level, narrow in enumerate(ways[1:], start=1):
        filters = _neck_channels(row, level)
        w.part(f"neck, bottom-up to P{level + 3}: {filters} channels")
        down(w, _neck_channels(row, level - 1))
        w.route(-1, narrow)
        tip = _c3(w, filters, row.repeats(3), residual=False)
        levels.append(w.name(tip, f"P{level + 3} of the way up, {filters} channels"))
    return levels


def _neck_channels(row: U5Row, level: int) -> int:
    return row.channels(row.stages[level + 1][0])
