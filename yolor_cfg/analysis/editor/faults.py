"""What is wrong in a text, where it stands, and how it is mended where there is one way only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from yolor_cfg.analysis.cfg_check import Remark, find_remarks
from yolor_cfg.analysis.editor.places import (
    NEXT_LINE,
    TextSpan,
    content_span,
    find_key,
    header_span,
    key_span,
    number_spans,
    value_span,
)
from yolor_cfg.analysis.editor.reading import ADDED_LINE, NET_NUMBER, Reading
from yolor_cfg.errors import CfgError
from yolor_cfg.lang.keys import BadValue, Choice, NumberKey
from yolor_cfg.lang.lists import NumberList
from yolor_cfg.lang.syntax import ENTRY, HEADER, Line

ABOUT_KEY = ("unknown key", "missing key", "given twice", "no value", "has no effect")
"""How messages begin that are about a key, whatever its value is."""
MEANT = re.compile(r"did you mean (\S+)\?")
FITTING = re.compile(r"(-?[0-9]+) would fit$")
SETTING = re.compile(r"(\w+)=(\S+)")
WORD = re.compile(r"[A-Za-z0-9_.+-]+")
OPTION = re.compile(r"--dialect (\w+)")
CODE = re.compile(r"[a-z]+(?:[' -][a-z]+)*")


class Edit(NamedTuple):
    """New text in place of a part of a line; the end of a span may be `NEXT_LINE`."""

    span: TextSpan
    text: str


class Remedy(NamedTuple):
    """A way to mend a fault: in words, the change, and whether it is what was meant for certain."""

    title: str
    edit: Edit
    is_sure: bool = True


def list_remarks(reading: Reading) -> list[Remark]:
    """All that is wrong or odd; of a line that had to be mended only why."""
    told = [Remark("error", fault) for fault in reading.faults]
    if reading.document is None or reading.draft is None or reading.is_contradictory:
        return told
    mended = {fault.line for fault in reading.faults}
    found = find_remarks(reading.document, reading.draft)
    return told + [one for one in found if one.fault.line not in mended and not _is_of_added_net(one.fault)]


def _is_of_added_net(fault: CfgError) -> bool:
    return fault.line == ADDED_LINE and fault.section == "net"


def name_fault(fault: CfgError) -> str:
    """A short name for faults of this kind: the start of the message, such as `unknown-key`."""
    match = CODE.match(fault.message.lower())
    return re.sub(r"[' ]", "-", match[0]) if match else "fault"


def locate(reading: Reading, fault: CfgError) -> TextSpan:
    """The key, the value or the number that a fault is about; else the header or the line."""
    if not 0 < fault.line <= len(reading.lines):
        return TextSpan(1, 0, len(reading.lines[0].text.rstrip()) if reading.lines else 0)
    line = reading.lines[fault.line - 1]
    if line.kind == HEADER:
        return content_span(line) if fault in reading.faults else header_span(line)
    if line.kind != ENTRY or fault.key != line.key:
        return content_span(line)
    if fault.message.startswith(ABOUT_KEY) or not line.value:
        return key_span(line)
    numbers = [span for span, number in number_spans(line) if str(number) == fault.found]
    return numbers[0] if len(numbers) == 1 else value_span(line)


def list_remedies(reading: Reading, fault: CfgError) -> Iterator[Remedy]:
    """The ways to mend this fault, if it is known what was meant."""
    if not 0 < fault.line <= len(reading.lines):
        return
    line = reading.lines[fault.line - 1]
    meant = MEANT.search(fault.hint) or FITTING.match(fault.hint)
    if meant and not (meant.re is MEANT and _is_about_list(reading, line, fault)):
        yield _replace(reading, fault, meant[1])
    elif _is_value(reading, line, fault):
        yield _replace(reading, fault, fault.allowed)
    yield from _set_in_source(reading, fault)
    yield from _state_dialect(reading, fault)
    if fault.message.startswith("a comment after"):
        yield _move_comment(line)
    if fault.message.startswith(("given twice", "no value after")):
        yield from _delete(reading, fault)
    elif fault.message.startswith("has no effect"):
        yield Remedy(f"Delete {fault.key}, which has no effect", _delete_line(line), is_sure=False)


def _is_about_list(reading: Reading, line: Line, fault: CfgError) -> bool:
    """Whether a hint is about one of several numbers, and does not say which."""
    is_list = isinstance(find_key(reading, line), NumberList)
    return is_list and fault.key == line.key and not fault.message.startswith(ABOUT_KEY)


def _replace(reading: Reading, fault: CfgError, word: str) -> Remedy:
    """Another word at the place of the fault."""
    span = locate(reading, fault)
    is_header = reading.lines[span.line - 1].kind == HEADER
    text = f"[{word}]" if is_header else word
    old = reading.lines[span.line - 1].text[span.start : span.end]
    return Remedy(f"Change {old} to {text}", Edit(span, text))


def _is_value(reading: Reading, line: Line, fault: CfgError) -> bool:
    """Whether a single value is allowed for the key of this line, and not a word for all of a kind."""
    key = find_key(reading, line)
    if key is None or reading.draft is None or fault.key != line.key or not WORD.fullmatch(fault.allowed):
        return False
    with suppress(BadValue):
        key.parse(fault.allowed, reading.draft.told.dialect)
        return isinstance(key, (Choice, NumberKey))
    return False


def _set_in_source(reading: Reading, fault: CfgError) -> Iterator[Remedy]:
    """`filters=255` in the section that a head reads, where that has to be so."""
    wanted, found = SETTING.fullmatch(fault.allowed), SETTING.fullmatch(fault.found)
    source = reading.find_block(fault.number - 1) if fault.number else None
    if not wanted or not found or wanted[1] != found[1] or source is None:
        return
    for line in source.raw.entries:
        if line.key == wanted[1] and line.value == found[2]:
            edit = Edit(value_span(line), wanted[2])
            yield Remedy(f"Set {wanted[0]} in {source.title}", edit, is_sure="would fit" not in fault.hint)


def _state_dialect(reading: Reading, fault: CfgError) -> Iterator[Remedy]:
    """`dialect=` in [net], for each of those that a hint names."""
    net = reading.find_block(NET_NUMBER)
    if net is None or not reading.is_contradictory:
        return
    header = net.header.text
    end = len(header.rstrip("\r\n"))
    for name in OPTION.findall(fault.hint):
        edit = Edit(TextSpan(net.header.number, end, end), f"{header[end:]}dialect={name}")
        yield Remedy(f"Say dialect={name} in [net]", edit, is_sure=False)


def _delete(reading: Reading, fault: CfgError) -> Iterator[Remedy]:
    """Take away the line that does not count."""
    section = reading.sections.get(NET_NUMBER if fault.number is None else fault.number)
    counting = section.lines.get(fault.key) if section else None
    for line in section.raw.entries if section else ():
        if line.key == fault.key and (counting is None or line.number != counting.number):
            yield Remedy(f"Delete line {line.number}, which does not count", _delete_line(line))


def _delete_line(line: Line) -> Edit:
    return Edit(TextSpan(line.number, 0, NEXT_LINE), "")


def _move_comment(header: Line) -> Remedy:
    """The comment behind a header on the line below."""
    start = header_span(header).end
    rest = header.text[start:].rstrip()
    ending = header.text[start + len(rest) :] or "\n"
    edit = Edit(TextSpan(header.number, start, start + len(rest)), ending + rest.strip())
    return Remedy("Put the comment on a line of its own", edit)
