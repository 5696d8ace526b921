"""`yolor info`: what a cfg describes and costs. Only --folded, --counting thop and checkpoints need torch."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.models_text import head_to_dict
from yolor_cfg.cli.options import (
    dialect_option,
    echo,
    format_columns,
    json_option,
    print_json,
    report_warnings,
    size_option,
    strict_option,
    task_option,
)
from yolor_cfg.cli.picture import picture_options, save_picture
from yolor_cfg.report.layer_text import format_bytes, format_count, format_geometry

if TYPE_CHECKING:
    from yolor_cfg.count import ConventionCosts, GraphCosts, NodeConventionCosts, PeakMemory
    from yolor_cfg.graph import Graph, Node
    from yolor_cfg.shape import Shape

HEADERS = ("#", "line", "type", "filters", "size/stride", "from", "input", "output", "parameters")
COST_HEADERS = ("MACs", "BFLOPs", "memory")
TASK_HEADERS = ("task", "own parameters", "own values", "own MACs", "parameters alone", "MACs alone")
COUNTINGS = ("exact", "darknet", "paper", "thop")
TEXT_COLUMNS = [HEADERS.index(header) for header in ("type", "size/stride", "from", "input", "output")]
MAX_PEAK_VALUES, MAX_LAYERS, MAX_SOURCES = 5, 4, 12


@click.command()
@click.argument("cfg", nargs=-1, type=click.Path())
@size_option
@dialect_option
@strict_option
@task_option
@click.option(
    "--counting",
    type=click.Choice(COUNTINGS),
    help="Whose parameters and FLOPs: ours (exact; the default), C Darknet's, those of YOLOR's paper, or "
    "those of the library thop, which is run, and how they differ from ours.",
)
@click.option(
    "--folded",
    is_flag=True,
    help="The network with batch norms and implicit knowledge folded "
    "into its convolutions, and what cannot be.",
)
@click.option("--memory", is_flag=True, help="The peak of the activation memory: where it is, what it holds.")
@picture_options
@click.option("--sections", is_flag=True, help="List all sections; with names in place of CFG, their keys.")
@json_option
def info(
    cfg: tuple[str, ...],
    size: int | tuple[int, int] | None,
    dialect: str | None,
    strict: bool,
    task: str | None,
    counting: str | None,
    folded: bool,
    memory: bool,
    picture: Path | None,
    force: bool,
    sections: bool,
    as_json: bool,
) -> None:
    """Print the sections of CFG, or of the cfg that a checkpoint holds, and what they cost.

    One MAC is a multiply-add, that is two FLOPs; BFLOPs are those that Darknet prints. Memory is that of the
    outputs of one image in float32. With --counting, parameters and FLOPs are as others count them: the paper
    counts a bias and twice a batch norm besides the multiply-adds, and one for each prediction that implicit
    knowledge multiplies. `yolor info --sections` lists the language, `yolor info --sections convolutional`
    the keys of one section.
    """
    _check_usage(cfg, picture, force=force, sections=sections)
    if sections:
        from yolor_cfg.cli.language import print_language

        return print_language(cfg, as_json)
    from yolor_cfg.cli.info_graph import AskedGraph, read_asked
    from yolor_cfg.count import count_costs, peak_activation
    from yolor_cfg.graph import COLLECT_EVERY, ReadOptions

    gc.set_threshold(COLLECT_EVERY)  # for good: the process ends with this command
    asked = AskedGraph(ReadOptions(dialect=dialect, size=size, strict=strict), task, folded)
    graph = read_asked(cfg[0], asked)
    if picture:
        save_picture(graph, picture, force=force)
    counted, peak = count_costs(graph), peak_activation(graph) if memory else None
    tallied = _tally(graph, counting) if counting else None
    terms = _explain(graph, tallied) if tallied and counting == "thop" else []
    if as_json:
        document = _add_convention_costs(_to_json(graph, counted, peak), tallied)
        written = {"picture": str(picture)} if picture else {}
        return print_json({**document, **({"terms": terms} if terms else {}), **written})
    more_lines = _format_terms(graph, terms) + (_format_peak(graph, peak) if peak else [])
    table = [] if picture else [*_format_table(graph, tallied), ""]
    totals = _format_totals(graph, counted, tallied)
    return echo("\n".join([*table, *totals, *more_lines, *_format_tasks(graph)]))


def _check_usage(cfg: tuple[str, ...], picture: Path | None, *, force: bool, sections: bool) -> None:
    if force and not picture:
        raise click.UsageError("--force is for the file of --graph")
    if sections and picture:
        raise click.UsageError("--graph draws a network: it takes a CFG, not --sections")
    if not sections and len(cfg) != 1:
        raise click.UsageError("give one CFG" if cfg else "missing argument CFG")


def _tally(graph: Graph, counting: str) -> ConventionCosts:
    """The costs as this convention has them; those of thop by thop itself, where it is installed."""
    from yolor_cfg.count import count_by_convention

    if counting != "thop":
        return count_by_convention(graph, counting)
    try:
        from yolor_cfg.analysis.thop_counts import profile_with_thop

        return profile_with_thop(graph)
    except ImportError as fault:
        report_warnings((), [f"thop cannot be imported ({fault}): the figures are those of our rules for it"])
        return count_by_convention(graph, counting)


def _explain(graph: Graph, tallied: ConventionCosts) -> list[dict[str, Any]]:
    """What thop's FLOPs are the sum of; a last entry has what our rules for it leave unexplained."""
    from yolor_cfg.count import count_by_convention, explain_thop

    terms = [
        {
            "reason": reason,
            "flops": sum(node.flops or 0 for node in nodes),
            "layers": [n.number for n in nodes],
        }
        for reason, nodes in explain_thop(graph).items()
    ]
    rules = count_by_convention(graph, "thop")
    if rest := tallied.flops - rules.flops:
        pairs = zip(tallied.nodes, rules.nodes, strict=True)
        layers = [node.number for node, rule in pairs if node.flops != rule.flops]
        terms.append({"reason": "for no reason that is known here", "flops": rest, "layers": layers})
    return terms


def _add_convention_costs(document: dict[str, Any], tallied: ConventionCosts | None) -> dict[str, Any]:
    """The document with what the convention counts: parameters and FLOPs of each layer and of all."""
    if tallied is None:
        return document
    layers = [
        {**layer, "parameters": cost.parameters, "flops": cost.flops}
        for layer, cost in zip(document["layers"], tallied.nodes, strict=True)
    ]
    return {
        **document,
        "layers": layers,
        "counting": tallied.counting,
        "parameters": tallied.parameters,
        "flops": tallied.flops,
        "mflops": tallied.mflops,
        "gflops": tallied.gflops,
    }


def _to_json(graph: Graph, counted: GraphCosts, peak: PeakMemory | None) -> dict[str, Any]:
    from yolor_cfg.analysis.models.types import describe_head
    from yolor_cfg.count import count_tasks, find_served_tasks

    layers = [
        {
            "index": node.index,
            "line": node.line,
            "type": node.section.type,
            "sources": list(node.sources),
            "shape": list(node.shape),
            "parameters": cost.parameters,
            "macs": cost.macs,
            "bflops": cost.bflops,
            **({"tasks": sorted(served)} if graph.tasks else {}),
        }
        for node, cost, served in zip(graph.nodes, counted.nodes, find_served_tasks(graph), strict=True)
    ]
    tasks = [one._asdict() for one in count_tasks(graph)]
    return {
        "dialect": graph.dialect.name,
        "layers": layers,
        "heads": [head_to_dict(describe_head(graph, node)) for node in graph.heads],
        "parameters": counted.parameters,
        "parameters_folded": counted.parameters_folded,
        "macs": counted.macs,
        "gflops": counted.gflops,
        "weights_bytes": counted.weights_bytes,
        **({"tasks": tasks} if tasks else {}),
        **({"peak_activation_bytes": peak.bytes} if peak else {}),
    }


def _format_table(graph: Graph, tallied: ConventionCosts | None) -> list[str]:
    """The sections with what they cost, or with what a convention says that they cost."""
    if tallied is None:
        rows = [_node_row(node, *node.derive(_cost_cells)) for node in graph.nodes]
        return format_columns([HEADERS + COST_HEADERS, *rows], words=TEXT_COLUMNS)
    rows = [
        _node_row(node, _format_number(cost.parameters), _format_flops(cost))
        for node, cost in zip(graph.nodes, tallied.nodes, strict=True)
    ]
    return format_columns([(*HEADERS, "FLOPs"), *rows], words=TEXT_COLUMNS)


def _node_row(node: Node, *costs: str) -> tuple[str, ...]:
    name, filters, geometry, *sizes = node.derive(_size_cells)
    return (str(node.index), str(node.line), name, filters, geometry, _format_sources(node), *sizes, *costs)


def _size_cells(node: Node) -> tuple[str, ...]:
    section, inputs, out = node.section, node.inputs, node.shape
    keys = section.keys
    filters = str(out.channels) if "filters" in keys or "output" in keys else ""
    grows = bool(inputs) and out.height > inputs[0].height
    name = f"{section.type} ({', '.join(section.task)})" if section.task else section.type
    return name, filters, format_geometry(section, grows=grows), _format_inputs(inputs), str(out)


def _cost_cells(node: Node) -> tuple[str, ...]:
    from yolor_cfg.count import count_node

    cost = node.derive(count_node)
    bflops = "-" if cost.bflops is None else f"{cost.bflops:.3f}" if cost.bflops else ""
    memory = format_bytes(4 * cost.activation_floats) if cost.activation_floats else "shared"
    return _format_number(cost.parameters), format_count(cost.macs), bflops, memory


def _format_number(number: int) -> str:
    return f"{number:,}" if number else ""


def _format_flops(cost: NodeConventionCosts) -> str:
    return "-" if cost.flops is None else f"{cost.flops:,.0f}" if cost.flops else ""


def _format_sources(node: Node) -> str:
    """Absolute numbers of the sections read, when they are not just the one before."""
    if node.sources == (node.index - 1,):
        return ""
    shown = ["image" if source < 0 else str(source) for source in node.sources[:MAX_SOURCES]]
    more = [f"... ({len(node.sources):,})"] if len(node.sources) > MAX_SOURCES else []
    return ",".join(shown + more) or "nothing"


def _format_inputs(shapes: Sequence[Shape]) -> str:
    """One shape, `2 * 64x19x19` for equal ones, `128+256x38x38` for equal maps, else how many."""
    if not shapes:
        return ""
    first = shapes[0]
    if len(set(shapes)) == 1:
        return str(first) if len(shapes) == 1 else f"{len(shapes)} * {first}"
    channels = "+".join(str(shape.channels) for shape in shapes)
    if len({shape[1:] for shape in shapes}) == 1 and len(channels) < 16:
        return f"{channels}x{first.height}x{first.width}"
    return f"{first}, {shapes[1]}" if len(shapes) == 2 else f"{len(shapes)} inputs"


def _format_totals(graph: Graph, counted: GraphCosts, tallied: ConventionCosts | None) -> list[str]:
    weights = counted.weights_bytes
    return _format_rows(
        [
            ("dialect", graph.dialect.name),
            ("image", str(graph.image)),
            ("sections", f"{len(graph.nodes)}, heads: {sum(node.section.is_head for node in graph.nodes)}"),
            *(_cost_totals(counted) if tallied is None else _convention_totals(tallied)),
            ("weights file", f"{format_bytes(weights)} ({weights:,} bytes)"),
        ]
    )


def _cost_totals(counted: GraphCosts) -> list[tuple[str, str]]:
    folded = f"{counted.parameters_folded:,} after folding batch norm"
    return [
        ("parameters", f"{counted.parameters:,} ({folded})"),
        ("MACs", f"{counted.macs:,} ({counted.gflops:.3f} GFLOPs)"),
        ("BFLOPs", f"{counted.bflops:.3f} as Darknet prints them"),
    ]


def _convention_totals(tallied: ConventionCosts) -> list[tuple[str, str]]:
    from yolor_cfg.count import COUNTINGS

    return [
        ("counting", f"{tallied.counting}: FLOPs are {COUNTINGS[tallied.counting].description}"),
        *([("counted by", tallied.counter)] if tallied.counting == "thop" else []),
        ("parameters", f"{tallied.parameters:,}"),
        ("FLOPs", f"{tallied.flops:,.0f} ({tallied.mflops:.4f} MFLOPs)"),
    ]


def _format_tasks(graph: Graph) -> list[str]:
    """What each task has of its own and what it needs in all."""
    from yolor_cfg.count import count_tasks

    rows = [
        (
            one.task,
            f"{one.parameters:,}",
            f"{one.values:,}",
            format_count(one.macs),
            f"{one.parameters_needed:,}",
            format_count(one.macs_needed),
        )
        for one in count_tasks(graph)
    ]
    return ["", *format_columns([TASK_HEADERS, *rows], words=[0])] if rows else []


def _format_terms(graph: Graph, terms: Sequence[dict[str, Any]]) -> list[str]:
    """The terms of a sum of FLOPs, each with its reason and the sections that it is about."""
    if not terms:
        return []
    rows = [
        (f"{term['flops']:+,.0f}", f"{term['reason']}: {_format_layers(graph, term['layers'])}")
        for term in terms
    ]
    title = ("FLOPs are", "the sum of what thop counts and of what it does not")
    return _format_rows([title]) + ["  " + line for line in format_columns(rows, words=[1])]


def _format_layers(graph: Graph, numbers: Sequence[int]) -> str:
    """`[local #3], [upsample #5]`, at most a few."""
    shown = [f"[{graph.nodes[number].section.type} #{number}]" for number in numbers[:MAX_LAYERS]]
    more = [f"{len(numbers) - MAX_LAYERS} more"] if len(numbers) > MAX_LAYERS else []
    return ", ".join(shown + more)


def _format_peak(graph: Graph, peak: PeakMemory) -> list[str]:
    node = graph.nodes[peak.number]
    largest = sorted(peak.values, key=lambda value: -value.bytes)[:MAX_PEAK_VALUES]
    rows = [(format_bytes(value.bytes), _format_node(graph, value.number)) for value in largest]
    place = f"{_format_node(graph, node.index)}, line {node.line}"
    head = f"{format_bytes(peak.bytes)} ({peak.bytes:,} bytes) at {place}"
    return _format_rows([("peak memory", head)]) + ["  " + line for line in format_columns(rows, words=[1])]


def _format_node(graph: Graph, number: int) -> str:
    if number < 0:
        return f"image {graph.image}"
    node = graph.nodes[number]
    return f"[{node.section.type} #{number}] {node.shape}"


def _format_rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{label:<13} {text}" for label, text in rows]
