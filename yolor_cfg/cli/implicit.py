"""`yolor implicit`: what implicit knowledge learned, as a table, JSON, arrays and a chart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.habits import NetworkPaths, sort_paths
from yolor_cfg.cli.options import (
    dialect_option,
    echo,
    format_columns,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
    task_option,
)
from yolor_cfg.cli.plotting import check_plot, save_plot
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.analysis.implicit import (
        AnchorRefinement,
        HeadRefinement,
        ImplicitKnowledge,
        LearnedValue,
    )
    from yolor_cfg.analysis.similarity import Similarity

STATISTICS = ("mean", "std", "min", "max", "norm", "from start")
HEADERS = ("#", "line", "kind", "model", "numbers", *STATISTICS, "place")
TEXT_COLUMNS = [HEADERS.index(header) for header in ("kind", "model", "place")]
ANCHOR_HEADERS = ("anchor", "size", "z of w", "z of h", "at rest", "without z", "for -1", "for 0", "for 1")
ANCHORS_NOTE = """\
Sizes are width x height in input pixels, as the head computes them for an anchor a. In the yolor
dialect that is a (2 s(t))^2, where s is the logistic function and t is z u or u + z for the output u of
the convolution. A factor z is d ln(size) / du at u = 0; a term z amounts to another anchor, a (2 s(z))^2.
"At rest" means that all features are 0, so that u is the bias (plus what is added to the features);
"without z" is the same with z left out; the last three columns are for u = -1, 0 and 1."""

OUTPUT_HELP = """\b
The keys of --json:
  layers      index, line, kind, model, shape, start (the initial mean), task (of a value that
              one task has), whole (false: a chain
              that depends on the image is left out), mean, std, min, max, norm (L2), distance
              (L2, from the start), coefficients (their number), places: index, line, type,
              text, levels
  anchors     layer, place, head, level, number (in the cfg's list); size, z, at_rest, without
              and at_units (for -1, 0 and 1) are pairs of width and height; null: not refined
  similarity  layers, anchors: a, b, cosine (of the values), of_change (of values - start)
  folded      true: read from the record that folding left
The names in --npz: INDEX, of a task INDEX_TASK (a value, [filters] or [atoms, filters]),
INDEX_coefficients, INDEX_basis, INDEX_anchors ([anchors, values of a box]; NaN: not refined)."""


@click.command(epilog=OUTPUT_HELP)
@click.argument("paths", nargs=-1, metavar="[CFG] WEIGHTS")
@json_option
@click.option(
    "--npz",
    type=click.Path(),
    metavar="FILE",
    help="Write all values, coefficients and bases as NumPy arrays.",
)
@click.option(
    "--plot", type=click.Path(), metavar="FILE.png", help="Draw all of it as a chart (needs matplotlib)."
)
@dialect_option
@task_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def implicit(
    paths: tuple[str, ...],
    as_json: bool,
    npz: str | None,
    plot: str | None,
    dialect: str | None,
    task: str | None,
    force: bool,
) -> None:
    """Show what the implicit sections of CFG learned, and the anchors that follow from it.

    A checkpoint that `yolor train` wrote needs no CFG.

    Values are shown as the network uses them: W z for model=network, Z^T c for model=factorization, plus what
    a chain adds. For a folded checkpoint that kept a record of its implicit knowledge, the record is shown.
    With --task it is the knowledge of that task alone.
    """
    from yolor_cfg.analysis.implicit_record import to_json_document

    check_plot(plot)
    files = sort_paths(paths)
    if not (files.network and files.weights) or files.others:
        raise click.UsageError("give CFG WEIGHTS, or a checkpoint that holds its CFG")
    found, folded = _read_knowledge(files, dialect, task)
    if npz:
        _save_arrays(found, npz, force=force)
    if plot:
        from yolor_cfg.analysis.implicit_plots import knowledge_chart

        save_plot(knowledge_chart(found), plot, force=force)
    if as_json:
        return print_json({**to_json_document(found), "folded": folded})
    return echo("\n".join([*_format_table(found), *_format_anchors(found), *_format_similarities(found)]))


def _read_knowledge(
    files: NetworkPaths, dialect: str | None, task: str | None
) -> tuple[ImplicitKnowledge, bool]:
    """The implicit knowledge, of one task if it is chosen, and whether it is a folded checkpoint's record."""
    from yolor_cfg.analysis.implicit import collect_knowledge
    from yolor_cfg.analysis.implicit_record import from_record, read_record
    from yolor_cfg.graph import ReadOptions
    from yolor_cfg.weights.loading import open_network, switch_task

    assert files.network and files.weights
    opened = open_network(files.network, files.weights, reading=ReadOptions(dialect))
    own = task if task in opened.network.graph.tasks else None
    if task is not None and own is None:
        opened = switch_task(opened, task, files.weights)
    record = read_record(files.weights)
    notes = ["from the record in the checkpoint, whose network is folded"] if record is not None else []
    report_warnings(opened.network.graph.warnings, [*opened.notes, *notes])
    if record is not None:
        return _keep_task(from_record(record, path=files.weights), own), True
    return _keep_task(collect_knowledge(opened.network), own), False


def _keep_task(found: ImplicitKnowledge, task: str | None) -> ImplicitKnowledge:
    """What this task has of its own and what all share; everything for None."""
    if task is None:
        return found
    layers = tuple(one for one in found.layers if one.task in ("", task))
    refinements = tuple(one for one in found.refinements if one.task in ("", task))
    return found._replace(layers=layers, refinements=refinements)


def _save_arrays(found: ImplicitKnowledge, path: str, *, force: bool) -> None:
    import numpy as np

    from yolor_cfg.analysis.implicit_record import to_arrays
    from yolor_cfg.errors import YolorError
    from yolor_cfg.files import replace_file

    content: dict[str, Any] = {**to_arrays(found)}
    replace_file(path, lambda file: np.savez_compressed(file, **content), fault=YolorError, force=force)
    print_stderr(f"{path}: {count_of(len(content), 'array')}", "green")


def _format_table(found: ImplicitKnowledge) -> list[str]:
    return format_columns(
        [HEADERS, *(row for layer in found.layers for row in _layer_rows(layer))], words=TEXT_COLUMNS
    )


def _layer_rows(layer: LearnedValue) -> list[tuple[str, ...]]:
    """A layer's row, and one for each further place."""
    size = "x".join(map(str, layer.values.shape))
    kind = f"{layer.kind} ({layer.task})" if layer.task else layer.kind
    facts = (str(layer.index), str(layer.line), kind, layer.model, size)
    numbers = [f"{number:.4f}" for number in layer.numbers.values()]
    texts = [place.text for place in layer.places] or ["nothing reads it"]
    texts[0] += "" if layer.whole else " (without its chain, which depends on the image)"
    blank = ("",) * (len(HEADERS) - 1)
    return [(*facts, *numbers, texts[0]), *((*blank, text) for text in texts[1:])]


def _format_anchors(found: ImplicitKnowledge) -> list[str]:
    """The anchors whose sizes are refined."""
    rows = [_anchor_row(one, anchor) for one in found.refinements for anchor in one.sizes]
    if not rows:
        return []
    return ["", *format_columns([ANCHOR_HEADERS, *rows], words=[0]), *ANCHORS_NOTE.split("\n")]


def _anchor_row(one: HeadRefinement, anchor: AnchorRefinement) -> tuple[str, ...]:
    pairs = (anchor.at_rest, anchor.without, *anchor.at_units)
    sizes = [f"{width:.1f} x {height:.1f}" for width, height in pairs]
    width, height = anchor.size
    z = [f"{number:.4f}" for number in anchor.z]
    return (f"{one.level_title} #{anchor.number}", f"{width:g} x {height:g}", *z, *sizes)


def _format_similarities(found: ImplicitKnowledge) -> list[str]:
    """Values of equal length; the similarity of single anchors is in the chart and in --json."""
    from yolor_cfg.analysis.similarity import layer_similarities

    pairs = layer_similarities(found.layers)
    if not pairs:
        return []
    rows = [_similarity_row(pair) for pair in pairs]
    return ["", *format_columns([("similarity", "cosine", "of what changed"), *rows], words=[0])]


def _similarity_row(pair: Similarity) -> tuple[str, ...]:
    cosines = ["-" if math.isnan(number) else f"{number:.4f}" for number in (pair.cosine, pair.of_change)]
    return (f"{pair.a} and {pair.b}", *cosines)
