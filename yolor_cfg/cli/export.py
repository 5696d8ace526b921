"""`yolor export`: write a network for other programs, and compare what they make of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.arguments import MOST_DETECTIONS
from yolor_cfg.cli.calibrate import CALIBRATION_OPTIONS, check_data, hides_bars, open_calibration, score_both
from yolor_cfg.cli.engine_options import rewrite_option
from yolor_cfg.cli.habits import sort_paths
from yolor_cfg.cli.networks import name_classes
from yolor_cfg.cli.options import (
    CountParam,
    FractionParam,
    NumberRange,
    dialect_option,
    echo,
    folder_options,
    format_columns,
    is_on,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
    size_option,
    strict_option,
    task_option,
    was_given,
)

if TYPE_CHECKING:
    from yolor_cfg.export.formats import ExportOptions
    from yolor_cfg.export.run import ExportResult
    from yolor_cfg.export.traced import OutputForm
    from yolor_cfg.graph import Graph
    from yolor_cfg.model import Network
    from yolor_cfg.weights.loading import LoadedNetwork

MOST_IMAGES = 1024

EXAMPLES = """\b
Examples:
  yolor export yolov4.cfg yolov4.weights
  yolor export yolov4-tiny.cfg yolov4-tiny.weights --nms --dynamic batch
  yolor export yolov4-tiny.cfg yolov4-tiny.weights --nms --preprocess --order bgr
  yolor export best.pt --format openvino
  yolor export best.pt --format openvino --precision int8 --calibrate cells.data --data cells.data
  yolor export best.pt --format html
  yolor export yolor_p6.cfg yolor_p6.pt --output raw --img-size 896x1280"""


OPTIONS = (
    click.option(
        "--format",
        "format_name",
        type=click.Choice(["onnx", "openvino", "pt2", "aoti", "ncnn", "html"]),
        default="onnx",
        show_default=True,
        help="onnx: an ONNX file, for ONNX Runtime, OpenVINO, OpenCV, TensorRT and more; openvino: its own "
        ".xml and .bin; pt2: a program of torch.export; aoti: one compiled by AOTInductor; ncnn: .param and "
        ".bin; html: a page that finds objects by itself, offline.",
    ),
    click.option(
        "--output",
        "form",
        type=click.Choice(["decoded", "raw"]),
        help="decoded: one tensor [N, B, 5 + classes] of boxes in input pixels, objectness and class "
        "probabilities, and where there are some the image labels and the embeddings of cells; raw: the map "
        "of each head; default: decoded for detectors, raw for other networks.",
    ),
    click.option(
        "--dynamic",
        type=click.Choice(["none", "batch", "all"]),
        default="none",
        show_default=True,
        help="What may differ from call to call: nothing; the number of images; that and their size.",
    ),
    click.option(
        "--batch", default=1, show_default=True, type=CountParam(MOST_IMAGES), help="Images per call."
    ),
    size_option,
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16", "int8"]),
        help="Of weights and maps; boxes are decoded in float32 in all. int8: ONNX and OpenVINO alone, with "
        "--calibrate; the first and last convolutions stay in float32. html: of the stored weights. "
        "Default: fp32; html: fp16.",
    ),
    *CALIBRATION_OPTIONS,
    click.option(
        "--nms/--no-nms",
        default=False,
        help="Filter boxes inside the model: its output is then detections [M, 7]: image, x1, y1, x2, y2, "
        "score, class.",
    ),
    click.option(
        "--conf", default=0.25, show_default=True, type=FractionParam(), help="With --nms: threshold."
    ),
    click.option("--iou", default=0.45, show_default=True, type=FractionParam(), help="With --nms: overlap."),
    click.option(
        "--max-det",
        default=300,
        show_default=True,
        type=CountParam(MOST_DETECTIONS),
        help="With --nms: at most N detections per class and image.",
    ),
    click.option(
        "--onnxruntime-web",
        "runtime",
        type=click.Path(exists=True, path_type=Path),
        metavar="PATH",
        help="With html: folder or .tgz of the npm package onnxruntime-web; default: npm fetches it once.",
    ),
    click.option(
        "--page-limit",
        default=20.0,
        show_default=True,
        type=NumberRange(0, min_open=True),
        help="With html: the largest network, in MB.",
    ),
    click.option(
        "--preprocess",
        is_flag=True,
        help="Fit the image inside the model, exactly as `yolor detect` does: the input is then one image "
        "[1, height, width, channels] uint8 of any size, boxes are in its pixels.",
    ),
    click.option(
        "--order",
        type=click.Choice(["rgb", "bgr"]),
        default="rgb",
        show_default=True,
        help="With --preprocess: the order of the channels of that image; bgr is OpenCV's.",
    ),
    rewrite_option,
    click.option(
        "--names",
        type=click.Path(),
        metavar="FILE",
        help="Class names to store in the model; default: as for `yolor detect`.",
    ),
    click.option(
        "--check/--no-check",
        "checks",
        default=True,
        help="Run the file in every engine that is installed and compare it with our own output.",
    ),
    dialect_option,
    strict_option,
    task_option,
    json_option,
    *folder_options("runs/export"),
)


def add_options(function: Any) -> Any:
    """Add all of them, in this order."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="[CFG] WEIGHTS")
@add_options
def export(paths: tuple[str, ...], **options: Any) -> None:
    """Export the network CFG with its WEIGHTS for other programs.

    A checkpoint that `yolor train` wrote needs no CFG. The folder of the results gets the model, meta.json
    (input, preprocessing, classes, heads, the cfg; ONNX files hold them too) and parity.json: the largest
    difference of each output in each engine. Batch norms and implicit knowledge are folded first. Exit code 1
    where an engine gets something else. With --data the AP of the network in float32 and of the file are
    measured too, of classifiers top-1 or mAP.
    """
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network
    from yolor_cfg.weights.task_choice import task_note

    files = sort_paths(paths)
    if files.others or not (files.network and files.weights):
        raise click.UsageError(
            f"an argument too many: {files.others[0]}" if files.others else "give CFG and WEIGHTS"
        )
    check_data(options)
    _refuse_idle_options(options)
    reading = ReadOptions(options["dialect"], options["size"], strict=options["strict"])
    opened = open_network(files.network, files.weights, reading=reading, task=options["task"])
    opened = name_classes(opened, (files.weights, files.cfg), given=options["names"])
    graph = opened.network.graph
    report_warnings(graph.warnings, [*opened.notes, *task_note(graph)])
    with open_calibration(options) as calibration:
        chosen = _read_options(opened.network, options)._replace(calibration=calibration)
        if options["nms"] and opened.network.embeds:
            report_warnings((), ["NMS inside the file takes away the embeddings; without --nms it has them"])
        result, scores = _write_results(opened, chosen, options)
    _report(result, scores, word=_name_figure(graph) if scores else "", as_json=options["as_json"])
    if result.failures:
        _tell_first_difference(opened.network, result, chosen)
        raise click.exceptions.Exit(1)


def _refuse_idle_options(options: dict[str, Any]) -> None:
    """Raise UsageError for options that were given and would do nothing."""
    if options["order"] != "rgb" and not options["preprocess"]:
        raise click.UsageError("--order belongs to --preprocess, which is not given")
    if options["nms"] or options["format_name"] == "html":
        return
    for name in ("conf", "iou", "max_det"):
        if was_given(name):
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to --nms, which is not given")


def _write_results(
    opened: LoadedNetwork, chosen: ExportOptions, options: dict[str, Any]
) -> tuple[ExportResult, dict[str, float]]:
    """The folder of the results, and what --data asks for."""
    from yolor_cfg.export.formats import check_export
    from yolor_cfg.export.run import export_network, write_plain_file
    from yolor_cfg.rewrite.faster import rewrite_for_speed
    from yolor_cfg.runs import trial_folder

    check_export(opened.network, chosen)  # before anything is told of a network that is not written
    faster = rewrite_for_speed(opened.network, without=options["no_rewrite"])
    if not is_on("quiet"):
        print_stderr("\n".join(faster.notes), "yellow")
    with trial_folder(options["project"], options["name"], proof="parity.json") as folder:
        result = export_network(
            opened.network,
            folder,
            chosen,
            names=opened.names,
            rewritten=faster.network,
            checks=options["checks"],
        )
    if not options["data"]:
        return result, {}
    with tempfile.TemporaryDirectory() as plain:  # NMS and preprocessing are ours
        path = write_plain_file(faster.network, Path(plain), chosen)
        ours, theirs = score_both(opened, path, options["data"], hidden=hides_bars(options))
    return result, {"network": ours, "file": theirs}


def _read_options(network: Network, options: dict[str, Any]) -> ExportOptions:
    """The options in the exporter's words; what the heads give decides where nothing was said."""
    from yolor_cfg.export.formats import FORMATS, ExportOptions, OnnxStore
    from yolor_cfg.export.onnx_file import OnnxSettings
    from yolor_cfg.export.onnx_nms import NmsLimits
    from yolor_cfg.export.page_file import PageOptions
    from yolor_cfg.model import BoxHead

    heads = [network.module_list[node.index] for node in network.graph.box_heads]
    has_boxes = bool(heads) and all(isinstance(head, BoxHead) for head in heads)
    form: OutputForm = options["form"] or ("decoded" if has_boxes else "raw")
    settings = OnnxSettings(form, options["dynamic"], options["batch"])
    multi_label = network.graph.dialect.is_pytorch
    limits = NmsLimits(options["conf"], options["iou"], options["max_det"], multi_label)
    name = options["format_name"]
    return ExportOptions(
        name,
        settings,
        options["precision"] or FORMATS[name].precisions[0],
        limits if options["nms"] or name == "html" else None,
        preprocess=options["order"] if options["preprocess"] else "",
        page=PageOptions(options["runtime"], options["page_limit"]),
        store=OnnxStore(),
    )


def _name_figure(graph: Graph) -> str:
    """What --data measures."""
    from yolor_cfg.evaluate.scores import main_word

    return main_word(graph)


def _report(result: ExportResult, scores: dict[str, float], *, word: str, as_json: bool) -> None:
    """The file, the table of engines, and the main figure where it was measured; as JSON the same."""
    from yolor_cfg.export.run import parity_facts

    if as_json:
        facts = {"file": str(result.path), "bytes": result.size, "parity": parity_facts(result)}
        print_json({**facts, word: scores} if scores else facts)
        return
    echo(f"{result.path}: {result.size:,} bytes")
    rows = [("engine", "version", "largest difference", "relative", "")]
    for one in result.parities:
        worst = max((output.difference for output in one.outputs), default=float("inf"))
        verdict = "ok" if one not in result.failures else one.fault or "differs"
        rows.append((one.engine, one.version.partition("-")[0], f"{worst:.2g}", f"{one.worst:.2g}", verdict))
    if len(rows) > 1:
        echo("\n".join(format_columns(rows, words={0, 1, 4})))
    if scores:
        echo(f"{word}: {scores['file']:.4f}, of the network in float32 {scores['network']:.4f}")


def _tell_first_difference(network: Network, result: ExportResult, chosen: ExportOptions) -> None:
    """Where the first engine that got something else leaves our values."""
    from yolor_cfg.export.run import find_first_difference

    failed = next((one for one in result.failures if not one.fault), None)
    if failed is None or chosen.precision == "int8":
        return
    node = find_first_difference(network, chosen, engine=failed.engine, tolerance=result.tolerance)
    if node is None:
        text = "every section alone agrees: try --no-rewrite all"
    else:
        raw = node.section.raw
        text = f"the first section that differs is [{raw.name} #{node.index}] in line {raw.line}"
    print_stderr(f"{failed.engine}: {text}", "red")
