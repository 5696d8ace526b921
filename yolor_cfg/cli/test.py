"""`yolor test`: evaluate a network, or detections made elsewhere, on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.arguments import MOST_DETECTIONS, MOST_IN_BATCH
from yolor_cfg.cli.habits import TEST_HABITS, HabitCommand, NetworkPaths, network_options, sort_paths
from yolor_cfg.cli.options import (
    CountParam,
    FractionParam,
    TextParam,
    by_number_option,
    cutoff_option,
    data_option,
    device_option,
    dialect_option,
    fix_labels_option,
    folder_options,
    format_columns,
    image_options,
    is_on,
    json_option,
    precision_option,
    print_json,
    print_stderr,
    report_warnings,
    size_option,
    strict_option,
)

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset
    from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
    from yolor_cfg.evaluate.run import EvalSettings, NetworkDetections
    from yolor_cfg.evaluate.scores import MetricOptions, Scores
    from yolor_cfg.weights.loading import LoadedNetwork


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
    data_option,
    click.option(
        "--split",
        "--task",
        "split",
        type=click.Choice(["train", "val", "test"]),
        help="Split of the data set; default: val, or all images if nothing divides them.",
    ),
    fix_labels_option,
    image_options,
    click.option(
        "--names",
        type=click.Path(),
        metavar="FILE",
        help="Class names in the network's order: a .names or .data file; default: those in the checkpoint.",
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
        "--annotations",
        type=click.Path(),
        metavar="FILE",
        help="Ground truth for --predictions: a COCO .json, or a data set as for --data.",
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
        type=click.Choice(["stretch", "letterbox"]),
        help="How images are fitted to the input; default: as in `yolor detect`, with rectangular "
        "inputs in the yolor dialect.",
    ),
    click.option("--no-rect", is_flag=True, help="Use the full input size for all images, no rectangles."),
    device_option,
    precision_option,
    dialect_option,
    strict_option,
    cutoff_option,
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
        "--scorer",
        type=click.Choice(["auto", "pycocotools", "faster"]),
        default="auto",
        show_default=True,
        help="Library that computes COCO's metrics; auto: faster-coco-eval if installed.",
    ),
    click.option(
        "--save/--no-save",
        default=None,
        help="Write metrics.json, predictions.json, per_class.csv, curves and the confusion matrix; "
        "default: only when a network is tested.",
    ),
    *folder_options("runs/test"),
    json_option,
)
MAX_CLASS_ROWS = 30
EXAMPLES = """\b
Examples:
  yolor test yolor_p6.cfg yolor_p6.pt --data coco.yaml
  yolor test runs/train/exp/weights/best.pt --data my.data
  yolor test yolov4.cfg yolov4.weights --data coco.data --points 101
  yolor test --predictions out.json --annotations instances_val2017.json
  yolor test --predictions results/ --annotations voc.data
             (results/ as written by `darknet detector valid`)"""


def _add_options(function: Any) -> Any:
    for option in reversed(DATA_OPTIONS + RUN_OPTIONS + REPORT_OPTIONS):
        function = option(function)
    return function


@click.command(cls=HabitCommand, habits=TEST_HABITS, epilog=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[CFG] [WEIGHTS]")
@_add_options
def test(paths: tuple[str, ...], **options: Any) -> None:
    """Evaluate the network CFG with its WEIGHTS on a data set.

    A checkpoint that `yolor train` wrote needs no CFG: it holds its own.

    With --predictions and --annotations, detections made elsewhere are scored instead.

    Prints COCO's 12 metrics; P, R and F1 (at confidence 0.1), AP50 and AP as YOLOR computes them; the AP50 of
    Darknet's `detector map`; and the time per image in milliseconds. Images without detections count too.
    Unreadable images are reported and left out.
    """
    files = sort_paths(paths, cfg=options["cfg_file"], weights=options["weights_file"])
    if files.others:
        raise click.UsageError(f"an argument too many: {files.others[0]}; the data set is given as --data D")
    if options["predictions"] or options["annotations"]:
        _test_file(files, options)
    else:
        _test_network(files, options)


def _test_file(files: NetworkPaths, options: dict[str, Any]) -> None:
    """Score detections made elsewhere; neither a network nor torch is needed."""
    if (
        files.cfg
        or files.weights
        or options["data"]
        or not (options["predictions"] and options["annotations"])
    ):
        raise click.UsageError("give --predictions and --annotations, or CFG WEIGHTS and --data")
    from yolor_cfg.evaluate.results import read_results
    from yolor_cfg.evaluate.scores import score_detections

    ground = _read_ground_truth(options)
    detections = read_results(options["predictions"], ground)
    if not len(detections):
        print_stderr(f"{options['predictions']}: contains no detections, so AP is 0", "yellow")
    scores = score_detections(ground, detections, metric_options=_make_metric_options(options))
    _report_scores(scores, ground, detections=detections, options=options, saves=bool(options["save"]))


def _read_ground_truth(options: dict[str, Any]) -> GroundTruth:
    from yolor_cfg.evaluate.ground_truth import coco_ground_truth, dataset_ground_truth

    if options["annotations"].lower().endswith(".json"):
        return coco_ground_truth(options["annotations"])
    return dataset_ground_truth(_open_dataset(options["annotations"], options, classes=None))


def _open_dataset(
    path: str, options: dict[str, Any], *, classes: int | None, names: Sequence[str] = ()
) -> Dataset:
    from yolor_cfg.data.classes import match_classes
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.data.types import LabelChecks
    from yolor_cfg.evaluate.ground_truth import problem_lines

    checks = LabelChecks(options["fix_labels"], options["strict"])
    split = options["split"]
    dataset = open_data(path, split=split or "val", classes=classes, checks=checks, whole=split is None)
    dataset = match_classes(dataset, names, source="the network", by_number=options["by_number"])
    report_warnings((), problem_lines(dataset))
    return dataset


def _make_metric_options(options: dict[str, Any]) -> MetricOptions:
    from yolor_cfg.evaluate.scores import MetricOptions

    return MetricOptions(options["scorer"], options["points"], options["map_iou"])


def _test_network(files: NetworkPaths, options: dict[str, Any]) -> None:
    if not (files.network and files.weights and options["data"]):
        raise click.UsageError("give CFG WEIGHTS and --data, or --predictions and --annotations")
    from yolor_cfg.evaluate.ground_truth import dataset_ground_truth
    from yolor_cfg.evaluate.run import score_network
    from yolor_cfg.parallel import local_device, process_group

    with process_group(options["device"]):
        opened = _load_network(files, options, device=local_device(options["device"]))
        graph = opened.network.graph
        dataset = _open_dataset(options["data"], options, classes=graph.classes or None, names=opened.names)
        report_warnings(graph.warnings, opened.notes)
        collected = _collect_detections(opened, dataset, options)
    if collected is None:
        return
    ground = dataset_ground_truth(dataset)
    if not dataset.is_labeled:
        from yolor_cfg.cli.predictions import save_predictions

        save_predictions(ground, collected.detections, options)
        return
    scores = score_network(ground, collected, metric_options=_make_metric_options(options))
    for reason in scores.skipped:
        print_stderr(f"left out: {reason}", "yellow")
    saves = options["save"] is not False
    _report_scores(scores, ground, detections=collected.detections, options=options, saves=saves)


def _load_network(files: NetworkPaths, options: dict[str, Any], *, device: str) -> LoadedNetwork:
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.names import class_names
    from yolor_cfg.weights.loading import open_network

    reading = ReadOptions(options["dialect"], options["size"], strict=options["strict"])
    assert files.network
    opened = open_network(
        files.network, files.weights, reading=reading, device=device, cutoff=options["cutoff"]
    )
    if not options["names"]:
        return opened
    return opened._replace(names=class_names(options["names"], count=opened.network.graph.classes))


def _make_settings(options: dict[str, Any]) -> EvalSettings:
    from yolor_cfg.evaluate.run import EvalSettings

    same = ("batch_size", "conf", "iou", "max_det", "preprocess", "precision")
    return EvalSettings(
        **{name: options[name] for name in same}, rectangles=not options["no_rect"], darknet=True
    )


def _collect_detections(
    opened: LoadedNetwork, dataset: Dataset, options: dict[str, Any]
) -> NetworkDetections | None:
    from tqdm import tqdm

    from yolor_cfg.evaluate.run import collect_detections
    from yolor_cfg.parallel import this_process
    from yolor_cfg.train.memory import keep_freed_memory

    keep_freed_memory()
    # None: hidden if standard error is not a terminal.
    hidden = True if is_on("quiet") or options["as_json"] or this_process().rank else None
    with tqdm(total=len(dataset.samples) // this_process().world_size, unit="img", disable=hidden) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        return collect_detections(
            opened.network, dataset, settings=_make_settings(options), progress=progress
        )


def _report_scores(
    scores: Scores, ground: GroundTruth, *, detections: Doubles, options: dict[str, Any], saves: bool
) -> None:
    """Print the JSON document or the tables; write the files if asked to."""
    from yolor_cfg.evaluate.scores import scores_to_dict

    metrics = scores_to_dict(scores, ground)
    if options["as_json"]:
        print_json(metrics)
    else:
        _print_tables(scores, ground, every=options["per_class"])
    if saves:
        from yolor_cfg.report.files import save_test_results
        from yolor_cfg.runs import new_folder

        folder = new_folder(options["project"], options["name"])
        save_test_results(folder, scores, ground=ground, detections=detections, metrics=metrics)
        _report_folder(folder)


def _report_folder(folder: Path) -> None:
    """Where the results are, and whether charts are missing there."""
    from yolor_cfg.report.figures import NO_CHARTS, can_draw

    if not can_draw():
        print_stderr(f"{NO_CHARTS}the numbers are in the folder's .csv files", "yellow")
    if not is_on("quiet"):
        click.echo(f"results saved to {folder}", err=True)


def _print_tables(scores: Scores, ground: GroundTruth, *, every: bool | None) -> None:
    from yolor_cfg.report.tables import class_table, coco_rows

    every = len(ground.names) <= MAX_CLASS_ROWS if every is None else every
    _print_columns(class_table(scores, ground, every=every), words=(0,))
    _print_columns(coco_rows(scores.coco), words=(0, 1, 2))
    if scores.speed:
        stages = zip(("pre", "inference", "NMS"), scores.speed, strict=True)
        click.echo("ms per image: " + ", ".join(f"{name} {value:.1f}" for name, value in stages))


def _print_columns(rows: Sequence[Sequence[str]], *, words: Sequence[int]) -> None:
    for line in format_columns(rows, words=words):
        click.echo(line)
    click.echo()
