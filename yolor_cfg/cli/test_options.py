"""The options of `yolor test`."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.arguments import MOST_DETECTIONS, MOST_IN_BATCH
from yolor_cfg.cli.engine_options import engine_options
from yolor_cfg.cli.habits import SPLITS, network_options
from yolor_cfg.cli.options import (
    CountParam,
    FractionParam,
    TextParam,
    by_number_option,
    cutoff_option,
    device_option,
    dialect_option,
    fix_labels_option,
    folder_options,
    image_options,
    json_option,
    report_option,
    several_data_option,
    size_option,
    strict_option,
    task_option,
)
from yolor_cfg.cli.tile_options import TILE_OPTIONS


class RecallPointsParam(TextParam):
    """`area` or 0, else the number of recall points, 2 or more."""

    name = "points"

    def parse(self, text: str) -> int:
        """The number of recall points; 0 for the area."""
        number = "0" if text == "area" else text
        if not (number.isascii() and number.isdecimal() and len(number) < 5) or int(number) == 1:
            raise ValueError(f"{text!r} is not area, 0, or a number of recall points from 2 to 9999")
        return int(number)


DATA_OPTIONS = (
    *network_options(),
    several_data_option,
    click.option(
        "--split",
        type=click.Choice(SPLITS),
        help="Split of the data set; default: val, or all images if nothing divides them.",
    ),
    fix_labels_option,
    image_options,
    click.option(
        "--names",
        type=click.Path(),
        metavar="FILE",
        help="Class names in the network's order: a .names or .data file; default: as for `yolor detect`.",
    ),
    by_number_option,
    click.option(
        "--predictions",
        type=click.Path(),
        metavar="FILE|FOLDER",
        help="Score these detections instead of a network: a COCO results .json, or the folder of files "
        "that Darknet's `detector valid` writes.",
    ),
    click.option(
        "--tracks",
        type=click.Path(),
        metavar="FILE",
        help="Score these tracks: lines `frame,id,left,top,width,height` as in the MOT challenge.",
    ),
    click.option(
        "--annotations",
        type=click.Path(),
        metavar="FILE",
        help="Ground truth for --predictions: a COCO .json, or a data set as for --data; for --tracks: a "
        "file of the MOT challenge.",
    ),
)
RUN_OPTIONS = (
    click.option(
        "--conf-thres",
        "--conf",
        "conf",
        default=0.001,
        show_default=True,
        metavar="0..1",
        type=FractionParam(),
        help="Confidence threshold.",
    ),
    click.option(
        "--iou-thres",
        "--iou",
        "iou",
        default=0.65,
        show_default=True,
        metavar="0..1",
        type=FractionParam(),
        help="IoU threshold of NMS.",
    ),
    click.option(
        "--max-det",
        default=300,
        show_default=True,
        metavar="N",
        type=CountParam(MOST_DETECTIONS),
        help="At most N detections per image; COCO's metrics use the best 100.",
    ),
    click.option(
        "--batch-size",
        "--batch",
        "batch_size",
        default=16,
        show_default=True,
        metavar="N",
        type=CountParam(MOST_IN_BATCH),
        help="Images per batch.",
    ),
    size_option,
    click.option(
        "--preprocess",
        type=click.Choice(["stretch", "letterbox", "crop"]),
        help="How images are fitted to the input; default: as in `yolor detect`, with rectangular "
        "inputs in the yolor dialect.",
    ),
    click.option(
        "--no-rect",
        is_flag=True,
        help="Pad all images to the full input size, as for an exported file for one size.",
    ),
    *TILE_OPTIONS,
    device_option,
    engine_options,
    dialect_option,
    strict_option,
    cutoff_option,
    task_option,
)
REPORT_OPTIONS = (
    click.option(
        "--per-class/--no-per-class", default=None, help="Print a row per class; default: up to 30 classes."
    ),
    click.option(
        "--points",
        "-points",
        type=RecallPointsParam(),
        default="area",
        show_default=True,
        metavar="N",
        help="Recall points of Darknet's mAP: area under the curve (area or 0), 11 (VOC), 101 (COCO).",
    ),
    click.option(
        "--map-iou",
        "-iou_thresh",
        default=0.5,
        show_default=True,
        metavar="0..1",
        type=FractionParam(below_one=True),
        help="IoU above which Darknet's mAP finds an object.",
    ),
    click.option(
        "--map-conf",
        "-thresh",
        default=0.25,
        show_default=True,
        metavar="0..1",
        type=FractionParam(),
        help="Confidence above which Darknet's mAP counts true and false positives.",
    ),
    click.option(
        "--darknet-text",
        type=click.Choice(["map", "recall", "top"]),
        help="Print to standard output what C Darknet prints, in place of the tables: map as `detector map`, "
        "recall as `detector recall`, top as the last line of `classifier valid`.",
    ),
    click.option(
        "--scorer",
        type=click.Choice(["auto", "pycocotools", "hotcoco", "faster"]),
        default="auto",
        show_default=True,
        help="Library that computes COCO's metrics, all with the same numbers; auto: hotcoco, else "
        "faster-coco-eval (faster), else pycocotools, the reference.",
    ),
    click.option(
        "--save/--no-save",
        default=None,
        help="Write metrics.json, predictions.json, per_class.csv, curves and the confusion matrix; "
        "default: only when a network is tested.",
    ),
    *folder_options("runs/test"),
    report_option,
    json_option,
)
EXAMPLES = """\b
Examples:
  yolor test yolor_p6.cfg yolor_p6.pt --data coco.yaml
  yolor test runs/train/exp/weights/best.pt --data my.data
  yolor test yolov4.cfg yolov4.weights --data coco.data --points 101
  yolor test --predictions out.json --annotations instances_val2017.json
  yolor test --predictions results/ --annotations voc.data
             (results/ as written by `darknet detector valid`)"""


def add_test_options(function: Any) -> Any:
    """Decorate the command with all of them."""
    for option in reversed(DATA_OPTIONS + RUN_OPTIONS + REPORT_OPTIONS):
        function = option(function)
    return function
