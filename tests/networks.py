"""The architecture tables of the papers (arXiv 2105.04206 and 2011.08036), and the sections that follow from
them one by one: what `cfg/` is held against.

A row: stem | stages | block | pyramid | neck x repeats | channels before the predictions | anchors |
activation | implicit. A stage is channels x repeats, b a plain bottleneck; all but the first halve the size.
A stem: channels of a 3x3 convolution, /2 with stride 2, d/2 a CSP convolution, s and w a space-to-depth or a
wavelet transform.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from yolor_cfg.graph import Node
from yolor_cfg.sections.heads import AnchorHeadSection

TABLE = """
yolov4_csp      | 32 64/2     | 64b 128x2 256x8 512x8 1024x4                  | CSP \
  | 512   | 128 256 512 x2         | 256 512 1024           | 640  | mish | no
yolov4_csp_silu | 32 64/2     | 64b 128x2 256x8 512x8 1024x4                  | CSP \
  | 512   | 128 256 512 x2         | 256 512 1024           | 640  | silu | no
yolov4_csp_fast | s 64        | 64b 128x2 256x8 512x8 1024x4                  | CSP \
  | 512   | 128 256 512 x2         | 256 512 1024           | 640  | mish | no
yolov4_csp_x    | 32 80/2     | 80b 160x3 320x10 640x10 1280x5                | CSP \
  | 640 X | 160 320 640 x3         | 320 640 1280           | 640  | silu | no
yolov4_csp_sss  | s s         | 64x1 128x3 256x3 512x1                        | CSP \
  | 256   | 64 128 256 x1          | 128 256 512            | 640  | silu | no
yolov4_csp_ssss | s s s       | 128x3 256x3 512x1                             | CSP \
  | 256   | 64 128 256 x1          | 128 256 512            | 640  | silu | no
yolov4_p5       | 32 64/2     | 64x1 128x3 256x15 512x15 1024x7               | CSP \
  | 512   | 128 256 512 x3         | 256 512 1024           | P5   | mish | no
yolov4_p6       | 32 64/2     | 64x1 128x3 256x15 512x15 1024x7 1024x7        | CSP \
  | 512   | 128 256 512 512 x3     | 256 512 1024 1024      | P6   | mish | no
yolov4_p7       | 40 80/2     | 80x1 160x3 320x15 640x15 1280x7 1280x7 1280x7 | CSP \
  | 640   | 160 320 640 640 640 x3 | 320 640 1280 1280 1280 | P7   | mish | no
yolov4_p6_light | s 64 128/2  | 128x3 256x7 384x7 512x3 640x3                 | CSPF \
  | 320   | 128 192 256 320 x3     | 256 384 512 640        | 1280 | mish | no
yolor_csp       | 32 64/2     | 64b 128x2 256x8 512x8 1024x4                  | CSP \
  | 512   | 128 256 512 x2         | 256 512 1024           | 640  | silu | yes
yolor_csp_fast  | s 64        | 64b 128x2 256x8 512x8 1024x4                  | CSP \
  | 512   | 128 256 512 x2         | 256 512 1024           | 640  | silu | yes
yolor_csp_x     | 32 80/2     | 80b 160x3 320x10 640x10 1280x5                | CSP \
  | 640 X | 160 320 640 x3         | 320 640 1280           | 640  | silu | yes
yolor_csp_sss   | s s         | 64x1 128x3 256x3 512x1                        | CSP \
  | 256   | 64 128 256 x1          | 128 256 512            | 640  | silu | yes
yolor_csp_ssss  | s s s       | 128x3 256x3 512x1                             | CSP \
  | 256   | 64 128 256 x1          | 128 256 512            | 640  | silu | yes
yolor_s         | 16 32/2     | 32b 64x1 128x3 256x3 512x1                    | CSP \
  | 256   | 64 128 256 x1          | 128 256 512            | 640  | silu | yes
yolor_p6        | s 64 128/2  | 128x3 256x7 384x7 512x3 640x3                 | CSPF \
  | 320   | 128 192 256 320 x3     | 256 384 512 640        | 1280 | silu | yes
yolor_w6        | s 64 128/2  | 128x3 256x7 512x7 768x3 1024x3                | CSPF \
  | 512   | 128 256 384 512 x3     | 256 512 768 1024       | 1280 | silu | yes
yolor_e6        | s 80 160d/2 | 160x3 320x7 640x7 960x3 1280x3                | CSPF \
  | 640   | 160 320 480 640 x3     | 320 640 960 1280       | 1280 | silu | yes
yolor_d6        | s 80 160d/2 | 160x3 320x15 640x15 960x7 1280x7              | CSPF \
  | 640   | 160 320 480 640 x3     | 320 640 960 1280       | 1280 | silu | yes
"""
# name: (the row it varies, the stem with wavelets in place of space-to-depth, the paper branch's second norm)
VARIANTS = {
    "yolov4_csp_sss_dwt": ("yolov4_csp_sss", True, False),
    "yolov4_csp_ssss_dwt": ("yolov4_csp_ssss", True, False),
    "yolor_csp_sss_dwt": ("yolor_csp_sss", True, False),
    "yolor_csp_ssss_dwt": ("yolor_csp_ssss", True, False),
    "yolor_csp_ssss_dwt_paper": ("yolor_csp_ssss", True, True),
    "yolor_csp_sss_paper": ("yolor_csp_sss", False, True),
    "yolor_csp_ssss_paper": ("yolor_csp_ssss", False, True),
    "yolor_p6_paper": ("yolor_p6", False, True),
    "yolor_w6_paper": ("yolor_w6", False, True),
    "yolor_e6_paper": ("yolor_e6", False, True),
    "yolor_d6_paper": ("yolor_d6", False, True),
}
# Width and height in pixels, a line for each level, P3 first.
ANCHORS = {
    "640": """12,16 19,36 40,28
              36,75 76,55 72,146
              142,110 192,243 459,401""",
    "1280": """19,27 44,40 38,94
               96,68 86,152 180,137
               140,301 303,264 238,542
               436,615 739,380 925,792""",
    "P5": """13,17 31,25 24,51 61,45
             48,102 119,96 97,189 217,184
             171,384 324,451 616,618 800,800""",
    "P6": """13,17 31,25 24,51 61,45
             61,45 48,102 119,96 97,189
             97,189 217,184 171,384 324,451
             324,451 545,357 616,618 1024,1024""",
    "P7": """13,17 22,25 27,66 55,41
             57,88 112,69 69,177 136,138
             136,138 287,114 134,275 268,248
             268,248 232,504 445,416 640,640
             812,393 477,808 1070,908 1408,1408""",
    "U5": """10,13 16,30 33,23
             30,61 62,45 59,119
             116,90 156,198 373,326""",
}
# Depth, width, image, implicit; the U5R5 networks of Tables A1 and A2.
U5R5 = {
    "u5r5_s": (0.33, 0.50, 640, False),
    "yolor_u5r5_s": (0.33, 0.50, 640, True),
    "u5r5_s6": (0.33, 0.50, 1280, False),
    "u5r5_m6": (0.67, 0.75, 1280, False),
    "u5r5_l6": (1.00, 1.00, 1280, False),
    "u5r5_x6": (1.33, 1.25, 1280, False),
}
CLASSES = 80


class Step(NamedTuple):
    """A section: its type, the sections that it reads, what it does with them."""

    type: str
    sources: tuple[int, ...]
    facts: dict[str, Any]


class Sections:
    """A list of sections under construction; what a method returns is the index of a section."""

    def __init__(self, activation: str, paper: bool = False) -> None:
        self.steps: list[Step] = []
        self.activation = activation
        self.paper = paper

    @property
    def last(self) -> int:
        return len(self.steps) - 1

    def add(self, kind: str, *sources: int, **facts: Any) -> int:
        self.steps.append(Step(kind, sources, facts))
        return self.last

    def conv(self, size: int, filters: int, stride: int = 1, kind: str = "convolutional") -> int:
        return self.add(
            kind,
            self.last,
            filters=filters,
            size=(size,),
            stride=stride,
            pad=True,
            batch_normalize=True,
            activation=self.activation,
        )

    def join(self, *sources: int) -> int:
        return self.add("route", *sources)

    def normed_again(self) -> int:
        if self.paper:
            self.add("BatchNorm2d", self.last)
            self.add("activation", self.last, activation=self.activation)
        return self.last

    def pairs(self, filters: int, repeats: int, residual: bool) -> int:
        for _ in range(repeats):
            x = self.last
            self.conv(1, filters)
            self.conv(3, filters)
            if residual:
                self.add("shortcut", self.last, x, activation="linear")
        return self.last

    def bottleneck(self, filters: int) -> int:
        x = self.last
        self.conv(1, filters // 2)
        self.conv(3, filters)
        return self.add("shortcut", self.last, x, activation="linear")

    def csp(self, filters: int, repeats: int, *, first: bool, residual: bool = True) -> int:
        x = self.last
        cross = self.conv(1, filters // 2)
        self.join(x)
        self.conv(1, filters // 2)
        dense = self.pairs(filters // 2, repeats, residual)
        dense = self.normed_again() if first else self.conv(1, filters // 2)
        self.join(dense, cross)
        return self.conv(1, filters)

    def rcsp(self, filters: int, repeats: int) -> int:
        x = self.conv(1, filters)
        cross = self.conv(1, filters)
        self.join(x)
        self.pairs(filters, repeats, False)
        self.join(self.normed_again(), cross)
        return self.conv(1, filters)

    def pools(self, sizes: tuple[int, ...]) -> list[int]:
        x = self.last
        found: list[int] = []
        for size in sizes:
            if found:
                self.join(x)
            found.append(self.add("maxpool", self.last, stride=1, size=size))
        return found

    def spp(self, filters: int, pairs: int) -> int:
        x = self.last
        cross = self.conv(1, filters)
        self.join(x)
        self.conv(1, filters)
        self.conv(3, filters)
        x = self.conv(1, filters)
        five, nine, thirteen = self.pools((5, 9, 13))
        self.join(thirteen, nine, five, x)
        self.pairs(filters, pairs, False)
        self.join(self.normed_again(), cross)
        return self.conv(1, filters)

    def down(self, filters: int, channels: int, csp: bool) -> int:
        if not csp:
            return self.conv(3, filters, 2)
        x = self.last
        self.conv(1, channels)
        left = self.conv(3, filters // 2, 2)
        self.join(x)
        self.add("maxpool", self.last, size=2, stride=2)
        right = self.conv(1, filters // 2)
        return self.join(left, right)

    def top_down(self, filters: int, lateral: int, repeats: int) -> int:
        self.conv(1, filters)
        above = self.add("upsample", self.last, stride=2)
        self.join(lateral)
        beside = self.conv(1, filters)
        self.join(beside, above)
        return self.rcsp(filters, repeats)

    def heads(self, tips: list[int], widths: list[int], anchors: str, *, implicit: bool, convs: bool) -> None:
        levels = [
            [tuple(map(float, pair.split(","))) for pair in line.split()]
            for line in ANCHORS[anchors].splitlines()
        ]
        filters = len(levels[0]) * (CLASSES + 5)
        shifts = [self.add("implicit_add", filters=width) for width in widths] if implicit else []
        controls = [self.add("implicit_mul", filters=filters) for _ in widths] if implicit else []
        for level, tip in enumerate(tips):
            self.join(tip)
            if convs:
                self.conv(3, widths[level])
            if implicit:
                self.add("shift_channels", self.last, shifts[level])
            self.add(
                "convolutional",
                self.last,
                filters=filters,
                size=(1,),
                stride=1,
                batch_normalize=False,
                activation="linear",
            )
            if implicit:
                self.add("control_channels", self.last, controls[level])
            self.add("yolo", self.last, classes=CLASSES, chosen=levels[level])


def expected(name: str) -> list[Step]:
    """The sections of that network after the tables."""
    if name in U5R5:
        return u5r5(*U5R5[name])
    base, wavelets, paper = VARIANTS.get(name, (name, False, False))
    cells = next(line.split("|")[1:] for line in TABLE.splitlines() if line.split("|")[0].strip() == base)
    stem, stages, block, pyramid, neck, head, anchors, activation, implicit = map(str.strip, cells)
    s = Sections(activation, paper)
    made = begun(s, stem.replace("s", "w") if wavelets else stem)
    csp_downs = "d" in stem
    laterals = []
    for number, stage in enumerate(stages.split()):
        channels, _, repeats = stage.replace("b", "x0").partition("x")
        if number:
            s.down(int(channels), made[0], csp_downs)
        made = int(channels), made[1] * (2 if number else 1)
        tip = s.csp(made[0], int(repeats), first=block == "CSPF") if int(repeats) else s.bottleneck(made[0])
        laterals += [tip] if made[1] >= 8 else []
    *widths, depth = map(int, neck.replace("x", "").split())
    tips = [s.spp(int(pyramid.split()[0]), 2 if "X" in pyramid else 1)]
    for level in range(len(widths) - 2, -1, -1):
        tips.insert(0, s.top_down(widths[level], laterals[level], depth))
    ends = tips[:1]
    for level in range(1, len(widths)):
        below = s.down(widths[level], widths[level - 1], csp_downs)
        s.join(below, tips[level])
        ends.append(s.rcsp(widths[level], depth))
    s.heads(ends, list(map(int, head.split())), anchors, implicit=implicit == "yes", convs=True)
    return s.steps


def begun(s: Sections, stem: str) -> tuple[int, int]:
    """Write the stem; its channels and its stride."""
    channels, stride = 3, 1
    for step in stem.split():
        if step in "sw":
            s.add({"s": "reorg", "w": "dwt"}[step], s.last)
            channels, stride = channels * 4, stride * 2
            continue
        filters, _, halves = step.partition("/")
        if "d" in filters:
            s.down(int(filters[:-1]), channels, True)
        else:
            s.conv(3, int(filters), 2 if halves else 1)
        channels, stride = int(filters.rstrip("d")), stride * (2 if halves else 1)
    return channels, stride


def u5r5(depth: float, width: float, image: int, implicit: bool) -> list[Step]:
    """YOLOv5 r5.0 (10.5281/zenodo.4679653)."""
    s = Sections("silu")

    def c(channels: int) -> int:
        return -(-int(channels * width) // 8) * 8

    def n(repeats: int) -> int:
        return max(round(repeats * depth), 1)

    s.conv(3, c(64), kind="focus")
    s.conv(3, c(128), 2)
    s.csp(c(128), n(3), first=True)
    s.conv(3, c(256), 2)
    maps = [s.csp(c(256), n(9), first=True)]
    s.conv(3, c(512), 2)
    maps.append(s.csp(c(512), n(9), first=True))
    if image == 1280:
        s.conv(3, c(768), 2)
        maps.append(s.csp(c(768), n(3), first=True))
    s.conv(3, c(1024), 2)
    x = s.conv(1, c(1024) // 2)
    s.join(x, *s.pools((3, 5, 7) if image == 1280 else (5, 9, 13)))
    s.conv(1, c(1024))
    s.csp(c(1024), n(3), first=True, residual=False)
    widths = [256, 512, 768, 1024] if image == 1280 else [256, 512, 1024]
    narrow: list[int] = []
    for beside, channels in reversed(list(zip(maps, widths[:-1], strict=True))):
        narrow.insert(0, s.conv(1, c(channels)))
        up = s.add("upsample", s.last, stride=2)
        s.join(up, beside)
        tip = s.csp(c(channels), n(3), first=True, residual=False)
    ends = [tip]
    for beside, below, channels in zip(narrow, widths, widths[1:], strict=False):
        down = s.conv(3, c(below), 2)
        s.join(down, beside)
        ends.append(s.csp(c(channels), n(3), first=True, residual=False))
    anchors = "1280" if image == 1280 else "U5"
    s.heads(ends, [c(channels) for channels in widths], anchors, implicit=implicit, convs=False)
    return s.steps


def described(node: Node, facts: dict[str, Any]) -> dict[str, Any]:
    """What a node says of the facts expected."""
    told = {key: getattr(node.section, key) for key in facts if key != "chosen"}
    if "chosen" in facts:
        assert isinstance(node.section, AnchorHeadSection)
        anchors = list(zip(node.section.anchors[::2], node.section.anchors[1::2], strict=True))
        told["chosen"] = [anchors[number] for number in node.section.mask]
    return told
