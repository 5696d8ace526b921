"""Where a network takes another head: the level, the feature map that it starts from, and what it joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yolor_cfg.analysis.anchor_edit import HeadAnchors, find_head_anchors
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node

CONVOLUTION_DIMENSIONS = 4  # of the weights of a convolution


class HeadPlace(NamedTuple):
    """A place for a head with cells of `stride` pixels, beside `head`, whose maps are predicted by
    `prediction` from `last`, a convolution. It starts from `feature`; a finer head joins that, enlarged, with
    `lateral`, a map of the way down (None for a coarser head)."""

    stride: int
    heads: tuple[HeadAnchors, ...]
    head: HeadAnchors
    prediction: Node
    last: Node
    feature: Node
    lateral: Node | None

    @property
    def is_finer(self) -> bool:
        """Whether its cells are smaller than those of all heads so far."""
        return self.lateral is not None


def find_head_place(graph: Graph, level: int) -> HeadPlace:
    """The place for a head of level P`level`, whose cells have 2^level pixels: half the smallest stride so
    far, or twice the largest. Raises CfgError, with the reason, where there is none."""
    heads = find_head_anchors(graph)
    _refuse_foreign_heads(graph, heads)
    by_level = {_level_of(head): head for head in heads}
    if len(by_level) < len(heads):
        raise heads[0].section.error("", "several heads have the same stride", hint="add a head by hand")
    finest, coarsest = min(by_level), max(by_level)
    if level not in (finest - 1, coarsest + 1) or level < 1:
        known = ", ".join(f"P{one}" for one in sorted(by_level))
        nearby = [f"P{one}" for one in (finest - 1, coarsest + 1) if one > 0]
        raise CfgError(
            "no such place for a head",
            path=graph.path,
            found=f"P{level}, where heads are at {known}",
            allowed=nearby,
            hint="a further level takes a second call",
        )
    head = by_level[finest if level < finest else coarsest]
    prediction, last, feature = _find_branch(graph, head)
    _refuse_odd_size(graph, level)
    lateral = _find_lateral(graph, feature, level) if level < finest else None
    return HeadPlace(2**level, heads, head, prediction, last, feature, lateral)


def _refuse_foreign_heads(graph: Graph, heads: Sequence[HeadAnchors]) -> None:
    """Raise CfgError for heads that another one cannot stand beside."""
    section = heads[0].section
    for head in heads:
        if not head.has_mask or len(head.node.sources) != 1 or head.section.has_embedding:
            raise head.section.error("", "another head cannot stand beside this one", hint="[yolo] heads can")
        if head.section.anchors != section.anchors:
            raise head.section.error(
                "anchors",
                "the heads have different lists of anchors",
                hint=f"give all of them the list of line {section.line}",
            )
    if graph.dialect.head_strides:
        raise section.error(
            "",
            f"{graph.dialect.program} knows heads of stride "
            f"{', '.join(map(str, graph.dialect.head_strides))} alone",
            hint="first: yolor cfg translate CFG --to darknet",
        )


def _level_of(head: HeadAnchors) -> int:
    """The level of a head; raises CfgError if its cells are no squares of 2^level pixels."""
    across, down = head.stride
    level = round(across).bit_length() - 1
    if (across, down) != (2**level, 2**level):
        raise head.section.error(
            "",
            "its stride is no power of 2",
            found=f"{across:g} x {down:g} pixels per cell",
            hint="yolor cfg set-size makes the image a multiple of the strides",
        )
    return level


def _find_branch(graph: Graph, head: HeadAnchors) -> tuple[Node, Node, Node]:
    """The convolution that predicts, the one before it, and the map that the head is made from: what that one
    reads, if it is a convolution, else that one itself."""
    prediction = _convolution_before(graph, head.node)
    last = prediction and _convolution_before(graph, prediction)
    if prediction is None or last is None:
        raise head.section.error(
            "",
            "no two convolutions before this head",
            hint="a head is added where the others are [convolutional], [convolutional], [yolo]",
        )
    fused = _convolution_before(graph, last)
    is_of_one_size = fused is not None and fused.shape[1:] == last.shape[1:]
    return prediction, last, fused if fused is not None and is_of_one_size else last


def _convolution_before(graph: Graph, node: Node) -> Node | None:
    """The convolution that a node reads, if need be through what keeps the size of its first input."""
    index = node.sources[0]
    while index >= 0:
        node = graph.nodes[index]
        if _is_convolution(node):
            return node
        if not node.sources or node.inputs[0] != node.shape:
            return None
        index = node.sources[0]
    return None


def _is_convolution(node: Node) -> bool:
    """Whether it has a kernel of its own and a number of filters in its text."""
    kernels = [tensor for tensor in node.tensors if tensor.role == "weight"]
    is_plain = len(kernels) == 1 and len(kernels[0].shape) == CONVOLUTION_DIMENSIONS
    return is_plain and "filters" in node.section.lines and "size" in node.section.keys


def _refuse_odd_size(graph: Graph, level: int) -> None:
    """Raise CfgError unless the image divides into the cells of the new head."""
    for key, length in (("width", graph.image.width), ("height", graph.image.height)):
        if length % 2**level:
            near = length // 2**level * 2**level
            raise graph.net.error(
                key,
                f"does not divide into the cells of a head at P{level}",
                found=str(length),
                allowed=[str(size) for size in (near, near + 2**level) if size],
                hint="first: yolor cfg set-size",
            )


def _find_lateral(graph: Graph, feature: Node, level: int) -> Node:
    """The last map with cells of 2^level pixels on the way down: before anything is enlarged, and behind a
    convolution."""
    wanted = (2 * feature.shape.height, 2 * feature.shape.width)
    enlarged, learned, found = set[int](), set[int](), list[Node]()
    for node in graph.nodes:
        if enlarged.intersection(node.sources) or _enlarges(node):
            enlarged.add(node.index)
        elif _is_convolution(node) or learned.intersection(node.sources):
            learned.add(node.index)
            found += [node] if node.shape[1:] == wanted and not node.section.is_head else []
    if not found:
        raise CfgError(
            f"no feature map for a head at P{level}",
            path=graph.path,
            found=f"no map of {wanted[0]}x{wanted[1]} behind a convolution and before what enlarges maps",
            hint="the backbone skips that stride",
        )
    return found[-1]


def _enlarges(node: Node) -> bool:
    return bool(node.inputs) and node.shape.height > max(shape.height for shape in node.inputs)
