"""`yolor data`: check a data set before training, look at it, convert it, divide it, or draw a new one."""

from __future__ import annotations

import click

from yolor_cfg.cli.data.check import check
from yolor_cfg.cli.data.convert import convert
from yolor_cfg.cli.data.draw import draw
from yolor_cfg.cli.data.duplicates import duplicates
from yolor_cfg.cli.data.sheet import sheet
from yolor_cfg.cli.data.split import split
from yolor_cfg.cli.data.stats import stats


@click.group()
def data() -> None:
    """Check, look at, convert and divide data sets, or draw one.

    Formats read: Darknet .data, YOLO YAML, COCO JSON, Pascal VOC and plain folders, also as Roboflow, CVAT,
    LabelImg and Label Studio lay them out.
    """


for command in (check, stats, sheet, duplicates, convert, split, draw):
    data.add_command(command)
