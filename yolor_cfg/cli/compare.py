"""`yolor compare`: the first layer in which another program, file or engine differs, by how much, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.habits import NetworkPaths, sort_paths
from yolor_cfg.cli.options import (
    NumberRange,
    dialect_option,
    echo,
    format_columns,
    image_options,
    json_option,
    print_json,
    report_warnings,
    size_option,
)
from yolor_cfg.lang.dialect import DIALECTS

if TYPE_CHECKING:
    from torch import Tensor

    from yolor_cfg.analysis.compare.causes import Cause, Diagnosis
    from yolor_cfg.analysis.compare.compare import LayerComparison, NetworkComparison
    from yolor_cfg.analysis.compare.files import ComparedFile
    from yolor_cfg.analysis.compare.layers import LayerRun, ValueDifference
    from yolor_cfg.analysis.compare.values import OtherValues
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.model import Network

EXPORTED, ARRAYS = (".onnx", ".xml"), ".npz"
OWN_ENGINES = ("native", "torch", "compiled")
ENGINES = (*OWN_ENGINES, "onnxruntime", "openvino", "opencv")
HEADERS = ("#", "line", "section", "output", "largest", "mean", "by itself", "verdict")
TEXT_COLUMNS = [HEADERS.index(header) for header in ("section", "output", "verdict")]
ROWS_BEFORE, ROWS_AFTER = 2, 3
"""Rows that are shown before and after the first layer that differs."""
DIFFERENT_CODE = 1
EXAMPLES = """\b
Examples:
  yolor compare yolov4.cfg yolov4.weights --against yolov4.onnx --image dog.jpg
  yolor compare yolov4.cfg yolov4.weights --against native --precision bf16
  yolor compare yolov4.cfg yolov4.weights --against other.cfg --against other.weights
  yolor compare yolov4.cfg yolov4.weights --against values.npz --image dog.jpg"""


class Asked(NamedTuple):
    """What the command line says of the two sides."""

    files: NetworkPaths
    against: tuple[str, ...]
    reading: ReadOptions
    tolerance: float
    precision: str

    @property
    def other(self) -> str:
        """The first or only --against."""
        return self.against[0]


class Sides(NamedTuple):
    """Our layers on the image of both sides, the other side's values, and other inputs for the picture."""

    run: LayerRun
    other: OtherValues
    fits: dict[str, Any]


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, metavar="[CFG] WEIGHTS")
@click.option(
    "--against",
    multiple=True,
    required=True,
    metavar="OTHER",
    help="Weights for the same CFG; a cfg, read with WEIGHTS or with the weights of a second --against; an "
    f".onnx or .xml file; an .npz file of values; an engine: {', '.join(ENGINES)}; or a dialect "
    f"in which the same files are read: {', '.join(DIALECTS)}.",
)
@click.option("--image", type=click.Path(), metavar="FILE", help="The image; default: one that is drawn.")
@click.option(
    "--preprocess",
    type=click.Choice(["stretch", "letterbox", "crop"]),
    help="How our side fits the image; default: as `yolor detect`.",
)
@click.option(
    "--tolerance",
    type=NumberRange(0, 1),
    default=1e-4,
    show_default=True,
    help="The largest difference that counts as equal, as a part of the largest value of the layer.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the engine that is compared.",
)
@click.option("--all", "shows_all", is_flag=True, help="Show every layer.")
@size_option
@dialect_option
@image_options
@json_option
def compare(
    paths: tuple[str, ...],
    against: tuple[str, ...],
    image: str | None,
    preprocess: str | None,
    tolerance: float,
    precision: str,
    shows_all: bool,
    size: int | tuple[int, int] | None,
    dialect: str | None,
    as_json: bool,
) -> None:
    """Find the first layer in which OTHER computes something else than CFG with WEIGHTS here, and why.

    Both sides get the same image. Each layer is compared twice: as it is, and from the inputs that the other
    side has, which tells layers that differ by themselves from those that only follow. For the first layer
    that differs, changes on our side are tried one after the other (another epsilon, other preprocessing,
    tensors from another place of the file, ...): a cause is named only if our layer agrees under it.

    The exit code is 0 if all layers are equal, 1 if any differs.
    """
    from yolor_cfg.analysis.compare.causes import diagnose
    from yolor_cfg.analysis.compare.compare import compare_layers
    from yolor_cfg.graph import ReadOptions

    files = sort_paths(paths)
    if not (files.network and files.weights) or files.others:
        raise click.UsageError("give CFG WEIGHTS, or a checkpoint that holds its CFG")
    _check_against(against, precision)
    asked = Asked(files, against, ReadOptions(dialect, size), tolerance, precision)
    sides = _open_sides(asked, image, preprocess)
    compared = compare_layers(sides.run, sides.other, tolerance)
    found = diagnose(sides.run, compared, sides.fits)
    report_warnings((), sides.other.notes)
    if as_json:
        print_json(_to_json(sides, compared, found))
    else:
        lines = _format_table(compared, shows_all=shows_all)
        echo("\n".join([*lines, "", *_format_verdict(sides, compared, found)]))
    if not compared.is_equal:
        raise click.exceptions.Exit(DIFFERENT_CODE)


def _check_against(against: tuple[str, ...], precision: str) -> None:
    """Refuse what does not go together."""
    first = against[0]
    if len(against) > (2 if first.lower().endswith(".cfg") else 1):
        raise click.UsageError("--against is given twice for a cfg and its weights alone")
    if precision != "fp32" and first not in OWN_ENGINES:
        raise click.UsageError(f"--precision {precision} is for the engines {', '.join(OWN_ENGINES)}")


def _open_sides(asked: Asked, image: str | None, preprocess: str | None) -> Sides:
    """Both sides with the same image."""
    from yolor_cfg.analysis.compare.causes import FaultFinder
    from yolor_cfg.analysis.compare.layers import LayerRun
    from yolor_cfg.analysis.compare.picture import draw_picture, fit_picture, other_fits
    from yolor_cfg.images.fit import default_preprocess
    from yolor_cfg.images.read import read_image

    file, arrays = _open_file(asked.other), _read_arrays(asked.other)
    if arrays is not None and "images" not in arrays and image is None:
        raise click.UsageError(f"{asked.other} holds no `images`: give the image that it is of with --image")
    network = _open_own(asked, file)
    graph = network.graph
    picture = read_image(image, channels=graph.image.channels) if image else draw_picture(network)
    images = _given_images(arrays, network)
    if images is None:
        images = fit_picture(picture, graph, preprocess or default_preprocess(graph))
    run = LayerRun(network, images, "boxes" if arrays is None else "darknet")
    fits = other_fits(picture, graph) if image else {}
    if file is not None:
        finder = FaultFinder(run, asked.tolerance, fits)
        return Sides(run, file.values(run, picture, tolerance=asked.tolerance, find_value=finder), fits)
    return Sides(run, _find_values(asked, run, arrays, fits=fits), fits)


def _open_file(other: str) -> ComparedFile | None:
    from yolor_cfg.analysis.compare.files import ComparedFile

    return ComparedFile(other) if other.lower().endswith(EXPORTED) else None


def _read_arrays(other: str) -> dict[str, Any] | None:
    from yolor_cfg.analysis.compare.sources import read_arrays

    return read_arrays(other) if other.lower().endswith(ARRAYS) else None


def _open_own(asked: Asked, file: ComparedFile | None) -> Network:
    """Our network, for images of the size that the file takes."""
    from yolor_cfg.weights.loading import open_network

    assert asked.files.network
    reading = asked.reading
    if file is not None and file.input.size and reading.size is None:
        reading = reading._replace(size=file.input.size)
    opened = open_network(asked.files.network, asked.files.weights, reading=reading)
    report_warnings(opened.network.graph.warnings, opened.notes)
    return opened.network


def _given_images(arrays: dict[str, Any] | None, network: Network) -> Tensor | None:
    """The input that a file of values holds."""
    from yolor_cfg.analysis.compare.sources import check_images

    return check_images(arrays["images"], network) if arrays and "images" in arrays else None


def _find_values(
    asked: Asked, run: LayerRun, arrays: dict[str, Any] | None, *, fits: dict[str, Any]
) -> OtherValues:
    """The values of an engine, of a file of values or of another network."""
    from yolor_cfg.analysis.compare import sources
    from yolor_cfg.analysis.compare.causes import FaultFinder
    from yolor_cfg.weights.loading import open_network

    if arrays is not None:
        return sources.array_values(run, arrays, asked.other)
    finder = FaultFinder(run, asked.tolerance, fits)
    own = asked.files
    reads_files = own.cfg and own.weights and own.weights.lower().endswith(".weights")
    if asked.other == "opencv" and reads_files and sources.has_darknet_importer():
        return sources.opencv_values(
            run, str(own.cfg), str(own.weights), tolerance=asked.tolerance, find_value=finder
        )
    if asked.other in ENGINES:
        return sources.engine_values(run, asked.other, asked.precision)
    cfg, weights = _choose_other(asked)
    dialect = asked.other if asked.other in DIALECTS else asked.reading.dialect if cfg == own.cfg else None
    reading = asked.reading._replace(dialect=dialect)
    if cfg != own.cfg and run.graph.image.area > 1:
        reading = reading._replace(size=run.graph.image[1:])
    opened = open_network(cfg, weights, reading=reading)
    if (cfg, weights) != (own.network, own.weights):
        report_warnings(opened.network.graph.warnings if cfg != own.network else (), opened.notes)
    return sources.network_values(
        run, opened.network, title=asked.other, tolerance=asked.tolerance, find_value=finder
    )


def _choose_other(asked: Asked) -> tuple[str, str]:
    """The cfg, or the checkpoint that holds it, and the weights of the other network."""
    files = asked.files
    if len(asked.against) == 2:
        return asked.against[0], asked.against[1]
    assert files.network and files.weights
    if asked.other in DIALECTS:
        return files.network, files.weights
    if asked.other.lower().endswith(".cfg"):
        return asked.other, files.weights
    alone = sort_paths([asked.other]).network if files.cfg is None else None
    return alone or files.network, asked.other


def _format_table(compared: NetworkComparison, *, shows_all: bool) -> list[str]:
    """The rows of the layers: those around the first that differs, unless all are asked for."""
    rows = [_row(one) for one in compared.layers]
    first = compared.first
    place = compared.layers.index(first) if first else len(rows)
    start = 0 if shows_all else max(0, min(place, len(rows) - 1) - ROWS_BEFORE)
    end = len(rows) if shows_all else place + 1 + ROWS_AFTER
    lines = format_columns([HEADERS, *rows[start:end]], words=TEXT_COLUMNS)
    before, after = compared.layers[:start], compared.layers[end:]
    return [lines[0], *_rest(before), *lines[1:], *_rest(after)]


def _rest(layers: Sequence[LayerComparison]) -> list[str]:
    """One line for rows that are not shown."""
    from yolor_cfg.analysis.compare.compare import VERDICTS

    counts = {verdict: sum(one.verdict == verdict for one in layers) for verdict in VERDICTS}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return [f"... {len(layers)} more: {told}"] if layers else []


def _row(one: LayerComparison) -> tuple[str, ...]:
    numbers = [one.difference and one.difference.largest, one.difference and one.difference.mean]
    numbers.append(one.own and one.own.largest)
    section = one.node.section
    place = (str(one.node.index), str(one.node.line), section.type, str(one.node.shape))
    return (*place, *map(_format_number, numbers), one.verdict)


def _format_number(number: float | None) -> str:
    if number is None:
        return "-"
    return "0" if number == 0 else f"{number:.1e}"


def _format_verdict(sides: Sides, compared: NetworkComparison, found: Sequence[Diagnosis]) -> Iterator[str]:
    first = compared.first
    if first is None:
        known = sum(one.difference is not None for one in compared.layers)
        yield f"equal: {known} of {len(compared.layers)} layers compared, tolerance {compared.tolerance:g}"
        return
    yield f"first difference: {_place(sides, first)}"
    shape = tuple(sides.other.layers[first.node.index].shape)
    if first.difference is not None and math.isinf(first.difference.largest):
        yield f"  not comparable: its shape there is {'x'.join(map(str, shape))}, or only one side is finite"
    if compared.telling not in (None, first):
        yield "no layer up to there differs by itself: small differences add up"
        yield f"largest by itself: {_place(sides, compared.telling)}"
    if not found:
        yield "cause: not looked for: the layer reads a head, and cannot be computed alone"
    for number, diagnosis in enumerate(found):
        if number:
            yield f"then: {_place(sides, compared.layers[diagnosis.node.index])}"
        yield from _format_diagnosis(compared, diagnosis)


def _format_diagnosis(compared: NetworkComparison, found: Diagnosis) -> Iterator[str]:
    if not found.causes:
        yield f"cause: unexplained: {found.tried} changes were tried, and none makes the layer agree"
        if found.nearest:
            yield f"  nearest: {_format_cause(found.nearest)}"
        return
    best, *others = found.causes
    yield f"cause: {_format_cause(best)}"
    if len(compared.differing) > 1:
        many = len(compared.differing)
        yield f"  it explains {len(found.explained)} of the {many} layers that differ by themselves"
    for other in others:
        yield f"  or: {_format_cause(other)}"


def _place(sides: Sides, one: LayerComparison | None) -> str:
    assert one is not None
    return f"{sides.run.graph.path}:{one.node.line}: [{one.node.section.type} #{one.node.index}]"


def _format_cause(cause: Cause) -> str:
    before, after = (_format_number(one.largest) for one in (cause.before, cause.after))
    return f"{cause.name}: the other side has {cause.text}; with that here {before} becomes {after}"


def _to_json(sides: Sides, compared: NetworkComparison, found: Sequence[Diagnosis]) -> dict[str, Any]:
    first = compared.first
    return {
        "cfg": sides.run.graph.path,
        "against": sides.other.title,
        "equal": compared.is_equal,
        "tolerance": compared.tolerance,
        "first": None if first is None else first.node.index,
        "diagnoses": [_diagnosis_json(one) for one in found],
        "layers": [_layer_json(one) for one in compared.layers],
    }


def _diagnosis_json(one: Diagnosis) -> dict[str, Any]:
    return {
        "index": one.node.index,
        "causes": [_cause_json(cause) for cause in one.causes],
        "nearest": _cause_json(one.nearest) if one.nearest else None,
        "tried": one.tried,
        "explained": sorted(one.explained),
    }


def _cause_json(cause: Cause) -> dict[str, Any]:
    before, after = _difference_json(cause.before), _difference_json(cause.after)
    return {"name": cause.name, "text": cause.text, "before": before, "after": after}


def _layer_json(one: LayerComparison) -> dict[str, Any]:
    node = one.node
    return {
        "index": node.index,
        "line": node.line,
        "type": node.section.type,
        "shape": list(node.shape),
        "verdict": one.verdict,
        "difference": _difference_json(one.difference),
        "by_itself": _difference_json(one.own),
    }


def _difference_json(one: ValueDifference | None) -> dict[str, float | None] | None:
    """JSON has no infinity: it becomes null."""
    if one is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in one._asdict().items()}
