"""The sections of a cfg at a glance: outline, folds, and sizes and numbers to show beside the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yolor_cfg.analysis.editor.hover import describe_block
from yolor_cfg.analysis.editor.places import TextSpan, content_span, header_span, list_references
from yolor_cfg.analysis.editor.reading import Block, Reading
from yolor_cfg.lang.syntax import BLANK, COMMENT, Line


class OutlineEntry(NamedTuple):
    """A section in the outline: its name with number, its shape, the header, its last line, and whether it
    predicts."""

    name: str
    detail: str
    header: TextSpan
    end: TextSpan
    is_head: bool


class FoldedLines(NamedTuple):
    """The first and last line of what can be folded: a section, or comments."""

    first: int
    last: int
    is_comment: bool


class Hint(NamedTuple):
    """A text to show behind a place, and what is said of it."""

    line: int
    column: int
    text: str
    tip: str


def list_entries(reading: Reading) -> Iterator[OutlineEntry]:
    """The outline, in order."""
    for block in reading.blocks:
        number = f"#{block.number} " if block.number >= 0 else ""
        section = reading.sections.get(block.number)
        end = content_span(_last_line(block))
        is_head = section is not None and section.is_head
        yield OutlineEntry(
            f"{number}{block.raw.name}", _shape_of(reading, block), header_span(block.header), end, is_head
        )


def _shape_of(reading: Reading, block: Block) -> str:
    """What the section gives; of [net] the image."""
    if block.number < 0:
        return str(reading.image or "")
    node = reading.nodes.get(block.number)
    return str(node.shape) if node else ""


def _last_line(block: Block) -> Line:
    """The last line with a key or a word; comments at the end belong to the section below."""
    used = [line for line in block.raw.lines if line.kind not in (BLANK, COMMENT)]
    return used[-1]


def list_folds(reading: Reading) -> Iterator[FoldedLines]:
    """The sections and the comments of several lines."""
    for block in reading.blocks:
        last = _last_line(block).number
        if last > block.header.number:
            yield FoldedLines(block.header.number, last, is_comment=False)
    first = 0
    for line in (*reading.lines, Line(len(reading.lines) + 1, "", BLANK)):
        if line.kind == COMMENT:
            first = first or line.number
        elif first:
            if line.number - 1 > first:
                yield FoldedLines(first, line.number - 1, is_comment=True)
            first = 0


def list_hints(reading: Reading, first: int, last: int) -> Iterator[Hint]:
    """The shapes behind headers, and the numbers of sections that are counted back to, in these lines."""
    for block in reading.blocks:
        if block.header.number > last or block.raw.lines[-1].number < first:
            continue
        shape = _shape_of(reading, block)
        if shape:
            tip = (
                "the image" if block.number < 0 else f"{block.title} gives {shape}: channels x height x width"
            )
            yield Hint(block.header.number, header_span(block.header).end, shape, tip)
        for one in list_references(reading, block):
            target = reading.find_block(one.target)
            if one.number < 0 and target:
                tip = describe_block(reading, target)
                yield Hint(one.span.line, one.span.end, f"#{one.target}", tip)
