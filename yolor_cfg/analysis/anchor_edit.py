"""New anchors for the heads of a cfg, written into its text.

Heads with `mask` hold pixels of the input in their lists, [region] holds cells; here all anchors are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node
from yolor_cfg.lang.edit import Edits, edited

Pair = tuple[float, float]
"""Across, down: a width and a height, or the strides of a map."""
PIXELS: Pair = (1.0, 1.0)


class Place(NamedTuple):
    """A place in a list of anchors. Heads with equal lists share it; `unit` is in pixels."""

    listed: tuple[float, ...]
    unit: Pair
    number: int

    @property
    def pixels(self) -> Pair:
        """Width and height of the anchor that stands there."""
        width, height = self.listed[2 * self.number : 2 * self.number + 2]
        return width * self.unit[0], height * self.unit[1]

    def text(self, anchor: Pair) -> str:
        """An anchor in pixels as it stands in the list: whole pixels, five digits of cells."""
        if self.unit == PIXELS:
            return ",".join(str(max(1, round(side))) for side in anchor)
        return ",".join(f"{side / unit:.5g}" for side, unit in zip(anchor, self.unit, strict=True))


class AnchoredHead(NamedTuple):
    """A head with anchors and the pixels of one of its cells."""

    node: Node
    stride: Pair

    @property
    def section(self) -> Any:
        """The section as it was read."""
        return self.node.section

    @property
    def masked(self) -> bool:
        """False for [region], whose list is its own."""
        return hasattr(self.section, "mask")

    @property
    def mask(self) -> tuple[int, ...]:
        """Which anchors of the list are this head's."""
        mask: tuple[int, ...] = self.section.mask if self.masked else tuple(range(self.section.num))
        return mask

    @property
    def list_slots(self) -> tuple[Place, ...]:
        """Every place of its list."""
        numbers, unit = self.section.anchors, PIXELS if self.masked else self.stride
        return tuple(Place(numbers, unit, number) for number in range(len(numbers) // 2))

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of its anchors."""
        listed = self.list_slots
        return tuple(listed[number] for number in self.mask)

    @property
    def area(self) -> float:
        """Pixels of a cell: the finer the head, the fewer."""
        return self.stride[0] * self.stride[1]


def anchored_heads(graph: Graph) -> tuple[AnchoredHead, ...]:
    """The heads with anchors in the order of the cfg; raises CfgError where there are none or one names too
    few."""
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
        heads.append(AnchoredHead(node, (across, down)))
        _refuse_unnamed(heads[-1])
    return tuple(heads)


def _refuse_unnamed(head: AnchoredHead) -> None:
    named, needed = len(head.section.anchors), 2 * (max(head.mask) + 1)
    if "anchors" not in head.section.lines or named < needed:
        raise head.section.error(
            "anchors",
            "the cfg does not give all anchors of this head",
            allowed=f"{needed} numbers",
            hint="write them out, whatever they are",
        )


def used_places(heads: Sequence[AnchoredHead]) -> tuple[Place, ...]:
    """The places of all anchors that heads use, those of finer heads first. A shared one is the finer's."""
    finest: dict[Place, float] = {}
    for head in sorted(heads, key=lambda head: head.area):
        for place in head.places:
            finest.setdefault(place, head.area)
    return tuple(sorted(finest, key=lambda place: (finest[place], place.number)))


def with_anchors(graph: Graph, anchors: Sequence[Pair]) -> str:
    """The text of the cfg with these anchors (pixels, by area), the smaller ones for the finer heads.

    As many as the heads use now: only `anchors` change, and places that no head uses stay. Another number:
    every head gets an equal share; `num`, `mask` and the `filters` before the heads change too.
    """
    heads = anchored_heads(graph)
    used = used_places(heads)
    if len(anchors) == len(used):
        edits = _in_place(heads, dict(zip(used, anchors, strict=True)))
    else:
        edits = _shared_out(graph, heads, anchors=anchors)
    return edited(graph.document, edits)


def _in_place(heads: Sequence[AnchoredHead], new: dict[Place, Pair]) -> Edits:
    """Only the lists, the same number of anchors in each."""
    edits = {}
    for head in heads:
        texts = [place.text(new[place]) if place in new else _as_it_is(place) for place in head.list_slots]
        edits[_line(head.section, "anchors")] = ", ".join(texts)
    return edits


def _as_it_is(place: Place) -> str:
    numbers = place.listed[2 * place.number : 2 * place.number + 2]
    return ",".join(f"{number:.12g}" for number in numbers)


def share_of(heads: Sequence[AnchoredHead], count: int) -> int:
    """How many anchors each head gets of `count`; raises CfgError when they do not come out even.

    Heads with the same anchors, as training heads beside the others have them, count once.
    """
    groups = len({head.places for head in heads})
    if count % groups:
        raise CfgError(
            "the anchors cannot be shared out evenly among the heads",
            path=heads[0].section.path,
            found=f"{count} anchors",
            allowed=f"a multiple of {groups}, the number of heads",
        )
    return count // groups


def _shared_out(graph: Graph, heads: Sequence[AnchoredHead], *, anchors: Sequence[Pair]) -> Edits:
    share = share_of(heads, len(anchors))
    groups = list(dict.fromkeys(head.places for head in sorted(heads, key=lambda head: head.area)))
    edits: Edits = {}
    for head in heads:
        first = groups.index(head.places) * share
        own = range(first, first + share)
        listed = range(len(anchors)) if head.masked else own
        edits[_line(head.section, "anchors")] = ", ".join(
            head.list_slots[0].text(anchors[index]) for index in listed
        )
        edits[_line(head.section, "num")] = str(len(listed))
        if head.masked:
            edits[_line(head.section, "mask")] = ",".join(map(str, own))
        channels = head.node.inputs[0].channels
        for section in _makers(graph, head.node.sources[0], channels=channels):
            edits[_line(section, "filters")] = str(channels // len(head.mask) * share)
    return edits


def _makers(graph: Graph, index: int, *, channels: int) -> Iterator[Any]:
    """The sections whose `filters` give this node, and what is combined with it, its channels."""
    node = graph.nodes[index]
    if "filters" in node.section.lines:
        yield node.section
        return
    for source in node.sources:
        if source >= 0 and graph.nodes[source].shape.channels == channels:
            yield from _makers(graph, source, channels=channels)


def _line(section: Any, key: str) -> int:
    """The number of the line of a key; raises CfgError where the section has none."""
    if key not in section.lines:
        raise section.error(key, "missing key", hint=f"write {key}= out to change the number of anchors")
    number: int = section.lines[key].number
    return number
