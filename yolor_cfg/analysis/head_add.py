"""Another head written into the text of a cfg: smaller cells for small objects, or larger ones.

The new layers stand behind all others, so that these keep their numbers and their weights; where the order of
the heads counts in training, they stand before the finest head, and references to what follows are corrected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from yolor_cfg.analysis.head_place import HeadPlace, find_head_place
from yolor_cfg.graph import Graph, Node, ReadOptions, build_graph
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.keys import SectionNumber, strip_comment
from yolor_cfg.lang.lists import RefList
from yolor_cfg.lang.syntax import ENTRY, Document, RawSection, parse
from yolor_cfg.sections import Section
from yolor_cfg.shape import WidthHeight

LEAST_WIDTH = 8  # filters of the new convolutions are multiples of this
NUMBER = re.compile(r"-?[0-9]+")


class AddedHead(NamedTuple):
    """The new text and its graph; `size` new layers stand before the one that was number `start`."""

    text: str
    graph: Graph
    place: HeadPlace
    start: int
    size: int

    @property
    def is_behind(self) -> bool:
        """Whether all layers of the old network keep their numbers."""
        return self.start + self.size == len(self.graph.nodes)

    def number_of(self, index: int) -> int:
        """The number that an old layer has now."""
        return index + self.size * (index >= self.start)


def add_head(graph: Graph, level: int, anchors: Sequence[WidthHeight] = ()) -> AddedHead:
    """The network with a head of level P`level` more (cells of 2^level pixels), half the smallest stride so
    far or twice the largest. Without `anchors`, in pixels, it gets those of the nearest head, halved or
    doubled. Raises CfgError, with the reason, where no place for it is found."""
    place = find_head_place(graph, level)
    chosen = tuple(anchors) or _scale_anchors(place)
    lists = _join_anchors(place, chosen)
    blocks = _new_layers(place, lists)
    start = _find_start(graph, place)
    edits = TextEdits.nothing()
    _edit_heads(edits, lists)
    _edit_references(edits, graph, start=start, count=len(blocks))
    comment = f"# a head at P{level}: cells of {place.stride} pixels"
    _insert(edits, graph.document, [comment, *blocks], start=start)
    text = apply_text_edits(graph.document, edits)
    made = build_graph(parse(text, graph.path), ReadOptions(graph.dialect.name, bn_eps=graph.dialect.bn_eps))
    added = AddedHead(text, made, place, start, len(blocks))
    _check_strides(graph, added)
    return added


def _scale_anchors(place: HeadPlace) -> tuple[WidthHeight, ...]:
    factor = 0.5 if place.is_finer else 2.0
    sizes = [slot.size_in_pixels for slot in place.head.head_slots]
    return tuple((max(1.0, round(factor * w)), max(1.0, round(factor * h))) for w, h in sizes)


class AnchorLists(NamedTuple):
    """The list of all anchors, and the mask of each head; that of the new one comes last."""

    text: str
    num: int
    heads: tuple[tuple[Section, tuple[int, ...]], ...]
    mask: tuple[int, ...]


def _join_anchors(place: HeadPlace, anchors: Sequence[WidthHeight]) -> AnchorLists:
    """Anchors of a finer head come first, and the numbers of the others grow; those of a coarser one last."""
    known = len(place.head.section.anchors) // 2
    new = ",  ".join(f"{width:.12g},{height:.12g}" for width, height in anchors)
    old = strip_comment(place.head.section.lines["anchors"].value).rstrip(", ")
    shift = len(anchors) if place.is_finer else 0
    heads = tuple((head.section, tuple(number + shift for number in head.mask)) for head in place.heads)
    first = 0 if place.is_finer else known
    mask = tuple(range(first, first + len(anchors)))
    text = f"{new},  {old}" if place.is_finer else f"{old},  {new}"
    return AnchorLists(text, known + len(anchors), heads, mask)


def _edit_heads(edits: TextEdits, lists: AnchorLists) -> None:
    for section, mask in lists.heads:
        keys = {"mask": _join(mask), "anchors": lists.text, "num": str(lists.num)}
        for key, value in keys.items():
            if key == "anchors" or str(getattr(section, key)) != value:
                edits.set_key(section.raw, section.lines, (key, value))


def _new_layers(place: HeadPlace, lists: AnchorLists) -> list[str]:
    """The text of each new layer: from the feature to a map of the new size, two pairs of convolutions, then
    prediction and head as the nearest head has them."""
    width = max(LEAST_WIDTH, place.feature.shape.channels // 2 // LEAST_WIDTH * LEAST_WIDTH)
    if place.lateral is not None:
        layers = [
            f"[route]\nlayers={place.feature.index}",
            _convolution(place.last, width, size=1),
            "[upsample]\nstride=2",
            f"[route]\nlayers={place.lateral.index}",
            _convolution(place.last, width, size=1),
            "[route]\nlayers=-1,-3",
        ]
    else:
        layers = [
            f"[route]\nlayers={place.feature.index}",
            _convolution(place.last, 2 * width, size=3, stride=2),
        ]
    pair = [_convolution(place.last, width, size=1), _convolution(place.last, 2 * width, size=3)]
    filters = place.prediction.shape.channels // len(place.head.mask) * len(lists.mask)
    keys = {"mask": _join(lists.mask), "anchors": lists.text, "num": str(lists.num)}
    return [
        *layers,
        *pair,
        *pair,
        _copy_section(place.prediction, {"filters": str(filters)}),
        _copy_section(place.head.node, keys),
    ]


def _convolution(like: Node, filters: int, *, size: int, stride: int = 1) -> str:
    """A convolution with the norm and the activation of another one."""
    section: Any = like.section
    norm = [f"batch_normalize={int(section.batch_normalize)}"] if section.batch_normalize else []
    keys = [f"filters={filters}", f"size={size}", f"stride={stride}", "pad=1"]
    return "\n".join(["[convolutional]", *norm, *keys, f"activation={section.activation}"])


def _copy_section(node: Node, keys: dict[str, str]) -> str:
    """The section with other values for these keys."""
    lines = node.section.lines
    own = {name: line.value for name, line in lines.items()} | keys
    return "\n".join([f"[{node.section.raw.name}]", *(f"{name}={value}" for name, value in own.items())])


def _join(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _find_start(graph: Graph, place: HeadPlace) -> int:
    """The number of the layer before which the new ones stand. Where training goes by the order of the heads,
    and the finest comes first, a finer one stands before it, if there is a layer from which on nothing reads
    the one before."""
    strides = [head.cell_area for head in place.heads]
    end = len(graph.nodes)
    if not (graph.dialect.is_pytorch and place.is_finer and strides == sorted(strides)):
        return end
    needed = max(place.feature.index, place.lateral.index if place.lateral else 0)
    candidates = range(place.head.node.index, needed, -1)
    return next((index for index in candidates if not _reads_before(graph.nodes[index])), end)


def _reads_before(node: Node) -> bool:
    """Whether it reads the layer before it without naming it."""
    section, before = node.section, node.index - 1
    lists = [key for key in _given_keys(section) if isinstance(key, RefList)]
    named = [
        number
        for key in lists
        for number in section.resolve_refs(getattr(section, key.attribute), key.name, forward=True)
    ]
    return node.sources.count(before) > named.count(before)


def _given_keys(section: Section) -> Iterator[Any]:
    return (section.keys[name] for name in section.lines if name in section.values)


def _is_reference(key: Any) -> bool:
    return isinstance(key, RefList | SectionNumber)


def _edit_references(edits: TextEdits, graph: Graph, *, start: int, count: int) -> None:
    """Have the references to and from layers behind the new ones lead where they did."""
    for node in graph.nodes[start:]:
        section = node.section
        for key in filter(_is_reference, _given_keys(section)):
            line = section.lines[key.name]
            text = strip_comment(line.value)
            moved = NUMBER.sub(_Mover(node.index, start, count).move, text)
            if moved != text:
                edits.values[line.number] = moved


class _Mover(NamedTuple):
    """What a reference from this layer becomes when `size` layers are put before layer `start`."""

    layer: int
    start: int
    size: int

    def move(self, found: re.Match[str]) -> str:
        """The new reference; one that counts back stays one."""
        reference = int(found[0])
        if reference >= 0:
            return str(reference + self.size * (reference >= self.start))
        return str(reference - self.size * (self.layer + reference < self.start))


def _insert(edits: TextEdits, document: Document, blocks: Sequence[str], *, start: int) -> None:
    """Add these blocks before layer `start`, or at the end: behind the last key of the layer before it."""
    before: RawSection = document.layers[start - 1]
    last = [line for line in before.lines if line.kind == ENTRY] or [before.lines[0]]
    comment, *layers = blocks
    lines = ["", comment, *"\n\n".join(layers).split("\n")]
    if start == len(document.layers):
        last = [before.lines[-1]]
    edits.added.setdefault(last[-1].number, []).extend(lines)


def _check_strides(graph: Graph, added: AddedHead) -> None:
    """Ours to keep: the old heads have their strides, and the new one its own."""
    old = {added.number_of(index): graph.stride(index) for index in graph.outputs}
    new = {index: added.graph.stride(index) for index in added.graph.outputs}
    assert new.items() - old.items() == {
        (added.start + added.size - 1, (added.place.stride, added.place.stride))
    }
