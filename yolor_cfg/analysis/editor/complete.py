"""What may be written at a place of a cfg: sections, keys, values, numbers of sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from yolor_cfg.analysis.editor.hover import REQUIRED, describe_manual
from yolor_cfg.analysis.editor.places import TextSpan, find_key, names_sections
from yolor_cfg.analysis.editor.reading import Block, Reading
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.lang.keys import Choice, Flag, Key
from yolor_cfg.lang.syntax import Line
from yolor_cfg.sections import SECTIONS, NetSection, Section
from yolor_cfg.sections.manual import KeyManual, describe_keys, key_dialects, manuals_of, summarize

HEADER_TEXT = re.compile(r"\s*\[\s*(\w*)$")
KEY_TEXT = re.compile(r"\s*(\w*)$")
WORD_BEHIND = re.compile(r"\w*")
HEADER_BEHIND = re.compile(r"\w*\s*\]?")
ITEM = re.compile(r"[^,\s=]*$")


class Candidate(NamedTuple):
    """A word to write: what it is (section, key, value or reference), `text` in place of `span`, `rank` from
    0 for the order, and what is said of it, the longer text in Markdown."""

    kind: str
    label: str
    text: str
    span: TextSpan
    rank: int
    detail: str = ""
    manual: str = ""


def list_candidates(reading: Reading, line: int, column: int) -> list[Candidate]:
    """All that may stand at this place, in order."""
    text = reading.lines[line - 1]
    before, behind = text.text[:column], text.text[column:].rstrip()
    block = reading.block_at(line)
    if match := HEADER_TEXT.match(before):
        return list(_name_sections(reading, _span_around(line, match, behind=behind, pattern=HEADER_BEHIND)))
    if before.lstrip().startswith(("#", ";", "[")) or block is None:
        return []
    if match := KEY_TEXT.match(before):
        span = _span_around(line, match, behind=behind, pattern=WORD_BEHIND)
        return list(_name_keys(reading, block, span, behind=behind))
    if "=" not in before or re.search(r"[#;]", before.partition("=")[2]):
        return []
    item = ITEM.search(before)
    assert item is not None
    end = column + len(re.split(r"[,\s#;]", behind, maxsplit=1)[0])
    return list(_list_values(reading, text, TextSpan(line, item.start(), end)))


def _span_around(line: int, match: re.Match[str], *, behind: str, pattern: re.Pattern[str]) -> TextSpan:
    """The word that the cursor is in."""
    rest = pattern.match(behind)
    return TextSpan(line, match.start(1), match.end(1) + (rest.end() if rest else 0))


def _name_sections(reading: Reading, span: TextSpan) -> Iterator[Candidate]:
    """The sections that a dialect of this text has, with their aliases; [net] where there is none yet."""
    has_net = any(
        reading.kind_of(block) is NetSection for block in reading.blocks if block.header.number != span.line
    )
    for name, kind in sorted(SECTIONS.items()):
        if set(kind.dialects) & set(reading.dialects) and not (kind is NetSection and has_net):
            example = "\n".join(kind.examples[:1])
            manual = f"{summarize(kind)}\n\n```ini\n{example}\n```" if example else summarize(kind)
            is_alias = name != kind.names[0]
            detail = f"as [{kind.names[0]}]" if is_alias else ""
            yield Candidate("section", name, f"{name}]", span, int(is_alias), detail, manual)


def _name_keys(reading: Reading, block: Block, span: TextSpan, *, behind: str) -> Iterator[Candidate]:
    """The keys of this section: its own that are not there yet, those of every section, those that are
    there."""
    kind: Any = reading.kind_of(block)
    if kind is None:
        return
    given = {line.key for line in block.raw.entries if line.number != span.line}
    end = "" if "=" in behind else "="
    own = {manual.name for manual in describe_keys(kind)}
    for manual in manuals_of(kind).values():
        if _is_known(reading, kind, manual):
            rank = 2 if manual.name in given else 0 if manual.name in own and manual.name in kind.keys else 1
            told = "\n".join(describe_manual(kind, manual))
            yield Candidate("key", manual.name, manual.name + end, span, rank, _tell_default(manual), told)


def _tell_default(manual: KeyManual) -> str:
    return manual.default if manual.default in ("", REQUIRED) else f"default {manual.default}"


def _is_known(reading: Reading, kind: type[Section], manual: KeyManual) -> bool:
    """Whether a dialect of this text heeds the key."""
    key = kind.keys.get(manual.name)
    if key is None:
        return bool(set(manual.dialects) & set(reading.dialects))
    return bool(set(key_dialects(kind, key)) & set(reading.dialects))


def _list_values(reading: Reading, line: Line, span: TextSpan) -> Iterator[Candidate]:
    """The words of a choice, both values of a flag, or the sections that may be named."""
    key, block = find_key(reading, line), reading.block_at(line.number)
    if key is None or block is None:
        return
    if names_sections(key):
        yield from _name_targets(reading, block, span)
    for rank, (word, detail) in enumerate(_words_of(reading, key)):
        yield Candidate("value", word, word, span, rank, detail, key.help)


def _words_of(reading: Reading, key: Key[Any]) -> Iterator[tuple[str, str]]:
    """The values that a key can have, where they can be listed, with a remark each."""
    if isinstance(key, Choice):
        dialects = [DIALECTS[name] for name in reading.dialects]
        known = {word for dialect in dialects for word in key.options_in(dialect)}
        yield from ((word, "default" if word == key.default else "") for word in sorted(known))
    elif isinstance(key, Flag):
        yield from (("1", ""), ("0", ""))
    elif key is NetSection.keys["dialect"]:
        yield from ((name, dialect.program) for name, dialect in DIALECTS.items())


def _name_targets(reading: Reading, block: Block, span: TextSpan) -> Iterator[Candidate]:
    """The sections before this one, the nearest first: counted back from here, then by their numbers."""
    earlier = [one for one in reversed(reading.blocks) if 0 <= one.number < block.number]
    for is_relative in (True, False):
        for rank, target in enumerate(earlier):
            number = target.number - block.number if is_relative else target.number
            node = reading.nodes.get(target.number)
            other = f"#{target.number}" if is_relative else f"{target.number - block.number}"
            size = f" {node.shape}" if node else ""
            detail = f"[{target.raw.name}]{size}, line {target.header.number} ({other})"
            place = rank if is_relative else len(earlier) + rank
            yield Candidate("reference", str(number), str(number), span, place, detail)
