"""Places in the text of a cfg: where its names and values stand, and which sections they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from yolor_cfg.analysis.editor.reading import Block, Reading
from yolor_cfg.lang.keys import Key, SectionNumber, strip_comment
from yolor_cfg.lang.lists import RefList
from yolor_cfg.lang.syntax import BOM, ENTRY, HEADER, NET_KEY_MARK, Line

NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
NEXT_LINE = -1  # as the end of a span: the start of the line below


class TextSpan(NamedTuple):
    """A part of a line: its number, counted from 1, and characters, counted from 0, without the one at
    `end`."""

    line: int
    start: int
    end: int


class Reference(NamedTuple):
    """A number in a key that names sections: as it is written, and the section that it leads to."""

    span: TextSpan
    number: int
    target: int


def header_span(line: Line) -> TextSpan:
    """`[name]`, or what there is of it."""
    start = _indent(line)
    end = line.text.find("]", start) + 1
    return TextSpan(line.number, start, end) if end else content_span(line)


def key_span(line: Line) -> TextSpan:
    """The key of a line `key = value`."""
    return TextSpan(line.number, _indent(line), len(line.text.partition("=")[0].rstrip()))


def value_span(line: Line) -> TextSpan:
    """The value of such a line, without a comment behind it."""
    before = line.text.index("=") + 1
    rest = line.text[before:]
    start = before + len(rest) - len(rest.lstrip())
    return TextSpan(line.number, start, start + len(strip_comment(line.value)))


def content_span(line: Line) -> TextSpan:
    """The whole line without the whitespace around it."""
    return TextSpan(line.number, min(_indent(line), len(line.text.rstrip())), len(line.text.rstrip()))


def _indent(line: Line) -> int:
    return len(line.text) - len(line.text.lstrip(BOM + " \t\r\n\v\f"))


def number_spans(line: Line) -> Iterator[tuple[TextSpan, int]]:
    """The whole numbers in a value, with their places."""
    span = value_span(line)
    for match in NUMBER.finditer(line.text, span.start, span.end):
        yield TextSpan(line.number, *match.span()), int(match[0])


def find_key(reading: Reading, line: Line) -> Key[Any] | None:
    """The key that this line gives a value, if its section has it."""
    block = reading.block_at(line.number)
    kind = reading.kind_of(block) if block and line.kind == ENTRY else None
    return kind.keys.get(line.key) if kind else None


def names_sections(key: Key[Any] | None) -> bool:
    """Whether the numbers of a key are those of sections."""
    return isinstance(key, (RefList, SectionNumber))


def list_references(reading: Reading, block: Block) -> Iterator[Reference]:
    """The numbers in a section that lead to another one, in the order of the text."""
    kind = reading.kind_of(block)
    naming = [line for line in block.raw.entries if kind and names_sections(kind.keys.get(line.key))]
    for span, number in (found for line in naming for found in number_spans(line)):
        target = number if number >= 0 else block.number + number
        if target >= 0 and target != block.number and reading.find_block(target):
            yield Reference(span, number, target)


def reference_at(reading: Reading, line: int, column: int) -> Reference | None:
    """The reference at this place of the text, its end included."""
    block = reading.block_at(line)
    found = list_references(reading, block) if block else ()
    return next((one for one in found if _holds(one.span, line, column)), None)


def _holds(span: TextSpan, line: int, column: int) -> bool:
    return span.line == line and span.start <= column <= span.end


def find_targets(reading: Reading, line: int, column: int) -> list[TextSpan]:
    """The headers of the sections that are meant here: by a number, else all that a section reads; of a value
    `$key` the line in [net] that gives it."""
    reference = reference_at(reading, line, column)
    block = reading.block_at(line)
    if reference:
        return _headers_of(reading, [reference.target])
    if block is None or reading.lines[line - 1].kind not in (HEADER, ENTRY):
        return []
    text = reading.lines[line - 1]
    if text.value.startswith(NET_KEY_MARK):
        return list(_net_lines(reading, text.value[1:].strip()))
    key = find_key(reading, text)
    if text.kind == HEADER:
        return _headers_of(reading, reading.sources_of(block.number))
    own = [one.target for one in list_references(reading, block) if one.span.line == line]
    return _headers_of(reading, own) if names_sections(key) else []


def _net_lines(reading: Reading, key: str) -> Iterator[TextSpan]:
    net = reading.find_block(-1)
    for line in net.raw.entries if net else ():
        if line.key == key:
            yield key_span(line)


def _headers_of(reading: Reading, numbers: list[int] | tuple[int, ...]) -> list[TextSpan]:
    blocks = [reading.find_block(number) for number in dict.fromkeys(numbers)]
    return [header_span(block.header) for block in blocks if block]


def find_readers(reading: Reading, number: int) -> Iterator[tuple[Block, TextSpan]]:
    """What reads a section or refers to it, in order: the numbers that name it, else the header of a section
    that reads it without naming it."""
    for block in reading.blocks:
        named = [one.span for one in list_references(reading, block) if one.target == number]
        if not named and number in reading.sources_of(block.number):
            named = [header_span(block.header)]
        for span in named:
            yield block, span
