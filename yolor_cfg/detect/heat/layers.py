"""The layer whose features a heat map weighs."""

from __future__ import annotations

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import IMAGE_INDEX, Graph, Node


def find_layer(graph: Graph, layer: int | None = None) -> int:
    """The last layer with a height and a width through which passes all that the heads know of the image:
    what a heat map of it leaves out had no part in any score. `layer` is another one. Raises CfgError where
    it has no map, or where there is none."""
    if layer is not None:
        if not 0 <= layer < len(graph.nodes):
            allowed = f"0..{len(graph.nodes) - 1}"
            raise CfgError("no such layer", path=graph.path, found=str(layer), allowed=allowed)
        _check_map(graph.nodes[layer], _find_between(graph))
        return layer
    cuts = [index for index in _find_cuts(graph) if graph.nodes[index].shape.area > 1]
    if not cuts:
        hint = "choose one: --heatmap-layer N"
        raise CfgError("no layer has all that the heads know of the image", path=graph.path, hint=hint)
    return cuts[-1]


def _find_between(graph: Graph) -> frozenset[int]:
    """The image and the layers between it and a head: all but implicit knowledge and what nothing reads."""
    seeing, needed = {IMAGE_INDEX}, set(graph.outputs)
    for node in graph.nodes:
        if seeing.intersection(node.sources):
            seeing.add(node.index)
    for node in reversed(graph.nodes):
        if node.index in needed:
            needed.update(node.sources)
    return frozenset(seeing & needed)


def _find_cuts(graph: Graph) -> list[int]:
    """The layers that all ways from the image to a head lead through, in order."""
    between = _find_between(graph)
    last_uses = dict.fromkeys(between, IMAGE_INDEX)
    for node in graph.nodes:
        if node.index in between:
            last_uses |= {source: node.index for source in node.sources if source in between}
    cuts, open_until = [], last_uses.pop(IMAGE_INDEX, IMAGE_INDEX)
    for index in sorted(last_uses):
        if graph.nodes[index].section.is_head:
            break
        if open_until <= index:
            cuts.append(index)
        open_until = max(open_until, last_uses[index])
    return cuts


def _check_map(node: Node, between: frozenset[int]) -> None:
    """Raise CfgError unless the layer's value is a map of the image that a head depends on."""
    if node.section.is_head or node.shape.area == 1 or node.index not in between:
        raise node.section.error(
            "",
            "has no map that could be shown over an image",
            found=str(node.shape),
            allowed="a layer between the image and a head, with a height and width above 1",
            hint="`yolor info` lists the layers",
        )
