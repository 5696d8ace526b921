"""`yolor ray`: detection in many images by Ray Data."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.engine_options import engine_options
from yolor_cfg.cli.habits import sort_paths
from yolor_cfg.cli.options import (
    CountParam,
    FractionParam,
    device_option,
    dialect_option,
    echo,
    image_options,
    is_on,
    json_option,
    print_json,
    report_warnings,
    size_option,
    task_option,
)
from yolor_cfg.errors import YolorError, count_of, escape

if TYPE_CHECKING:
    from yolor_cfg.detect.ray_job import JobOptions

COUNT = CountParam(100_000)
SPARE_CORES = 2
OPTIONS = (
    click.option(
        "--out", required=True, metavar="FOLDER", help="New folder or address for the parquet files."
    ),
    click.option(
        "--actors", default=1, show_default=True, type=COUNT, metavar="N", help="Detectors that run."
    ),
    click.option(
        "--cpus", default=1, show_default=True, type=COUNT, metavar="N", help="Cores of each of them."
    ),
    click.option(
        "--batch-size", default=16, show_default=True, type=COUNT, metavar="N", help="Images per batch."
    ),
    click.option("--names", type=click.Path(), metavar="FILE", help="Class names, as in `yolor detect`."),
    click.option(
        "--conf",
        default=0.25,
        show_default=True,
        type=FractionParam(),
        metavar="0..1",
        help="Confidence threshold.",
    ),
    click.option(
        "--iou",
        default=0.45,
        show_default=True,
        type=FractionParam(),
        metavar="0..1",
        help="IoU threshold of NMS.",
    ),
    click.option(
        "--max-det",
        default=300,
        show_default=True,
        type=COUNT,
        metavar="N",
        help="At most N detections per image.",
    ),
    size_option,
    image_options,
    device_option,
    engine_options,
    dialect_option,
    task_option,
    json_option,
)


def _add_options(function: Any) -> Any:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


EXAMPLES = """\b
Examples:
  yolor ray yolov4.cfg yolov4.weights list.txt --out found --actors 8 --cpus 2
  yolor ray best.pt images.parquet --out found --actors 4
  RAY_ADDRESS=auto yolor ray best.pt s3://bucket/images.parquet --out s3://bucket/found --actors 64"""


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[CFG] WEIGHTS SOURCE...")
@_add_options
def ray(paths: tuple[str, ...], out: str, as_json: bool, **options: Any) -> None:
    """Detect objects in many images by Ray Data, on this machine or on a cluster (RAY_ADDRESS).

    SOURCE is a folder, a glob, a list of images, or parquet files with a column `path` or `bytes`. The result
    is parquet with the columns path, width, height, boxes (left, top, right, bottom in pixels), scores,
    classes, error; rows are in any order. Actors that are lost are replaced, and their images done again.
    """
    from yolor_cfg.detect.pipeline import Detector
    from yolor_cfg.detect.ray_job import (
        absolute_place,
        count_results,
        detect_dataset,
        import_ray,
        open_dataset,
    )

    files = sort_paths(paths)
    if not (files.network and files.weights and files.others):
        raise click.UsageError("give [CFG] WEIGHTS SOURCE...")
    import_ray()
    out = absolute_place(out)
    _refuse_existing(out)
    job = _read_job(options)
    detector = Detector(files.network, files.weights, **options)
    report_warnings(detector.network.graph.warnings, detector.notes)
    _start_ray(job)
    images = open_dataset(files.others, job.actors)
    detect_dataset(images, detector, job=job).write_parquet(out)
    _print_summary(count_results(out, images.count()), out, as_json=as_json)


def _read_job(options: dict[str, Any]) -> JobOptions:
    """The options of the job, which are taken out of those of the detector."""
    from yolor_cfg.detect.ray_job import JobOptions

    gpus = 1 if str(options["device"]).startswith("cuda") else 0
    return JobOptions(options.pop("actors"), options.pop("cpus"), gpus, options["batch_size"])


def _refuse_existing(out: str) -> None:
    """Rows would be added to those that are there."""
    if "://" not in out and Path(out).exists() and (Path(out).is_file() or any(Path(out).iterdir())):
        raise YolorError("exists already", path=out, hint="give a new folder")


def _start_ray(job: JobOptions) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray here, with cores to read and to write besides."""
    import logging

    ray = import_module("ray")
    if ray.is_initialized():
        return
    level = logging.ERROR if is_on("quiet") else logging.WARNING
    cores = None if os.environ.get("RAY_ADDRESS") else job.actors * job.cpus + SPARE_CORES
    ray.init(num_cpus=cores, include_dashboard=None if cores is None else False, logging_level=level)


def _print_summary(counts: dict[str, int], out: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**counts, "out": out})
    elif not is_on("quiet"):
        failed = f"; {counts['unreadable']} unreadable" if counts["unreadable"] else ""
        echo(f"{count_of(counts['images'], 'image')}{failed}", err=True)
        echo(f"results saved to {escape(out)}", err=True)
