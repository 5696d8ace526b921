"""The networks of `cfg/`, one table row each: `yolor new NAME` writes one of them, `tools/make_cfgs.py` all.

A row is a network; to add a network, add a row. Its stem is a letter of Figure A2 (`STEMS` in
yolor.py says what it is); the letter gives the topology of Figure A3:

    topology 1, stems A and B (stride 2):  stages B1 to B5, heads P3 to P5 (YOLOv4-P6: to 6, P7: to 7)
    topology 2, stem C (stride 4):         stages B2 to B5, heads P3 to P5
    topology 3, stems D and E (stride 4):  stages B2 to B6, heads P3 to P6
    topology 4, stem F (stride 8):         stages B3 to B5, heads P3 to P5
"""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.networks.blocks import CfgWriter, write_heads
from yolor_cfg.networks.u5r5 import U5R5Row
from yolor_cfg.networks.yolor import YolorRow

# Anchors in pixels (width,height), fine to coarse; divided evenly among the levels.
ANCHORS = {
    "640": "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401",
    "1280": "19,27, 44,40, 38,94, 96,68, 86,152, 180,137, 140,301, 303,264, 238,542, "
    "436,615, 739,380, 925,792",
    "P5": "13,17, 31,25, 24,51, 61,45, 48,102, 119,96, 97,189, 217,184, 171,384, 324,451, 616,618, 800,800",
    "P6": "13,17, 31,25, 24,51, 61,45, 61,45, 48,102, 119,96, 97,189, 97,189, 217,184, 171,384, 324,451, "
    "324,451, 545,357, 616,618, 1024,1024",
    "P7": "13,17, 22,25, 27,66, 55,41, 57,88, 112,69, 69,177, 136,138, 136,138, 287,114, 134,275, 268,248, "
    "268,248, 232,504, 445,416, 640,640, 812,393, 477,808, 1070,908, 1408,1408",
    "U5": "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326",
}

# Topology 1: the stem halves the image once; B1 follows.
CSP = YolorRow(
    stem="A",
    stages=((64, 0), (128, 2), (256, 8), (512, 8), (1024, 4)),
    spp=512,
    neck=(128, 256, 512),
    repeats=2,
    head=(256, 512, 1024),
    anchors=ANCHORS["640"],
    size=640,
)
FAST = CSP._replace(stem="B")
CSP_X = CSP._replace(
    stem="A, X",
    stages=((80, 0), (160, 3), (320, 10), (640, 10), (1280, 5)),
    spp=640,
    neck=(160, 320, 640),
    repeats=3,
    head=(320, 640, 1280),
    spp_pairs=2,
)
# Half the width and a third of the depth of CSP.
S = CSP._replace(
    stem="A, S",
    stages=((32, 0), (64, 1), (128, 3), (256, 3), (512, 1)),
    spp=256,
    neck=(64, 128, 256),
    repeats=1,
    head=(128, 256, 512),
)
P5 = CSP._replace(
    stages=((64, 1), (128, 3), (256, 15), (512, 15), (1024, 7)),
    repeats=3,
    anchors=ANCHORS["P5"],
    size=896,
    activation="mish",
)
P6 = P5._replace(
    stages=(*P5.stages, (1024, 7)),
    neck=(*P5.neck, 512),
    head=(*P5.head, 1024),
    anchors=ANCHORS["P6"],
    size=1280,
)
# P6 with 1.25 times the width and one more level.
P7 = P5._replace(
    stem="A, P7",
    stages=((80, 1), (160, 3), (320, 15), (640, 15), (1280, 7), (1280, 7), (1280, 7)),
    spp=640,
    neck=(160, 320, 640, 640, 640),
    head=(320, 640, 1280, 1280, 1280),
    anchors=ANCHORS["P7"],
    size=1536,
)
# Topology 2: the stem halves it twice; no B1.
SSS = S._replace(stem="C", stages=S.stages[1:])
# Topology 3: the stem halves it twice; a sixth stage and a fourth head.
LIGHT = YolorRow(
    stem="D",
    stages=((128, 3), (256, 7), (384, 7), (512, 3), (640, 3)),
    spp=320,
    neck=(128, 192, 256, 320),
    repeats=3,
    head=(256, 384, 512, 640),
    anchors=ANCHORS["1280"],
    size=1280,
    block="csp_first",
)
W6 = LIGHT._replace(
    stages=((128, 3), (256, 7), (512, 7), (768, 3), (1024, 3)),
    spp=512,
    neck=(128, 256, 384, 512),
    head=(256, 512, 768, 1024),
)
E6 = LIGHT._replace(
    stem="E",
    stages=((160, 3), (320, 7), (640, 7), (960, 3), (1280, 3)),
    spp=640,
    neck=(160, 320, 480, 640),
    head=(320, 640, 960, 1280),
    has_csp_downsampling=True,
)
D6 = E6._replace(stages=((160, 3), (320, 15), (640, 15), (960, 7), (1280, 7)))
# Topology 4: the stem halves it three times; neither B1 nor B2.
SSSS = S._replace(stem="F", stages=S.stages[2:])
# Two of our own, for CPUs and for teaching: all of YOLOR on a small scale, with three heads.
NANO = YolorRow(
    stem="D, nano",
    stages=((48, 1), (96, 2), (144, 2), (192, 1)),
    spp=96,
    neck=(48, 72, 96),
    repeats=1,
    head=(80, 112, 160),
    anchors=ANCHORS["640"],
    size=640,
    implicit=True,
    block="csp_first",
)
MICRO = NANO._replace(
    stem="D, micro",
    stages=((24, 1), (48, 1), (64, 1), (96, 1)),
    spp=48,
    neck=(24, 32, 48),
    head=(40, 56, 80),
    size=320,
)
# The other networks of Tables A1 and A2.
U5_S = U5R5Row(
    depth=0.33,
    width=0.50,
    anchors=ANCHORS["U5"],
    stages=((128, 3), (256, 9), (512, 9), (1024, 3)),
    pooling=(5, 9, 13),
    size=640,
)
U5_S6 = U5_S._replace(
    anchors=ANCHORS["1280"],
    stages=((128, 3), (256, 9), (512, 9), (768, 3), (1024, 3)),
    pooling=(3, 5, 7),
    size=1280,
)

ImageSize = int | tuple[int, int]
"""One side of a square, or height and width."""

NETWORKS: dict[str, YolorRow | U5R5Row] = {
    # topology 1
    "yolov4_csp": CSP._replace(activation="mish"),
    "yolov4_csp_silu": CSP,
    "yolov4_csp_fast": FAST._replace(activation="mish"),
    "yolov4_csp_x": CSP_X,
    "yolov4_p5": P5,
    "yolov4_p6": P6,
    "yolov4_p7": P7,
    "yolor_csp": CSP._replace(implicit=True),
    "yolor_csp_fast": FAST._replace(implicit=True),
    "yolor_csp_x": CSP_X._replace(implicit=True),
    "yolor_s": S._replace(implicit=True),
    # topology 2
    "yolov4_csp_sss": SSS,
    "yolov4_csp_sss_dwt": SSS._replace(stem="C, DWT"),
    "yolor_csp_sss": SSS._replace(implicit=True),
    "yolor_csp_sss_paper": SSS._replace(implicit=True, paper=True),
    "yolor_csp_sss_dwt": SSS._replace(implicit=True, stem="C, DWT"),
    # topology 3
    "yolov4_p6_light": LIGHT._replace(activation="mish"),
    "yolor_p6": LIGHT._replace(implicit=True),
    "yolor_p6_paper": LIGHT._replace(implicit=True, paper=True),
    "yolor_w6": W6._replace(implicit=True),
    "yolor_w6_paper": W6._replace(implicit=True, paper=True),
    "yolor_e6": E6._replace(implicit=True),
    "yolor_e6_paper": E6._replace(implicit=True, paper=True),
    "yolor_d6": D6._replace(implicit=True),
    "yolor_d6_paper": D6._replace(implicit=True, paper=True),
    # topology 4
    "yolov4_csp_ssss": SSSS,
    "yolov4_csp_ssss_dwt": SSSS._replace(stem="F, DWT"),
    "yolor_csp_ssss": SSSS._replace(implicit=True),
    "yolor_csp_ssss_paper": SSSS._replace(implicit=True, paper=True),
    "yolor_csp_ssss_dwt": SSSS._replace(implicit=True, stem="F, DWT"),
    "yolor_csp_ssss_dwt_paper": SSSS._replace(implicit=True, stem="F, DWT", paper=True),
    # our own
    "yolor_nano": NANO,
    "yolor_micro": MICRO,
    # U5R5
    "u5r5_s": U5_S,
    "yolor_u5r5_s": U5_S._replace(implicit=True),
    "u5r5_s6": U5_S6,
    "u5r5_m6": U5_S6._replace(depth=0.67, width=0.75),
    "u5r5_l6": U5_S6._replace(depth=1.00, width=1.00),
    "u5r5_x6": U5_S6._replace(depth=1.33, width=1.25),
}


SHIPPED = "written by tools/make_cfgs.py from one row of its table; change the row, not this file."


class Variant(NamedTuple):
    """What may differ from a network's row: classes and size in pixels; and a note on the file's origin."""

    classes: int = 80
    size: ImageSize | None = None
    origin: str = SHIPPED


AS_SHIPPED = Variant()


def write_cfg(name: str, row: YolorRow | U5R5Row, variant: Variant = AS_SHIPPED) -> CfgWriter:
    """One row as a cfg: `.text`, and `.merges`, its cross stage partial blocks."""
    w = CfgWriter(row.style)
    w.add_title(f"{name}: {variant.origin}", row.summary)
    eps = {"bn_eps": row.bn_eps} if row.bn_eps else {}
    schedule = {"learning_rate": ".01", "momentum": ".937", "decay": ".0005"}
    size = variant.size or row.size
    height, width = size if isinstance(size, tuple) else (size, size)
    image = {"width": width, "height": height, "channels": 3}
    w.add_net(dialect="yolor", **image, **eps, batch=64, subdivisions=8, **schedule)
    tips = row.write_body(w)
    write_heads(w, row.heads_config(variant.classes), tips)
    return w


def cfg_text(name: str, row: YolorRow | U5R5Row, *, classes: int = 80, size: ImageSize | None = None) -> str:
    """The whole cfg text of one row."""
    return write_cfg(name, row, Variant(classes, size)).text
