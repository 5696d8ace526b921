"""`yolor detect`: find objects in pictures and videos."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import cfg_argument, dialect_option, is_on, say, size_option, strict_option, tell

if TYPE_CHECKING:
    from yolor_cfg.detect.pipeline import Detections, Detector
    from yolor_cfg.detect.sources import Frame, Unreadable
    from yolor_cfg.detect.write import Results


class Numbers(click.ParamType):
    """`0,2,5`: class numbers with commas."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers as a tuple."""
        if not isinstance(value, str):
            return value
        if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", value):
            self.fail(f"{value!r} is no list of class numbers such as 0,2,5", param, ctx)
        return tuple(int(part) for part in value.split(","))


NETWORK = (
    size_option,
    dialect_option,
    strict_option,
    click.option(
        "--cutoff", type=click.IntRange(1), metavar="N", help="The weights hold layers 0 to N-1 only."
    ),
    click.option(
        "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1 ..."
    ),
    click.option(
        "--batch-size",
        default=1,
        show_default=True,
        type=click.IntRange(1),
        help="Pictures of one size that are computed together.",
    ),
    click.option(
        "--preprocess",
        type=click.Choice(["stretch", "letterbox"]),
        help="How a picture is made to fit; default: stretch in the darknet dialect (letterbox where the "
        "cfg says letter_box=1), letterbox in the yolor dialect.",
    ),
)
RULES = (
    click.option(
        "--conf-thres",
        "--conf",
        "conf",
        default=0.25,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Report what is at least this probable.",
    ),
    click.option(
        "--iou-thres",
        "--iou",
        "iou",
        default=0.45,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Two boxes that overlap more are one object.",
    ),
    click.option(
        "--nms",
        type=click.Choice(["default", "greedynms", "diounms", "yolor"]),
        help="How overlaps are measured; default: the cfg's nms_kind, yolor in the yolor dialect.",
    ),
    click.option(
        "--max-det", default=300, show_default=True, type=click.IntRange(1), help="Most boxes a picture."
    ),
    click.option("--classes", type=Numbers(), metavar="0,2", help="Report these classes only."),
    click.option(
        "--agnostic-nms", "agnostic", is_flag=True, help="Overlaps of different classes are one object."
    ),
    click.option(
        "--multi-label/--best-label",
        "multi_label",
        default=None,
        help="Report every class of a box, or its best; default: every one in the yolor dialect.",
    ),
    click.option("--names", type=click.Path(), help="Class names: a .names or .data file."),
)
OUTPUT = (
    click.option("--save-txt", is_flag=True, help="Write labels/*.txt: class cx cy w h, as fractions."),
    click.option("--save-conf", is_flag=True, help="Add the score to each line of the labels."),
    click.option("--save-crop", is_flag=True, help="Write each object as a picture, by class."),
    click.option("--save-json", is_flag=True, help="Write detections.jsonl."),
    click.option("--nosave", is_flag=True, help="Draw nothing."),
    click.option("--json", "as_json", is_flag=True, help="One JSON line a picture on standard output."),
    click.option(
        "--vid-stride", default=1, show_default=True, type=click.IntRange(1), help="Every n-th frame."
    ),
    click.option(
        "--project", default="runs/detect", show_default=True, help="Where the folders of runs are."
    ),
    click.option(
        "--name", default="exp", show_default=True, help="Folder of this run; exp2, exp3 ... if it is there."
    ),
)


def _options(function: Any) -> Any:
    for option in reversed(NETWORK + RULES + OUTPUT):
        function = option(function)
    return function


@click.command()
@cfg_argument
@click.argument("weights", type=click.Path())
@click.argument("source", nargs=-1, required=True)
@_options
def detect(cfg: str, weights: str, source: tuple[str, ...], **options: Any) -> None:
    """Find objects in SOURCE with the network CFG and its WEIGHTS.

    A SOURCE is a picture, a folder, a glob, a list of paths (.txt, or - for standard input), a video, a camera
    number or a stream's address. WEIGHTS are a Darknet .weights file, a .pt or a .safetensors file.
    """
    from yolor_cfg.detect.sources import open_sources
    from yolor_cfg.detect.write import Results, new_folder

    output = {name: options.pop(name) for name in _names(OUTPUT)}
    detector = _detector(cfg, weights, options)
    frames = open_sources(source, vid_stride=output["vid_stride"], channels=detector.channels)
    folder = new_folder(output["project"], output["name"])
    with Results(folder, _wanted(output)) as results:
        _go(detector, frames, results, as_json=output["as_json"])
    _say_summary(results, folder)


def _names(decorators: tuple[Any, ...]) -> list[str]:
    """The parameter names that these option decorators make."""
    probe = click.command()(lambda **values: None)
    for decorator in decorators:
        decorator(probe)
    return [str(param.name) for param in probe.params]


def _detector(cfg: str, weights: str, options: dict[str, Any]) -> Detector:
    from yolor_cfg.detect.pipeline import Detector

    detector = Detector(cfg, weights, **options)
    graph = detector.network.graph
    tell(graph.warnings, detector.notes)
    return detector


def _wanted(output: dict[str, Any]) -> Any:
    from yolor_cfg.detect.write import Wanted

    labels = output["save_txt"] or output["save_conf"]
    return Wanted(not output["nosave"], labels, output["save_conf"], output["save_crop"], output["save_json"])


def _go(detector: Detector, frames: Any, results: Results, *, as_json: bool) -> None:
    """The run with a progress bar; unreadable sources are named as they come."""
    from tqdm import tqdm

    from yolor_cfg.detect.run import refuse_nothing_read, run
    from yolor_cfg.detect.write import record

    unreadable: list[Unreadable] = []
    with tqdm(total=frames.total, unit="img", disable=True if is_on("quiet") else None) as bar:

        def found(frame: Frame, detections: Detections) -> None:
            results.add(frame, detections)
            if as_json:
                click.echo(json.dumps(record(frame, detections)))
            bar.update()

        def skipped(item: Unreadable) -> None:
            results.skip(item)
            unreadable.append(item)
            bar.clear()
            say(f"{item.source}: skipped: {item.reason}", "yellow")
            bar.update()

        done = run(detector, frames, found=found, skipped=skipped)
    refuse_nothing_read(done, unreadable)


def _say_summary(results: Results, folder: Path) -> None:
    if is_on("quiet"):
        return
    summary = results.summary()
    skipped = len(summary["unreadable"])
    classes = ", ".join(f"{count} {name}" for name, count in list(summary["classes"].items())[:8])
    click.echo(
        f"{summary['frames']} pictures, {summary['detections']} objects"
        + (f": {classes}" if classes else "")
        + (f"; {skipped} unreadable" if skipped else ""),
        err=True,
    )
    click.echo(f"results in {folder}", err=True)
