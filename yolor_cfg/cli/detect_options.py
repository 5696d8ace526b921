"""The options of `yolor detect`."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.arguments import MOST_DETECTIONS
from yolor_cfg.cli.detect_darknet import DARKNET_OPTIONS
from yolor_cfg.cli.detect_parts import SHARD_OPTIONS
from yolor_cfg.cli.engine_options import engine_options
from yolor_cfg.cli.habits import network_options
from yolor_cfg.cli.heat_options import HEAT_OPTIONS
from yolor_cfg.cli.options import (
    CountParam,
    FractionParam,
    TextParam,
    device_option,
    dialect_option,
    folder_options,
    image_options,
    size_option,
    strict_option,
    task_option,
)
from yolor_cfg.cli.tile_options import TILE_OPTIONS
from yolor_cfg.cli.watch_options import WATCH_OPTIONS

MOST_WORKERS = 64


class ClassListParam(TextParam):
    """`0,2,person`: class ids and names separated by commas."""

    name = "list"

    def parse(self, text: str) -> tuple[int | str, ...]:
        """Ids and names as a tuple; which of them are known is the network's matter."""
        words = [part.strip() for part in text.split(",")]
        if not all(words):
            raise ValueError(f"{text!r} is not a list of classes such as 0,2,person")
        return tuple(words)


def _fraction_option(*names: str, default: float, text: str) -> Any:
    kind = FractionParam()
    return click.option(*names, default=default, show_default=True, type=kind, metavar="0..1", help=text)


def _integer_option(*names: str, default: int | None, text: str, most: int = MOST_DETECTIONS) -> Any:
    kind = CountParam(most)
    return click.option(*names, default=default, show_default=True, type=kind, metavar="N", help=text)


NETWORK_OPTIONS = (
    *network_options(),
    click.option("--source", "sources", multiple=True, metavar="SOURCE", help="The same as SOURCE."),
    size_option,
    click.option(
        "--preprocess",
        type=click.Choice(["stretch", "letterbox", "crop"]),
        help="Stretch each image to the input size, keep its aspect ratio and pad with grey, or cut out its "
        "middle; default: crop for classifiers, else stretch in darknet and darkflow (letterbox if the cfg "
        "says letter_box=1), letterbox in pjreddie and the families of PyTorch.",
    ),
    click.option(
        "--names",
        type=click.Path(),
        metavar="FILE",
        help="Class names: a .names file with one per line, or a .data file that refers to one; "
        "default: the names in the checkpoint, else in NAME.names beside NAME.weights or NAME.cfg, else ids.",
    ),
    image_options,
    *TILE_OPTIONS,
    device_option,
    engine_options,
    _integer_option(
        "--batch-size",
        "--batch",
        "batch_size",
        default=1,
        text="Images per batch; only images of equal input size share one.",
    ),
    dialect_option,
    strict_option,
    _integer_option("--cutoff", default=None, text="Read only layers 0 to N-1 of the weights file."),
    task_option,
)
NMS_OPTIONS = (
    _fraction_option("--conf-thres", "--conf", "-thresh", "conf", default=0.25, text="Confidence threshold."),
    _fraction_option(
        "--iou-thres",
        "--iou",
        "iou",
        default=0.45,
        text="IoU threshold of NMS: of two boxes that overlap more, the one with the higher score is kept.",
    ),
    click.option(
        "--nms",
        metavar="KIND",
        type=click.Choice(["default", "greedynms", "diounms", "cfg", "yolor"]),
        help="Kind of NMS: plain IoU (default), IoU minus a distance term (greedynms, diounms), "
        "the cfg's nms_kind (cfg), or YOLOR's NMS (yolor); without this option yolor in the families of "
        "PyTorch, cfg in the others, as in C Darknet.",
    ),
    _integer_option("--max-det", default=300, text="At most N detections per image."),
    click.option(
        "--classes",
        type=ClassListParam(),
        metavar="ID|NAME,...",
        help="Report only these classes, such as 0,2 or person,dog.",
    ),
    click.option(
        "--agnostic-nms",
        "agnostic",
        is_flag=True,
        help="Class-agnostic NMS: boxes of different classes suppress each other too.",
    ),
    click.option(
        "--multi-label/--best-label",
        "multi_label",
        default=None,
        help="Report every class of a box above the threshold, or only the best one; "
        "default: every class in the families of PyTorch, the best one in the others.",
    ),
)
OUTPUT_OPTIONS = (
    click.option(
        "--save-txt",
        is_flag=True,
        help="Write labels/*.txt: class id, centre x y, width and height as fractions of the image.",
    ),
    click.option(
        "--save-conf", is_flag=True, help="Like --save-txt, with the score at the end of each line."
    ),
    click.option("--save-crop", is_flag=True, help="Save a crop of each detection as crops/CLASS/*.jpg."),
    click.option("--save-json", is_flag=True, help="Write the JSON lines of --json to detections.jsonl."),
    click.option(
        "--save-embeddings",
        is_flag=True,
        help="Write the vectors that tell objects apart to embeddings.npz, and with each detection to "
        "detections.jsonl and --json; for networks with [jde] embedding= and those of JDE.",
    ),
    click.option("--nosave", is_flag=True, help="Do not save annotated images and videos."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON line per image to standard output, and nothing else: source, for a video frame "
        "and time_s, width, height, detections (class, name, score, and box_xyxy in pixels; for "
        "[detection] coords=5 of darkflow also angle: degrees by which the box is turned, clockwise).",
    ),
    *DARKNET_OPTIONS,
    *HEAT_OPTIONS,
    _integer_option("--vid-stride", default=1, text="Process every N-th frame of a video."),
    click.option(
        "--workers",
        type=click.IntRange(0, MOST_WORKERS),
        metavar="N",
        help="Threads that read, resize and draw while the network runs; 0: one thing after the other; "
        "default: one for each processor, at most 4.",
    ),
    *WATCH_OPTIONS,
    *SHARD_OPTIONS,
    *folder_options("runs/detect"),
    click.option("--output", metavar="FOLDER", help="--project and --name in one, as in YOLOR."),
)


EXAMPLES = """\b
Examples:
  yolor detect yolov4.cfg yolov4.weights street.jpg --names coco.names
  yolor detect runs/train/exp/weights/best.pt street.jpg
  yolor detect runs/export/exp/model.onnx street.jpg
  yolor detect yolov4.cfg yolov4.weights photos/ 'b/*.png' --conf 0.5
  yolor detect yolov4.cfg yolov4.weights a.mp4 --vid-stride 2 --classes 0,2
  yolor detect yolov4.cfg yolov4.weights 0     (first camera; Ctrl-C to stop)
  yolor detect yolov4.cfg yolov4.weights list.txt --json --nosave > out.jsonl"""


def add_detect_options(function: Any) -> Any:
    """Decorate the command with all of them."""
    for option in reversed(NETWORK_OPTIONS + NMS_OPTIONS + OUTPUT_OPTIONS):
        function = option(function)
    return function
