"""The YOLOv4-CSP and YOLOR networks from rows of a table: stem, backbone, neck
(YOLOR: arXiv 2105.04206, Figures A1 to A3; Scaled-YOLOv4: arXiv 2011.08036)."""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.networks.blocks import (
    CfgWriter,
    HeadsConfig,
    NetworkStyle,
    write_bottleneck,
    write_csp,
    write_csp_downsample,
    write_csp_first,
    write_csp_spp,
    write_downsample,
    write_rcsp,
    write_top_down,
)

# The stems of Figure A2 by letter. Steps: `c32` is a 3x3 convolution with 32 filters, `c64/2` one with
# stride 2, `d160/2` a CSP convolution (Figure A1 d); `reorg` and `dwt` turn 2x2 cells into one.
STEMS = {
    "A": "c32 c64/2",
    "A, X": "c32 c80/2",
    "A, P7": "c40 c80/2",
    "A, S": "c16 c32/2",
    "B": "reorg c64",
    "C": "reorg reorg",
    "C, DWT": "dwt dwt",
    "D": "reorg c64 c128/2",
    "E": "reorg c80 d160/2",
    "F": "reorg reorg reorg",
    "F, DWT": "dwt dwt dwt",
    "D, nano": "reorg c24 c48/2",
    "D, micro": "reorg c16 c24/2",
}
BLOCK_TITLES = {"csp": "CSP block (fusion last)", "csp_first": "CSP block (fusion first)"}


class YolorRow(NamedTuple):
    """One network. `stem` names one of `STEMS`; `stages` are (channels, repeats) from fine to coarse, the
    first at the stem's stride, each later one at half the resolution; 0 repeats are a plain bottleneck;
    `neck` and `head` are channels from P3 up; `anchors` are in pixels (width,height), P3 first."""

    stem: str
    stages: tuple[tuple[int, int], ...]
    spp: int
    neck: tuple[int, ...]
    repeats: int
    head: tuple[int, ...]
    anchors: str
    size: int
    activation: str = "silu"
    implicit: bool = False
    block: str = "csp"
    spp_pairs: int = 1
    has_csp_downsampling: bool = False
    paper: bool = False

    @property
    def summary(self) -> str:
        """One line about the architecture."""
        heads = " ".join(f"P{level}" for level, _ in enumerate(self.head, start=3))
        paper = ["dense branches normalised and activated twice"] if self.paper else []
        implicit = ["implicit knowledge"] if self.implicit else []
        facts = [f"topology {self.topology}", f"heads {heads}", *implicit, *paper]
        return f"Stem {self.stem[0]} (Figure A2), {', '.join(facts)}."

    @property
    def details(self) -> str:
        """What tells it from others of its architecture."""
        stem = STEMS[self.stem]
        transform = {"reorg": ["space-to-depth"], "dwt": ["wavelets"]}.get(stem.split()[0], [])
        channels = f"{self.stages[0][0]} to {self.stages[-1][0]} channels"
        blocks = "-".join(str(repeats) for _, repeats in self.stages)
        return ", ".join([self.activation, *transform, channels, f"blocks {blocks}"])

    @property
    def topology(self) -> int:
        """The number in Figure A3, from how often the stem halves the image, and whether there is a P6."""
        halvings = sum(step in ("reorg", "dwt") or step.endswith("/2") for step in STEMS[self.stem].split())
        return {1: 1, 3: 4}.get(halvings, 3 if len(self.head) > 3 else 2)

    @property
    def style(self) -> NetworkStyle:
        """What the whole network has in common."""
        return NetworkStyle(self.activation, self.paper)

    @property
    def bn_eps(self) -> str:
        """The epsilon of batch norm if it differs from the dialect's."""
        return ".001" if self.paper else ""

    def heads_config(self, classes: int) -> HeadsConfig:
        """The configuration of the heads."""
        return HeadsConfig(self.head, self.anchors, classes, self.implicit)

    def write_body(self, w: CfgWriter) -> list[int]:
        """Write stem, backbone and neck; returns the indices of the maps that the heads read, P3 first."""
        return _write_neck(w, self, _write_backbone(w, self))


def _write_backbone(w: CfgWriter, row: YolorRow) -> list[int]:
    """Write stem and stages; returns the index of the last section of each stage from P3 up."""
    channels, stride = _write_stem(w, row)
    tips: list[int] = []
    for number, (filters, repeats) in enumerate(row.stages):
        step = ("CSP convolution/2, " if row.has_csp_downsampling else "3x3/2, ") if number else ""
        stride = 2 * stride if number else stride
        level = stride.bit_length() - 1
        repeated = f"{repeats} bottleneck{'s' if repeats > 1 else ''}"
        block = f"{BLOCK_TITLES[row.block]} of {repeated}" if repeats else "bottleneck"
        w.start_part(f"backbone P{level}, stride {stride}: {step}{block}, {filters} channels")
        if number:
            _write_downsample(w, row, filters, channels=channels)
        tip = _write_stage(w, row, filters, repeats=repeats)
        w.name_section(tip, f"P{level} of the backbone, {filters} channels")
        tips += [tip] if stride >= 8 else []
        channels = filters
    return tips


def _write_stem(w: CfgWriter, row: YolorRow) -> tuple[int, int]:
    """Write the stem; returns its channels and its stride."""
    w.start_part(f"stem {row.stem}: {STEMS[row.stem]}")
    channels, stride = 3, 1
    for step in STEMS[row.stem].split():
        if step in ("reorg", "dwt"):
            w.add(step)
            channels, stride = 4 * channels, 2 * stride
            continue
        halves = step.endswith("/2")
        filters = int(step[1:].removesuffix("/2"))
        if step[0] == "d":
            write_csp_downsample(w, filters, channels)
        else:
            w.conv(3, filters, stride=2 if halves else 1)
        channels, stride = filters, stride * (2 if halves else 1)
    return channels, stride


def _write_stage(w: CfgWriter, row: YolorRow, filters: int, *, repeats: int) -> int:
    if not repeats:
        return write_bottleneck(w, filters)
    return (write_csp_first if row.block == "csp_first" else write_csp)(w, filters, repeats)


def _write_downsample(w: CfgWriter, row: YolorRow, filters: int, *, channels: int) -> int:
    return (
        write_csp_downsample(w, filters, channels)
        if row.has_csp_downsampling
        else write_downsample(w, filters)
    )


def _write_neck(w: CfgWriter, row: YolorRow, laterals: list[int]) -> list[int]:
    """SPP on the coarsest level, top-down to P3, bottom-up again; returns the heads' maps, P3 first."""
    top = len(laterals) - 1
    w.start_part(f"neck, spatial pyramid pooling on P{top + 3}: {row.spp} channels")
    tips = {
        top: w.name_section(
            write_csp_spp(w, row.spp, pairs=row.spp_pairs), f"P{top + 3} after the pyramid pooling"
        )
    }
    for level in reversed(range(top)):
        what = f"P{level + 3} of the way down"
        w.start_part(f"neck, top-down to P{level + 3}: {row.neck[level]} channels")
        tip = write_top_down(w, row.neck[level], lateral=laterals[level], repeats=row.repeats)
        tips[level] = w.name_section(tip, f"{what}, {row.neck[level]} channels")
    levels = [tips[0]]
    for level in range(1, top + 1):
        w.start_part(f"neck, bottom-up to P{level + 3}: {row.neck[level]} channels")
        _write_downsample(w, row, row.neck[level], channels=row.neck[level - 1])
        w.route(-1, tips[level])
        tip = write_rcsp(w, row.neck[level], row.repeats)
        levels.append(w.name_section(tip, f"P{level + 3} of the way up, {row.neck[level]} channels"))
    return levels
