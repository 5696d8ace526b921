"""`yolor detect`: detect objects in images and videos."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.arguments import MOST_DETECTIONS
from yolor_cfg.cli.detect_darknet import (
    DARKNET_OPTIONS,
    darknet_show,
    prepare_darknet,
    saving_darknet,
)
from yolor_cfg.cli.detect_heat import HEAT_OPTIONS, add_heat
from yolor_cfg.cli.detect_parts import (
    SHARD_OPTIONS,
    check_output,
    describe_summary,
    refuse_live,
    refuse_no_embeddings,
    run_shard,
)
from yolor_cfg.cli.detectors import make_detector
from yolor_cfg.cli.engine_options import engine_options
from yolor_cfg.cli.habits import (
    DETECT_HABITS,
    HabitCommand,
    NetworkPaths,
    check_exported,
    network_options,
    sort_paths,
)
from yolor_cfg.cli.options import (
    CountParam,
    FractionParam,
    TextParam,
    device_option,
    dialect_option,
    echo,
    folder_options,
    image_options,
    is_on,
    print_stderr,
    report_warnings,
    size_option,
    strict_option,
    task_option,
)
from yolor_cfg.cli.process import delayed_signals
from yolor_cfg.errors import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yolor_cfg.detect.base import ImageDetector
    from yolor_cfg.detect.detections import Detections
    from yolor_cfg.detect.live import StreamNote
    from yolor_cfg.detect.sources import Frame, IncompleteVideo, MediaSources, UnreadableSource
    from yolor_cfg.detect.write import Drawn, ResultsWriter

    ShowDetections = Callable[[Frame, Detections], None]


MISSING = (
    "Missing argument 'SOURCE...': give [CFG] WEIGHTS SOURCE...; checkpoints that `yolor train` or `yolor "
    "convert` wrote and files of `yolor export` (.onnx, .xml) hold their CFG, others do not"
)
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
    *SHARD_OPTIONS,
    *folder_options("runs/detect"),
    click.option("--output", metavar="FOLDER", help="--project and --name in one, as in YOLOR."),
)


def _add_options(function: Any) -> Any:
    for option in reversed(NETWORK_OPTIONS + NMS_OPTIONS + OUTPUT_OPTIONS):
        function = option(function)
    return function


EXAMPLES = """\b
Examples:
  yolor detect yolov4.cfg yolov4.weights street.jpg --names coco.names
  yolor detect runs/train/exp/weights/best.pt street.jpg
  yolor detect runs/export/exp/model.onnx street.jpg
  yolor detect yolov4.cfg yolov4.weights photos/ 'b/*.png' --conf 0.5
  yolor detect yolov4.cfg yolov4.weights a.mp4 --vid-stride 2 --classes 0,2
  yolor detect yolov4.cfg yolov4.weights 0     (first camera; Ctrl-C to stop)
  yolor detect yolov4.cfg yolov4.weights list.txt --json --nosave > out.jsonl"""


@click.command(cls=HabitCommand, habits=DETECT_HABITS, epilog=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[CFG] WEIGHTS SOURCE...")
@_add_options
def detect(paths: tuple[str, ...], sources: tuple[str, ...], **options: Any) -> None:
    """Detect objects in SOURCE with the network CFG and its WEIGHTS.

    A checkpoint that `yolor train` wrote needs no CFG: it holds its own. A file that `yolor export` wrote
    (.onnx, .xml) needs neither CFG nor WEIGHTS, and starts several times as fast: it runs without torch.

    SOURCE is an image, a video, a folder, a glob, a list of paths (a .txt file, or - for standard input), a
    camera number or a stream URL. WEIGHTS is a Darknet .weights, a .pt or a .safetensors file.

    Annotated images and videos and a summary.json are written to runs/detect/exp by default. Unreadable
    sources are reported and skipped; the exit code is 3 if nothing could be read.
    """
    from yolor_cfg.detect.sources import open_sources
    from yolor_cfg.detect.write import ResultsWriter
    from yolor_cfg.runs import new_folder

    output = {name: options.pop(name) for name in _param_names(OUTPUT_OPTIONS)}
    files = sort_paths(paths, cfg=options.pop("cfg_file"), weights=options.pop("weights_file"))
    sources += files.others
    if not (files.network and files.weights and sources):
        raise click.UsageError(MISSING)
    prepare_darknet(output, options)
    check_exported(files, options)
    check_output(output)
    detector = add_heat(make_detector(files.network, files.weights, options), output)
    if output["save_embeddings"]:
        refuse_no_embeddings(detector, files.network)
    frames = open_sources(sources, vid_stride=output["vid_stride"], channels=detector.channels)
    report_warnings((), frames.notes)
    if output["shard"]:
        _detect_shard(files, detector, frames, options={**options, **output})
        return
    with saving_darknet(output, detector.names, _choose_show(output)) as show:
        folder = new_folder(*_choose_folder(output))
        with ResultsWriter(folder, _make_output_options(output)) as results, _told_at_end(frames):
            _run_detector(detector, frames, results, show=show, workers=output["workers"])
    _print_summary(results, folder)


def _detect_shard(
    files: NetworkPaths, detector: ImageDetector, frames: MediaSources, *, options: dict[str, Any]
) -> None:
    """Do one shard of the sources, in the folder that all of them share."""
    from yolor_cfg.detect.identity import describe_files, describe_run
    from yolor_cfg.detect.parts import open_parts
    from yolor_cfg.detect.run import RunOptions, detect_frames

    assert files.network and files.weights
    refuse_live(frames)
    settings = {**describe_files(files.network, files.weights), **describe_run(detector, frames)}
    settings |= {"cutoff": options["cutoff"], "no_rewrite": list(options["no_rewrite"])}
    settings |= {name: options[name] for name in ("save_embeddings", "task") if options[name]}
    shard, size = options["shard"], options["part_size"]
    parts = open_parts(Path(*_choose_folder(options)), settings, part_size=size, shards=shard.total)
    run = partial(detect_frames, detector, how=RunOptions(options["workers"]))
    vectors = options["save_embeddings"]
    run_shard(run, frames, parts, shard=shard, show=_show_line, has_embeddings=vectors)


def _choose_folder(output: dict[str, Any]) -> tuple[str, str]:
    whole = Path(output["output"] or ".")
    return (str(whole.parent), whole.name) if whole.name else (output["project"], output["name"])


def _param_names(decorators: tuple[Any, ...]) -> list[str]:
    """The names of the parameters that these option decorators define."""
    probe = click.command()(lambda **values: None)
    for decorator in decorators:
        decorator(probe)
    return [str(param.name) for param in probe.params]


def _make_output_options(output: dict[str, Any]) -> Any:
    from yolor_cfg.detect.write import OutputOptions

    labels, vectors = output["save_txt"] or output["save_conf"], output["save_embeddings"]
    media, records = not output["nosave"], output["save_json"] or vectors
    return OutputOptions(media, labels, output["save_conf"], output["save_crop"], records, vectors)


def _choose_show(output: dict[str, Any]) -> ShowDetections:
    """What is shown of each image: a line of JSON, Darknet's text, or a line for people."""
    if output["as_json"]:
        from yolor_cfg.detect.write import frame_record

        record = partial(frame_record, has_embeddings=output["save_embeddings"])
        return lambda frame, found: click.echo(json.dumps(record(frame, found)))
    return darknet_show(output) or _show_line


def _show_line(frame: Frame, found: Detections) -> None:
    """`street.jpg: 2 person, 1 dog, 12 ms`; the time is that of the network and NMS."""
    if not is_on("quiet"):
        moment = "" if frame.index is None else f" frame {frame.index}"
        name, objects = escape(frame.source), escape(str(found))
        echo(f"{name}{moment}: {objects}, {found.seconds * 1000:.0f} ms", err=True)


def _run_detector(
    detector: ImageDetector, frames: Any, results: ResultsWriter, *, show: ShowDetections, workers: int | None
) -> None:
    """Run with a progress bar; unreadable sources are reported as they occur."""
    from tqdm import tqdm

    from yolor_cfg.detect.run import RunOptions, check_any_read, detect_frames
    from yolor_cfg.detect.sources import UnreadableSource

    unreadable: list[UnreadableSource] = []
    with tqdm(total=frames.total, unit="img", disable=True if is_on("quiet") else None) as bar:

        def add_detections(frame: Frame, detections: Detections, drawn: Drawn) -> None:
            with delayed_signals():
                results.add(frame, detections, drawn)
                bar.clear()
                show(frame, detections)
                bar.update()

        def add_unreadable(item: UnreadableSource | IncompleteVideo | StreamNote) -> None:
            results.skip(item)
            bar.clear()
            print_stderr(str(item), "yellow")
            if isinstance(item, UnreadableSource):
                unreadable.append(item)
                bar.update()

        how = RunOptions(workers, results.draw)
        done = detect_frames(detector, frames, found=add_detections, skipped=add_unreadable, how=how)
    check_any_read(done, unreadable)


@contextmanager
def _told_at_end(frames: MediaSources) -> Iterator[None]:
    """Say what was dropped of live sources, also where Ctrl-C ends them."""
    try:
        yield
    finally:
        report_warnings((), frames.drop_notes())


def _print_summary(results: ResultsWriter, folder: Path) -> None:
    if is_on("quiet"):
        return
    echo(describe_summary(results.summary(), results.labels), err=True)
    report_warnings((), results.notes)
    echo(f"results saved to {escape(str(folder))}", err=True)
