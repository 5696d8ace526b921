"""What an editor tells of a place in a cfg, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from yolor_cfg.analysis.anchor_edit import HeadAnchors
from yolor_cfg.analysis.editor.places import (
    TextSpan,
    find_readers,
    header_span,
    key_span,
    list_references,
    names_sections,
    reference_at,
    value_span,
)
from yolor_cfg.analysis.editor.reading import Block, Reading
from yolor_cfg.count import count_node
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Node
from yolor_cfg.lang.keys import BOTH, INFERENCE, NONE, TRAINING
from yolor_cfg.lang.syntax import ENTRY, HEADER, Line
from yolor_cfg.sections import Section
from yolor_cfg.sections.manual import (
    UNKNOWN_KEY,
    KeyManual,
    explain_keys,
    format_value,
    manuals_of,
    name_dialects,
    summarize,
)

MOST_READERS = 12
REQUIRED = "required"  # in place of a default
USES = {
    BOTH: "running and training",
    INFERENCE: "finding boxes, not training",
    TRAINING: "training alone",
    NONE: "nothing here",
}


class HoverText(NamedTuple):
    """A text in Markdown, and the part of the line that it is about."""

    text: str
    span: TextSpan


def describe_place(reading: Reading, line: int, column: int) -> HoverText | None:
    """What there is to say at this place: of a section, a key, or a section that a number names."""
    block = reading.block_at(line)
    if block is None:
        return None
    text, reference = reading.lines[line - 1], reference_at(reading, line, column)
    target = reading.find_block(reference.target) if reference else None
    if reference and target:
        way = [f"`{reference.number}` leads to section {target.number}:", ""] if reference.number < 0 else []
        return HoverText(_join([*way, *_describe_section(reading, target)]), reference.span)
    if text.kind == HEADER and column <= header_span(text).end:
        return HoverText(_join(_describe_section(reading, block)), header_span(text))
    if text.kind == ENTRY and column <= value_span(text).end:
        span = key_span(text)._replace(end=value_span(text).end)
        return HoverText(_join(_describe_key(reading, block, text)), span)
    return None


def describe_block(reading: Reading, block: Block) -> str:
    """One line: what the section is and gives, and where it stands."""
    node = reading.nodes.get(block.number)
    return f"{block.title}{f': {node.shape}' if node else ''}, line {block.header.number}"


def _describe_section(reading: Reading, block: Block) -> Iterator[str]:
    """Name, sentence and facts of a section."""
    kind = reading.kind_of(block)
    yield f"**{_code(block.title)}** line {block.header.number}"
    yield ""
    yield summarize(kind) if kind else "No section of this name is known."
    yield ""
    node = reading.nodes.get(block.number)
    yield from _describe_net(reading) if block.number < 0 else _describe_node(reading, node)
    if block.number >= 0:
        yield from _tell_readers(reading, block.number)


def _describe_node(reading: Reading, node: Node | None) -> Iterator[str]:
    """What a section reads, gives and costs."""
    if node is None:
        yield "- size: not known, since a fault stands before it or in it"
        return
    sources = [_name_source(reading, number) for number in node.sources]
    yield f"- reads: {'; '.join(sources) or 'nothing'}"
    yield f"- gives: {node.shape} (channels x height x width)"
    if node.section.is_head:
        yield from _describe_head(node)
    cost = node.derive(count_node)
    yield f"- parameters: {cost.parameters:,}"
    yield f"- MACs: {_format_macs(cost.macs)}"


def _describe_head(node: Node) -> Iterator[str]:
    """How many cells a head has, how large they are, and its anchors."""
    image, cells = node.section.image, node.inputs[0] if node.inputs else node.shape
    width, height = image.width / cells.width, image.height / cells.height
    yield f"- cells: {cells.width} x {cells.height}, each of {width:g} x {height:g} pixels"
    if "anchors" in node.section.values:
        head = HeadAnchors(node, (width, height))
        with suppress(CfgError):  # of a faulty mask, which is told elsewhere
            listed = head.list_slots
            sizes = [listed[number].size_in_pixels for number in head.mask if number < len(listed)]
            told = ", ".join(f"{width:g}x{height:g}" for width, height in sizes)
            yield f"- anchors: {told} (width x height in pixels)"


def _name_source(reading: Reading, number: int) -> str:
    block = reading.find_block(number)
    if block is None or number < 0:
        return f"the image, {reading.image}" if reading.image else "the image"
    return describe_block(reading, block)


def _describe_net(reading: Reading) -> Iterator[str]:
    """The whole network: dialect, image, costs."""
    if reading.draft is None:
        return
    told = reading.draft.told
    yield f"- dialect: {told.dialect.name}, as {told.dialect.program} reads it"
    yield f"- image: {reading.image or 'its size is not known'} (channels x height x width)"
    costs = [node.derive(count_node) for node in reading.nodes.values()]
    known = "" if len(costs) == len(reading.sections) - 1 else f", {len(costs)} of them with a known size"
    yield f"- sections: {len(reading.sections) - 1}{known}"
    yield f"- parameters: {sum(cost.parameters for cost in costs):,}"
    yield f"- MACs: {_format_macs(sum(cost.macs for cost in costs))}"


def _format_macs(macs: int) -> str:
    return f"{macs:,} for one image ({2 * macs / 1e9:.3f} GFLOPs)" if macs else "0"


def _tell_readers(reading: Reading, number: int) -> Iterator[str]:
    blocks = list(dict.fromkeys(block for block, _ in find_readers(reading, number)))
    shown = [f"{block.title}, line {block.header.number}" for block in blocks[:MOST_READERS]]
    more = [f"{len(blocks) - MOST_READERS} more"] if len(blocks) > MOST_READERS else []
    is_head = number in reading.nodes and reading.nodes[number].section.is_head
    none = "no section: it is an output of the network" if is_head else "no section"
    yield f"- read by: {'; '.join(shown + more) or none}"


def _describe_key(reading: Reading, block: Block, line: Line) -> Iterator[str]:
    """What a key means, and which value counts."""
    kind: Any = reading.kind_of(block)
    manual = manuals_of(kind).get(line.key) if kind else None
    yield f"**{_code(line.key)}** in {_code(block.title)}"
    yield ""
    if manual is None or kind is None:
        yield f"This is {UNKNOWN_KEY}."
        return
    yield from describe_manual(kind, manual)
    yield from _tell_value(reading, block, line)
    if names_sections(kind.keys.get(line.key)):
        named = [one.target for one in list_references(reading, block) if one.span.line == line.number]
        for target in filter(None, map(reading.find_block, named)):
            yield f"- {describe_block(reading, target)}"


def describe_manual(kind: type[Section], manual: KeyManual) -> Iterator[str]:
    """A key in words: meaning, default, allowed values, use, dialects."""
    yield manual.sentence
    yield ""
    if manual.default:
        yield "- required" if manual.default == REQUIRED else f"- default: {manual.default}"
    if manual.allowed:
        yield f"- allowed: {manual.allowed}"
    yield f"- used for: {USES[manual.use]}"
    only = name_dialects(manual.dialects)
    if only and manual.dialects != kind.dialects:
        yield f"- only in: {only}"


def _tell_value(reading: Reading, block: Block, line: Line) -> Iterator[str]:
    """The value in use, where it is not simply the text of this line."""
    section = reading.sections.get(block.number)
    for one in explain_keys(section) if section else ():
        if one.manual.name == line.key and one.line not in (0, line.number):
            yield f"- in use: line {one.line}"
        elif one.manual.name == line.key and line.value:
            value = format_value(one.value)
            yield "- value: faulty" if one.value is None else f"- value: {_code(value)}"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _join(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(lines).strip()
