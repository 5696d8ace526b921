"""Which part of a network each layer is: backbone, neck, a head or a block of implicit knowledge.

A cfg does not say so; it follows from the connections, and names of sections play no role. A head is what
leads to one prediction alone, as far back as the shortest of the heads goes. The neck starts with what leads
to the first pooling side by side (a pyramid) or the first map that is larger than its input.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from yolor_cfg.graph import Graph, Node
from yolor_cfg.sections.implicit import TASK_ROLES

BACKBONE, NECK, HEAD, KNOWLEDGE = "backbone", "neck", "head", "implicit knowledge"
LONE_HEAD_LAYERS = 2
"""Layers with weights that belong to the only head of a network."""
MOST_ENCLOSED, MOST_LEADING = 4, 2
"""Layers that make no stage of their own."""


class Place(NamedTuple):
    """The part that a layer belongs to, and height and width of the maps around it (0, 0 for vectors alone);
    equal neighbours make a stage."""

    part: str
    size: tuple[int, int]


def is_implicit(node: Node) -> bool:
    """Whether its output is learned rather than computed from the image."""
    return any(tensor.role in TASK_ROLES for tensor in node.tensors)


def find_places(graph: Graph) -> list[Place]:
    """The place of each node."""
    pairs = zip(_find_parts(graph), _find_sizes(graph), strict=True)
    places = [Place(part, (0, 0) if part == KNOWLEDGE else size) for part, size in pairs]
    runs = [(place, len(list(same))) for place, same in groupby(places)]
    return [place for place, count in _join_runs(runs) for _ in range(count)]


def _join_runs(runs: list[tuple[Place, int]]) -> list[tuple[Place, int]]:
    """Runs without those of a few layers that others enclose, as where two branches shrink a map side by
    side, or that only lead from a head back to the neck."""
    joined = list(runs)
    for index in reversed(range(1, len(runs) - 1)):
        (before, _), (place, count), (after, more) = joined[index - 1 : index + 2]
        is_enclosed = count <= MOST_ENCLOSED and before == after
        leads_on = count <= MOST_LEADING and before.part != place.part == after.part != BACKBONE
        if (is_enclosed or leads_on) and place.part == after.part:
            joined[index : index + 2] = [(after, count + more)]
    return joined


def _find_parts(graph: Graph) -> list[str]:
    readers = _find_readers(graph)
    heads = _find_heads(graph, readers)
    start = _find_neck(graph, heads, readers)
    parts = [heads.get(node.index) or (NECK if node.index >= start else BACKBONE) for node in graph.nodes]
    for block in _implicit_blocks(graph):
        reader = min((index for own in block for index in readers[own]), default=-1)
        is_within = reader == block[-1] + 1 or (block[0] > 0 and parts[block[0] - 1] == parts[reader])
        for index in block:
            parts[index] = parts[reader] if reader >= 0 and is_within else KNOWLEDGE
    return parts


def _find_readers(graph: Graph) -> list[list[int]]:
    """For each node those that read it."""
    readers: list[list[int]] = [[] for _ in graph.nodes]
    for node in graph.nodes:
        for source in set(node.sources) - {-1}:
            readers[source].append(node.index)
    return readers


def _implicit_blocks(graph: Graph) -> Iterator[list[int]]:
    """Implicit nodes that stand one after the other."""
    for is_block, nodes in groupby(graph.nodes, is_implicit):
        if is_block:
            yield [node.index for node in nodes]


def _find_heads(graph: Graph, readers: list[list[int]]) -> dict[int, str]:
    """The nodes of heads, and which head each is in."""
    chains = [list(_walk_back(graph, head, readers)) for head in graph.heads]
    if len(chains) == 1:
        weighted = [place for place, index in enumerate(chains[0]) if graph.nodes[index].tensors]
        most = weighted[:LONE_HEAD_LAYERS][-1] + 1 if weighted else 1
    else:
        most = min(map(len, chains))
    names = [f"{HEAD} {number}" if len(chains) > 1 else HEAD for number in range(1, len(chains) + 1)]
    return {index: name for name, chain in zip(names, chains, strict=True) for index in chain[:most]}


def _walk_back(graph: Graph, head: Node, readers: list[list[int]]) -> Iterator[int]:
    """The head and what leads to it alone, on the same map and without a join."""
    node: Node | None = head
    while node is not None:
        yield node.index
        before = _single_source(graph, node)
        is_alone = before is not None and len(readers[before.index]) == 1 and not before.section.is_head
        node = before if is_alone and before is not None and before.shape[1:] == node.shape[1:] else None


def _single_source(graph: Graph, node: Node) -> Node | None:
    """The one node that it reads besides implicit knowledge, if it joins no others."""
    found = [graph.nodes[index] for index in set(node.sources) - {-1}]
    features = [source for source in found if not is_implicit(source)]
    return features[0] if len(features) == 1 else None


def _find_neck(graph: Graph, heads: dict[int, str], readers: list[list[int]]) -> int:
    """The index that the neck starts with; the number of nodes if there is none."""
    for node in graph.nodes:
        if node.index not in heads and (_grows(node) or _pools_beside_others(node, readers)):
            return _first_of_branch(graph, node, heads)
    return len(graph.nodes)


def _grows(node: Node) -> bool:
    """Whether the map is larger than one that it is made from."""
    return any(1 < shape.area < node.shape.area for shape in node.inputs)


def _pools_beside_others(node: Node, readers: list[list[int]]) -> bool:
    """Whether it has a window but no weights, keeps the size of a map, and others read the same one."""
    has_window = "size" in node.section.keys and "stride" in node.section.keys and not node.tensors
    keeps = has_window and node.inputs == (node.shape,) and node.sources[0] >= 0
    return keeps and len(readers[node.sources[0]]) > 1


def _first_of_branch(graph: Graph, node: Node, heads: dict[int, str]) -> int:
    """Back from a node on the same map, to what follows a join or the start of a stage; what stands beside
    that as another branch belongs to it."""
    while True:
        before = _single_source(graph, node)
        if before is None or before.index in heads:
            return node.index
        if _starts_stage(before) or len(before.sources) > 1 or _follows_join(graph, before):
            beside = graph.nodes[before.index + 1 : node.index]
            is_branch = all(one.shape[1:] == before.shape[1:] for one in beside)
            return before.index + 1 if is_branch else node.index
        node = before


def _starts_stage(node: Node) -> bool:
    """Whether its map is of another size than what it is made from."""
    return bool(node.inputs) and node.inputs[0][1:] != node.shape[1:]


def _follows_join(graph: Graph, node: Node) -> bool:
    """Whether a join of channels leads to it: the convolution after one closes a stage."""
    before = _single_source(graph, node)
    return before is not None and len(before.sources) > 1 and before.shape != before.inputs[0]


def _find_sizes(graph: Graph) -> list[tuple[int, int]]:
    """Height and width of the maps around each node: a vector between maps belongs to them."""
    maps = [node.index for node in graph.nodes if node.shape.area > 1 and not is_implicit(node)]
    last = max(maps, default=-1)
    sizes, now = [], (graph.image.height, graph.image.width)
    known = set(maps)
    for node in graph.nodes:
        if node.index in known:
            now = (node.shape.height, node.shape.width)
        elif node.index > last and not is_implicit(node):
            now = (0, 0)
        sizes.append(now)
    return sizes
