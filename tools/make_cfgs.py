"""Writes every network of `cfg/` from one table: `python tools/make_cfgs.py [NAME ...] [--out cfg]
[--check]`.

A row of `FAMILY` is a network: stem, stages, neck, heads, anchors, activation, implicit. The rows are the
architecture tables of the papers (YOLOR: arXiv 2105.04206, Figures A1 to A3; Scaled-YOLOv4: arXiv
2011.08036).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import click
from cfg_blocks import (
    Head,
    Style,
    Writer,
    bottleneck,
    csp,
    csp_first,
    csp_spp,
    down,
    down_csp,
    predict,
    rcsp,
    top_down,
)

# Anchors in pixels (width,height), fine to coarse; the levels share them out evenly.
ANCHORS = {
    "640": "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401",
    "1280": "19,27, 44,40, 38,94, 96,68, 86,152, 180,137, 140,301, 303,264, 238,542, "
    "436,615, 739,380, 925,792",
    "P5": "13,17, 31,25, 24,51, 61,45, 48,102, 119,96, 97,189, 217,184, 171,384, 324,451, 616,618, 800,800",
    "P6": "13,17, 31,25, 24,51, 61,45, 61,45, 48,102, 119,96, 97,189, 97,189, 217,184, 171,384, 324,451, "
    "324,451, 545,357, 616,618, 1024,1024",
    "P7": "13,17, 22,25, 27,66, 55,41, 57,88, 112,69, 69,177, 136,138, 136,138, 287,114, 134,275, 268,248, "
    "268,248, 232,504, 445,416, 640,640, 812,393, 477,808, 1070,908, 1408,1408",
}


class Row(NamedTuple):
    """One network. `stem` is a list of steps: `c32` a 3x3 convolution, `c64/2` with stride 2, `d160/2` a CSP
    convolution, `reorg`, `dwt`. `stages` are (channels, repeats) from fine to coarse, repeats 0 a plain
    bottleneck; `enters` says that the stem already has the first stage's stride. `neck` and `head` run from
    P3 up."""

    stem: str
    stages: tuple[tuple[int, int], ...]
    enters: bool
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
    csp_downs: bool = False
    paper: bool = False


CSP = Row(
    "c32 c64/2",
    ((64, 0), (128, 2), (256, 8), (512, 8), (1024, 4)),
    True,
    512,
    (128, 256, 512),
    2,
    (256, 512, 1024),
    "640",
    640,
)
FAST = CSP._replace(stem="reorg c64")
CSP_X = Row(
    "c32 c80/2",
    ((80, 0), (160, 3), (320, 10), (640, 10), (1280, 5)),
    True,
    640,
    (160, 320, 640),
    3,
    (320, 640, 1280),
    "640",
    640,
    spp_pairs=2,
)
S = Row(
    "c16 c32/2",
    ((32, 0), (64, 1), (128, 3), (256, 3), (512, 1)),
    True,
    256,
    (64, 128, 256),
    1,
    (128, 256, 512),
    "640",
    640,
)
SSS = S._replace(stem="reorg reorg", stages=S.stages[1:])
SSSS = S._replace(stem="reorg reorg reorg", stages=S.stages[2:])
LIGHT = Row(
    "reorg c64 c128/2",
    ((128, 3), (256, 7), (384, 7), (512, 3), (640, 3)),
    True,
    320,
    (128, 192, 256, 320),
    3,
    (256, 384, 512, 640),
    "1280",
    1280,
    block="csp_first",
)
W6 = LIGHT._replace(
    stages=((128, 3), (256, 7), (512, 7), (768, 3), (1024, 3)),
    spp=512,
    neck=(128, 256, 384, 512),
    head=(256, 512, 768, 1024),
)
E6 = LIGHT._replace(
    stem="reorg c80 d160/2",
    stages=((160, 3), (320, 7), (640, 7), (960, 3), (1280, 3)),
    spp=640,
    neck=(160, 320, 480, 640),
    head=(320, 640, 960, 1280),
    csp_downs=True,
)
D6 = E6._replace(stages=((160, 3), (320, 15), (640, 15), (960, 7), (1280, 7)))
P5 = Row(
    "c32",
    ((64, 1), (128, 3), (256, 15), (512, 15), (1024, 7)),
    False,
    512,
    (128, 256, 512),
    3,
    (256, 512, 1024),
    "P5",
    896,
    "mish",
)
P6 = P5._replace(
    stages=(*P5.stages, (1024, 7)), neck=(*P5.neck, 512), head=(*P5.head, 1024), anchors="P6", size=1280
)
P7 = Row(
    "c40",
    ((80, 1), (160, 3), (320, 15), (640, 15), (1280, 7), (1280, 7), (1280, 7)),
    False,
    640,
    (160, 320, 640, 640, 640),
    3,
    (320, 640, 1280, 1280, 1280),
    "P7",
    1536,
    "mish",
)
# Two of our own, for CPUs and for teaching: the whole of YOLOR in little.
NANO = Row(
    "reorg c24 c48/2",
    ((48, 1), (96, 2), (144, 2), (192, 1)),
    True,
    96,
    (48, 72, 96),
    1,
    (80, 112, 160),
    "640",
    640,
    implicit=True,
    block="csp_first",
)
MICRO = Row(
    "reorg c16 c24/2",
    ((24, 1), (48, 1), (64, 1), (96, 1)),
    True,
    48,
    (24, 32, 48),
    1,
    (40, 56, 80),
    "640",
    320,
    implicit=True,
    block="csp_first",
)

FAMILY: dict[str, Row] = {
    "yolov4_csp": CSP._replace(activation="mish"),
    "yolov4_csp_silu": CSP,
    "yolov4_csp_fast": FAST._replace(activation="mish"),
    "yolov4_csp_x": CSP_X,
    "yolov4_csp_sss": SSS,
    "yolov4_csp_sss_dwt": SSS._replace(stem="dwt dwt"),
    "yolov4_csp_ssss": SSSS,
    "yolov4_csp_ssss_dwt": SSSS._replace(stem="dwt dwt dwt"),
    "yolov4_p5": P5,
    "yolov4_p6": P6,
    "yolov4_p7": P7,
    "yolov4_p6_light": LIGHT._replace(activation="mish"),
    "yolor_csp": CSP._replace(implicit=True),
    "yolor_csp_fast": FAST._replace(implicit=True),
    "yolor_csp_x": CSP_X._replace(implicit=True),
    "yolor_csp_sss": SSS._replace(implicit=True),
    "yolor_csp_sss_paper": SSS._replace(implicit=True, paper=True),
    "yolor_csp_sss_dwt": SSS._replace(implicit=True, stem="dwt dwt"),
    "yolor_csp_ssss": SSSS._replace(implicit=True),
    "yolor_csp_ssss_paper": SSSS._replace(implicit=True, paper=True),
    "yolor_csp_ssss_dwt": SSSS._replace(implicit=True, stem="dwt dwt dwt"),
    "yolor_csp_ssss_dwt_paper": SSSS._replace(implicit=True, stem="dwt dwt dwt", paper=True),
    "yolor_s": S._replace(implicit=True),
    "yolor_p6": LIGHT._replace(implicit=True),
    "yolor_p6_paper": LIGHT._replace(implicit=True, paper=True),
    "yolor_w6": W6._replace(implicit=True),
    "yolor_w6_paper": W6._replace(implicit=True, paper=True),
    "yolor_e6": E6._replace(implicit=True),
    "yolor_e6_paper": E6._replace(implicit=True, paper=True),
    "yolor_d6": D6._replace(implicit=True),
    "yolor_d6_paper": D6._replace(implicit=True, paper=True),
    "yolor_nano": NANO,
    "yolor_micro": MICRO,
}


def cfg_text(name: str, row: Row, *, classes: int = 80) -> str:
    """The whole cfg of one row."""
    w = Writer(Style(row.activation, row.paper))
    w.net(**_net(row))
    laterals = _backbone(w, row)
    levels = _neck(w, row, laterals)
    shifts, controls = _implicit(w, row, classes)
    for level, tip in enumerate(levels):
        w.note(f"head P{level + 3}, stride {8 << level}")
        w.route(tip)
        w.conv(3, row.head[level])
        predict(w, _head(row, level, classes), shift=shifts.get(level), control=controls.get(level))
    heading = (
        f"# {name}: written by tools/make_cfgs.py from one row of its table; change the row, not this file.\n"
    )
    return heading + w.text


def _net(row: Row) -> dict[str, object]:
    values: dict[str, object] = {"dialect": "yolor", "width": row.size, "height": row.size, "channels": 3}
    if row.paper:
        values["bn_eps"] = ".001"
    return values | {
        "batch": 64,
        "subdivisions": 8,
        "learning_rate": ".01",
        "momentum": ".937",
        "decay": ".0005",
    }


def _backbone(w: Writer, row: Row) -> list[int]:
    """Stem and stages; the index of the last section of each stage from P3 up."""
    channels, stride = _stem(w, row.stem)
    tips: dict[int, int] = {}
    for number, (filters, repeats) in enumerate(row.stages):
        enters = row.enters and number == 0
        stride = stride if enters else 2 * stride
        kind = f"{repeats} x {row.block}" if repeats else "a bottleneck"
        w.note(f"backbone, stride {stride}: {filters} channels, {kind}")
        if not enters:
            _down(w, row, filters, channels=channels)
        tips[stride] = _stage(w, row, filters, repeats=repeats)
        channels = filters
    return [tip for stride, tip in tips.items() if stride >= 8]


def _stem(w: Writer, steps: str) -> tuple[int, int]:
    """The stem; returns its channels and its stride."""
    w.note(f"stem: {steps}")
    channels, stride = 3, 1
    for step in steps.split():
        if step in ("reorg", "dwt"):
            w.add(step)
            channels, stride = 4 * channels, 2 * stride
            continue
        halves = step.endswith("/2")
        filters = int(step[1:].removesuffix("/2"))
        if step[0] == "d":
            down_csp(w, filters, channels)
        else:
            w.conv(3, filters, stride=2 if halves else 1)
        channels, stride = filters, stride * (2 if halves else 1)
    return channels, stride


def _stage(w: Writer, row: Row, filters: int, *, repeats: int) -> int:
    if not repeats:
        return bottleneck(w, filters)
    return (csp_first if row.block == "csp_first" else csp)(w, filters, repeats)


def _down(w: Writer, row: Row, filters: int, *, channels: int) -> int:
    return down_csp(w, filters, channels) if row.csp_downs else down(w, filters)


def _neck(w: Writer, row: Row, laterals: list[int]) -> list[int]:
    """SPP on the coarsest level, top-down to P3, bottom-up again; the tips that the heads read, fine to
    coarse."""
    w.note(f"neck: SPP on P{len(laterals) + 2}, {row.spp} channels")
    tips = {len(laterals) - 1: csp_spp(w, row.spp, pairs=row.spp_pairs)}
    for level in range(len(laterals) - 2, -1, -1):
        w.note(f"top-down to P{level + 3}: {row.neck[level]} channels")
        tips[level] = top_down(w, row.neck[level], lateral=laterals[level], repeats=row.repeats)
    levels = [tips[0]]
    for level in range(1, len(laterals)):
        w.note(f"bottom-up to P{level + 3}: {row.neck[level]} channels")
        _down(w, row, row.neck[level], channels=row.neck[level - 1])
        w.route(-1, tips[level])
        levels.append(rcsp(w, row.neck[level], row.repeats))
    return levels


def _implicit(w: Writer, row: Row, classes: int) -> tuple[dict[int, int], dict[int, int]]:
    """All additions, then all multiplications, fine to coarse; their indices by level."""
    if not row.implicit:
        return {}, {}
    w.note(
        "implicit knowledge: feature alignment (added before the predictions), prediction refinement (times)"
    )
    shifts = {level: w.add("implicit_add", filters=filters) for level, filters in enumerate(row.head)}
    controls = {
        level: w.add("implicit_mul", filters=_head(row, level, classes).filters)
        for level in range(len(row.head))
    }
    return shifts, controls


def _head(row: Row, level: int, classes: int) -> Head:
    anchors = ANCHORS[row.anchors]
    each = (anchors.count(",") // 2 + 1) // len(row.head)
    return Head(tuple(range(level * each, (level + 1) * each)), anchors, classes)


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(__file__).parents[1] / "cfg",
    help="folder that is written to",
)
@click.option("--classes", default=80, show_default=True, help="number of classes")
@click.option("--size", type=int, help="width and height of the image")
@click.option("--activation", help="activation of every convolution")
@click.option("--check", is_flag=True, help="write nothing; exit 1 if a file differs from the table")
def main(names: tuple[str, ...], **options: object) -> None:
    """Write the networks NAMES (all of them when none is given)."""
    unknown = [name for name in names if name not in FAMILY]
    if unknown:
        raise click.UsageError(f"unknown network {unknown[0]}; known: {', '.join(FAMILY)}")
    out, stale = Path(str(options["out"])), []
    for name in names or FAMILY:
        text = cfg_text(name, _varied(FAMILY[name], options), classes=int(str(options["classes"])))
        path = out / f"{name}.cfg"
        if options["check"]:
            stale += [] if path.exists() and path.read_text() == text else [path.name]
            continue
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if stale:
        sys.exit(f"differs from the table: {', '.join(stale)}; run python tools/make_cfgs.py")


def _varied(row: Row, options: dict[str, object]) -> Row:
    changes = {key: options[key] for key in ("size", "activation") if options[key] is not None}
    return row._replace(**changes)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
