"""From a graph to the picture of it: layers with their costs, stages, links. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.count import GraphCosts, NodeCosts, count_costs, find_served_tasks
from yolor_cfg.errors import printable
from yolor_cfg.graph import IMAGE_INDEX, Graph, Node
from yolor_cfg.lang.syntax import ENTRY, RawSection
from yolor_cfg.report.layer_text import format_count, format_geometry
from yolor_cfg.report.picture.stages import Place, find_places, is_implicit
from yolor_cfg.report.picture.types import (
    HEAD,
    IMAGE,
    IMPLICIT,
    KNOWLEDGE,
    NEXT,
    PLAIN,
    ROUTE,
    SUM,
    WEIGHTS,
    Layer,
    Link,
    Picture,
    Stage,
)


class _Facts(NamedTuple):
    """What the layers of a graph are described by."""

    graph: Graph
    costs: GraphCosts
    served: tuple[frozenset[str], ...]
    macs: int


def describe_picture(graph: Graph) -> Picture:
    """The picture of a graph, with the image as its first layer."""
    costs = count_costs(graph)
    facts = _Facts(graph, costs, find_served_tasks(graph), costs.macs or 1)
    layers = [_describe_layer(facts, *pair) for pair in zip(graph.nodes, costs.nodes, strict=True)]
    title = printable(Path(graph.path).stem) or "network"
    return Picture(
        title,
        tuple(_find_stages(graph, layers)),
        tuple(_find_links(graph)),
        graph.tasks,
        _totals(graph, costs),
    )


def _totals(graph: Graph, costs: GraphCosts) -> tuple[tuple[str, str], ...]:
    return (
        ("dialect", graph.dialect.name),
        ("image", str(graph.image)),
        ("layers", str(len(graph.nodes))),
        ("parameters", f"{costs.parameters:,}"),
        ("multiply-adds", format_count(costs.macs) or "0"),
    )


def _describe_layer(facts: _Facts, node: Node, cost: NodeCosts) -> Layer:
    section = node.section
    is_large = bool(node.inputs) and node.shape.height > node.inputs[0].height
    served = facts.served[node.index]
    own = section.task or tuple(task for task in facts.graph.tasks if task in served)
    is_head = node.index in facts.graph.outputs
    return Layer(
        node.index,
        section.type,
        node.shape,
        role=HEAD if is_head else IMPLICIT if is_implicit(node) else PLAIN,
        line=node.line,
        geometry=format_geometry(section, grows=is_large),
        sources=node.sources,
        parameters=cost.parameters,
        macs=cost.macs,
        share=cost.macs / facts.macs,
        memory=4 * cost.activation_floats,
        tasks=own if section.task or len(own) < len(facts.graph.tasks) else (),
        text=_own_text(section.raw),
    )


def _own_text(raw: RawSection) -> str:
    """The lines of a section from its header to its last key: the comments after it belong to the next."""
    lines = raw.lines
    last = max((place for place, line in enumerate(lines) if line.kind == ENTRY), default=0)
    return printable("\n".join(line.text.rstrip() for line in lines[: last + 1]))


def _find_stages(graph: Graph, layers: list[Layer]) -> Iterator[Stage]:
    """Layers of the same place one after the other; the image stands in the first stage."""
    places = find_places(graph)
    waiting = [Layer(IMAGE_INDEX, IMAGE, graph.image)]
    for place, found in groupby(layers, lambda layer: places[layer.number]):
        yield _make_stage(graph, place, (*waiting, *found))
        waiting = []


def _make_stage(graph: Graph, place: Place, layers: tuple[Layer, ...]) -> Stage:
    height, width = place.size
    return Stage(place.part, height, width, graph.image.height / height if height else 0.0, layers)


def _find_links(graph: Graph) -> Iterator[Link]:
    for node in graph.nodes:
        for source in dict.fromkeys(node.sources):
            if source != IMAGE_INDEX or not is_implicit(node):
                yield Link(source, node.index, _kind_of_link(graph, source, node))
        lender = node.section.weight_source()
        if lender is not None and lender not in node.sources:
            yield Link(lender, node.index, WEIGHTS)


def _kind_of_link(graph: Graph, source: int, node: Node) -> str:
    if source >= 0 and is_implicit(graph.nodes[source]):
        return KNOWLEDGE
    if source == node.index - 1:
        return NEXT
    features = [one for one in node.sources if one < 0 or not is_implicit(graph.nodes[one])]
    shapes = {graph.image if one < 0 else graph.nodes[one].shape for one in features}
    return SUM if len(features) > 1 and shapes == {node.shape} else ROUTE
