"""`yolor cfg diff`: what differs between two networks, layer by layer, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.options import dialect_option, json_option, print_json
from yolor_cfg.errors import count_of, printable

if TYPE_CHECKING:
    from yolor_cfg.analysis.cfg_diff import CfgDiff, KeyChange, LayerPair
    from yolor_cfg.count import GraphCosts, NodeCosts
    from yolor_cfg.graph import Graph, Node

DIFFERENCE_CODE = 1
MARKS = {"added": "+", "removed": "-", "changed": "~", "resized": "="}
USES = {"both": "", "none": "  (no effect here)", "training": "  (training)", "inference": "  (inference)"}
COLORS = {"+": "green", "-": "red", "~": "yellow"}


class Costed(NamedTuple):
    """Two networks with the costs of all of their layers."""

    diff: CfgDiff
    before: GraphCosts
    after: GraphCosts

    def costs_of(self, pair: LayerPair) -> tuple[NodeCosts | None, NodeCosts | None]:
        """The costs of both layers, None where there is none."""
        return (
            self.before.nodes[pair.before.index] if pair.before else None,
            self.after.nodes[pair.after.index] if pair.after else None,
        )


@click.command()
@click.argument("before", type=click.Path(), metavar="A")
@click.argument("after", type=click.Path(), metavar="B")
@dialect_option
@json_option
def diff(before: str, after: str, dialect: str | None, as_json: bool) -> None:
    """Print what differs between the networks A and B: layers, keys, sizes, costs.

    The exit code is 0 if they are equal, and 1 if not. Comments, the order of keys and defaults that are
    written out make no difference, nor do the numbers of layers where they lead to the same one.
    """
    from yolor_cfg.analysis.cfg_diff import compare_graphs
    from yolor_cfg.count import count_costs
    from yolor_cfg.graph import ReadOptions, load_graph

    graphs = [load_graph(path, ReadOptions(dialect)) for path in (before, after)]
    found = Costed(compare_graphs(*graphs), *map(count_costs, graphs))
    if as_json:
        print_json(_to_json(found))
    else:
        for line in _format_diff(found):
            click.echo(click.style(printable(line), fg=COLORS.get(line[:1])))
    if not found.diff.is_equal:
        raise click.exceptions.Exit(DIFFERENCE_CODE)


def _format_diff(found: Costed) -> Iterator[str]:
    diff = found.diff
    if diff.is_equal:
        yield f"equal: {count_of(len(diff.pairs), 'layer')}, {_format_cost(found.before)}"
        return
    yield f"A: {diff.before.path}: {_format_graph(diff.before, found.before)}"
    yield f"B: {diff.after.path}: {_format_graph(diff.after, found.after)}"
    if diff.net:
        yield from ("", "~ [net]", *map(_format_change, diff.net))
    yield ""
    for kind, group in groupby(diff.pairs, key=lambda pair: pair.kind):
        pairs = list(group)
        if kind in ("same", "resized"):
            yield _format_run(kind, pairs)
        else:
            for pair in pairs:
                yield from _format_pair(pair, found.costs_of(pair))
    yield from ("", _format_total(found))


def _format_graph(graph: Graph, costs: GraphCosts) -> str:
    return f"{graph.dialect.name}, {count_of(len(graph.nodes), 'layer')}, {_format_cost(costs)}"


def _format_cost(costs: GraphCosts) -> str:
    return f"{costs.parameters:,} parameters, {costs.gflops:.3f} GFLOPs"


def _format_change(change: KeyChange) -> str:
    note = (
        "" if change.use == "both" else f"  ({change.use})" if change.use != "none" else "  (no effect here)"
    )
    return f"    {change.key}: {change.before} -> {change.after}{note}"


def _format_run(kind: str, pairs: Sequence[LayerPair]) -> str:
    """One line for layers in a row that are the same, or that differ in their sizes alone."""
    first, last = pairs[0], pairs[-1]
    assert first.before and first.after and last.before and last.after
    spans = [
        f"#{one.index}" + (f"-{other.index}" if other is not one else "")
        for one, other in ((first.before, last.before), (first.after, last.after))
    ]
    place = spans[0] if spans[0] == spans[1] else " -> ".join(spans)
    if kind == "same":
        return f"  {place}: equal"
    return f"{MARKS[kind]} {place}: other sizes alone, from {first.before.shape} -> {first.after.shape} on"


def _format_pair(pair: LayerPair, costs: tuple[NodeCosts | None, NodeCosts | None]) -> Iterator[str]:
    before, after = pair.before, pair.after
    node = after or before
    assert node is not None
    if before and after:
        place = f"#{before.index}, line {before.line} -> #{after.index}, line {after.line}"
        sizes = f"{before.shape} -> {after.shape}" if before.shape != after.shape else str(after.shape)
    else:
        place, sizes = f"#{node.index}, line {node.line}", str(node.shape)
    yield f"{MARKS[pair.kind]} [{node.section.type}] {place}: {sizes}{_format_costs(*costs)}"
    yield from map(_format_change, pair.changes)


def _format_costs(before: NodeCosts | None, after: NodeCosts | None) -> str:
    """`, +4,608 parameters, +0.4 MFLOPs`; nothing for what stays."""
    parameters = (after.parameters if after else 0) - (before.parameters if before else 0)
    flops = 2 * ((after.macs if after else 0) - (before.macs if before else 0))
    parts = [f"{parameters:+,} parameters"] if parameters else []
    parts += [f"{flops / 1e6:+,.3f} MFLOPs"] if flops else []
    return "".join(f", {part}" for part in parts)


def _format_total(found: Costed) -> str:
    before, after = found.before, found.after
    numbers: Mapping[str, int] = dict.fromkeys(("added", "removed", "changed"), 0)
    numbers = {kind: sum(pair.kind == kind for pair in found.diff.pairs) for kind in numbers}
    layers = ", ".join(f"{number} {kind}" for kind, number in numbers.items())
    parameters = _format_difference(before.parameters, after.parameters, "parameters", spec="+,")
    flops = _format_difference(before.gflops, after.gflops, "GFLOPs", spec="+,.3f")
    return f"layers: {layers}; {parameters}, {flops}"


def _format_difference(before: float, after: float, unit: str, *, spec: str) -> str:
    share = f" ({100 * (after - before) / before:+.1f} %)" if before else ""
    return f"{after - before:{spec}} {unit}{share}"


def _to_json(found: Costed) -> dict[str, Any]:
    diff = found.diff
    differing = [pair for pair in diff.pairs if pair.kind != "same"]
    return {
        "equal": diff.is_equal,
        "before": _graph_to_json(diff.before, found.before),
        "after": _graph_to_json(diff.after, found.after),
        "net": [change._asdict() for change in diff.net],
        "layers": [_pair_to_json(pair, found.costs_of(pair)) for pair in differing],
        "alignment": [[node and node.index for node in (pair.before, pair.after)] for pair in diff.pairs],
    }


def _graph_to_json(graph: Graph, costs: GraphCosts) -> dict[str, Any]:
    return {
        "path": graph.path,
        "dialect": graph.dialect.name,
        "layers": len(graph.nodes),
        "parameters": costs.parameters,
        "macs": costs.macs,
        "gflops": costs.gflops,
    }


def _pair_to_json(pair: LayerPair, costs: tuple[NodeCosts | None, NodeCosts | None]) -> dict[str, Any]:
    sides = [
        node and cost and _node_to_json(node, cost)
        for node, cost in zip((pair.before, pair.after), costs, strict=True)
    ]
    changes = [change._asdict() for change in pair.changes]
    return {"kind": pair.kind, "before": sides[0], "after": sides[1], "changes": changes}


def _node_to_json(node: Node, cost: NodeCosts) -> dict[str, Any]:
    return {
        "number": node.index,
        "line": node.line,
        "type": node.section.type,
        "shape": list(node.shape),
        "parameters": cost.parameters,
        "macs": cost.macs,
    }
