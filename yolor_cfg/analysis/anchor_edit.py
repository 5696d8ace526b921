"""New anchors for the heads of a cfg, written into its text.

Heads with `mask` hold pixels of the input in their lists, [region] holds cells; here all anchors are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from yolor_cfg.errors import CfgError, count_of
from yolor_cfg.graph import Graph, Node
from yolor_cfg.lang.edit import LineEdits, apply_edits
from yolor_cfg.shape import WidthHeight

PIXEL_UNIT: WidthHeight = (1.0, 1.0)


class AnchorSlot(NamedTuple):
    """A place in a list of anchors, shared by heads with equal lists; `unit` is in pixels."""

    entries: tuple[float, ...]
    unit: WidthHeight
    number: int

    @property
    def size_in_pixels(self) -> WidthHeight:
        """Width and height of the anchor that stands there."""
        width, height = self.entries[2 * self.number : 2 * self.number + 2]
        return width * self.unit[0], height * self.unit[1]

    def text(self, anchor: WidthHeight) -> str:
        """An anchor, given in pixels, as the list has it: in whole pixels, or in cells with five digits."""
        if self.unit == PIXEL_UNIT:
            return ",".join(str(max(1, round(side))) for side in anchor)
        return ",".join(f"{side / unit:.5g}" for side, unit in zip(anchor, self.unit, strict=True))


class HeadAnchors(NamedTuple):
    """A head with anchors, and the size of its cells in pixels."""

    node: Node
    stride: WidthHeight

    @property
    def section(self) -> Any:
        """The section of the head."""
        return self.node.section

    @property
    def has_mask(self) -> bool:
        """False for [region], whose list is its own."""
        return hasattr(self.section, "mask")

    @property
    def mask(self) -> tuple[int, ...]:
        """The places of this head's anchors in the list."""
        mask: tuple[int, ...] = self.section.mask if self.has_mask else tuple(range(self.section.num))
        return mask

    @property
    def list_slots(self) -> tuple[AnchorSlot, ...]:
        """Every place of its list."""
        numbers, unit = self.section.anchors, PIXEL_UNIT if self.has_mask else self.stride
        return tuple(AnchorSlot(numbers, unit, number) for number in range(len(numbers) // 2))

    @property
    def head_slots(self) -> tuple[AnchorSlot, ...]:
        """The places of its anchors."""
        listed = self.list_slots
        return tuple(listed[number] for number in self.mask)

    @property
    def cell_area(self) -> float:
        """The area of a cell in pixels: small for fine heads."""
        return self.stride[0] * self.stride[1]


def find_head_anchors(graph: Graph) -> tuple[HeadAnchors, ...]:
    """The heads with anchors, in the order of the cfg; raises CfgError if there are none or if one lists too
    few anchors."""
    nodes = [node for node in graph.heads if hasattr(node.section, "anchors")]
    if not nodes:
        raise CfgError(
            "no head of this network has anchors",
            path=graph.path,
            allowed="[yolo], [Gaussian_yolo], [jde], [region]",
        )
    heads = []
    for node in nodes:
        down, across = graph.stride(node.index)
        heads.append(HeadAnchors(node, (across, down)))
        _refuse_missing_anchors(heads[-1])
    return tuple(heads)


def _refuse_missing_anchors(head: HeadAnchors) -> None:
    named, needed = len(head.section.anchors), 2 * (max(head.mask) + 1)
    if "anchors" not in head.section.lines or named < needed:
        raise head.section.error(
            "anchors",
            "the cfg does not give all anchors of this head",
            allowed=f"{needed} numbers",
            hint="write them out, whatever they are",
        )


def used_slots(heads: Sequence[HeadAnchors]) -> tuple[AnchorSlot, ...]:
    """The places of all anchors that heads use, finer heads first; a shared place is the finer head's."""
    finest: dict[AnchorSlot, float] = {}
    for head in sorted(heads, key=lambda head: head.cell_area):
        for place in head.head_slots:
            finest.setdefault(place, head.cell_area)
    return tuple(sorted(finest, key=lambda place: (finest[place], place.number)))


def replace_anchors(graph: Graph, anchors: Sequence[WidthHeight]) -> str:
    """The text of the cfg with these anchors (in pixels, sorted by area); smaller ones go to finer heads.

    If there are as many as the heads use now, only `anchors` change, and unused places stay as they are.
    Otherwise every head gets an equal share, and `num`, `mask` and the `filters` before the heads change too.
    """
    heads = find_head_anchors(graph)
    used = used_slots(heads)
    if len(anchors) == len(used):
        edits = _edit_anchor_lists(heads, dict(zip(used, anchors, strict=True)))
    else:
        edits = _edit_anchor_counts(graph, heads, anchors=anchors)
    return apply_edits(graph.document, edits)


def write_anchors(graph: Graph, anchors: Sequence[WidthHeight]) -> str:
    """The text of the cfg with these anchors (in pixels): in this order where every head has one list of as
    many, else sorted by area as `replace_anchors` takes them."""
    heads = find_head_anchors(graph)
    lists = {(head.section.anchors, head.has_mask) for head in heads}
    if lists != {(heads[0].section.anchors, True)} or len(anchors) != len(heads[0].list_slots):
        return replace_anchors(graph, sorted(anchors, key=lambda anchor: anchor[0] * anchor[1]))
    text = ", ".join(",".join(f"{side:.12g}" for side in anchor) for anchor in anchors)
    return apply_edits(graph.document, {_line_number(head.section, "anchors"): text for head in heads})


def _edit_anchor_lists(heads: Sequence[HeadAnchors], new: dict[AnchorSlot, WidthHeight]) -> LineEdits:
    """New lists, each with as many anchors as before."""
    edits = {}
    for head in heads:
        texts = [
            place.text(new[place]) if place in new else _format_unchanged(place) for place in head.list_slots
        ]
        edits[_line_number(head.section, "anchors")] = ", ".join(texts)
    return edits


def _format_unchanged(place: AnchorSlot) -> str:
    numbers = place.entries[2 * place.number : 2 * place.number + 2]
    return ",".join(f"{number:.12g}" for number in numbers)


def anchors_per_head(heads: Sequence[HeadAnchors], count: int) -> int:
    """How many of `count` anchors each head gets; raises CfgError if they cannot be shared out evenly.

    Heads with the same anchors, such as auxiliary training heads, count once.
    """
    groups = len({head.head_slots for head in heads})
    if count % groups:
        raise CfgError(
            "the anchors cannot be shared out evenly among the heads",
            path=heads[0].section.path,
            found=count_of(count, "anchor"),
            allowed=f"a multiple of {groups}, the number of heads",
        )
    return count // groups


def _edit_anchor_counts(
    graph: Graph, heads: Sequence[HeadAnchors], *, anchors: Sequence[WidthHeight]
) -> LineEdits:
    share = anchors_per_head(heads, len(anchors))
    groups = list(dict.fromkeys(head.head_slots for head in sorted(heads, key=lambda head: head.cell_area)))
    edits: LineEdits = {}
    for head in heads:
        first = groups.index(head.head_slots) * share
        own = range(first, first + share)
        listed = range(len(anchors)) if head.has_mask else own
        edits[_line_number(head.section, "anchors")] = ", ".join(
            head.list_slots[0].text(anchors[index]) for index in listed
        )
        edits[_line_number(head.section, "num")] = str(len(listed))
        if head.has_mask:
            edits[_line_number(head.section, "mask")] = ",".join(map(str, own))
        channels = head.node.inputs[0].channels
        for section in _filter_sections(graph, head.node.sources[0], channels=channels):
            edits[_line_number(section, "filters")] = str(channels // len(head.mask) * share)
    return edits


def _filter_sections(graph: Graph, index: int, *, channels: int) -> Iterator[Any]:
    """The sections whose `filters` set the channels of this node, including what is combined with it."""
    node = graph.nodes[index]
    if "filters" in node.section.lines:
        yield node.section
        return
    for source in node.sources:
        if source >= 0 and graph.nodes[source].shape.channels == channels:
            yield from _filter_sections(graph, source, channels=channels)


def _line_number(section: Any, key: str) -> int:
    """The line number of a key; raises CfgError if the section does not have the key."""
    if key not in section.lines:
        raise section.error(key, "missing key", hint=f"write {key}= out to change the number of anchors")
    number: int = section.lines[key].number
    return number
