"""What in a cfg tells its dialect: sections, keys and activations that not every dialect has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import ALL_DIALECTS, JDE_ONLY, MAIN_DIALECTS
from yolor_cfg.lang.dialect_choice import DialectEvidence
from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.syntax import (
    ENTRY,
    MAX_KNOWN_LENGTH,
    MAX_KNOWN_SECTIONS,
    NET_KEY_MARK,
    Document,
    RawSection,
)
from yolor_cfg.sections.base import SECTIONS, Section
from yolor_cfg.sections.net import NetSection


def find_dialect_evidence(document: Document) -> Iterator[DialectEvidence]:
    """The sections, keys and activations of a cfg that not every dialect has; of those that say the same, the
    first."""
    for entry in document.net.entries:
        if NetSection.key_dialects(entry.key) == JDE_ONLY:
            yield DialectEvidence(JDE_ONLY, entry.number, f"{entry.key}=")
        if _names_net_key(entry.text):
            yield DialectEvidence(JDE_ONLY, entry.number, f"{entry.key}={NET_KEY_MARK}...")
    seen: set[tuple[Any, ...]] = set()
    for raw in document.layers:
        is_known = 0 < len(raw.text) <= MAX_KNOWN_LENGTH
        for number, clue in _known_evidence(raw.name, raw.text) if is_known else _read_evidence(raw):
            said = clue.dialects, clue.is_weak, clue.is_section
            if said not in seen:
                seen.add(said)
                yield clue._replace(line=raw.line + number if raw.text else raw.lines[number].number)


@lru_cache(MAX_KNOWN_SECTIONS)
def _known_evidence(name: str, text: str) -> tuple[tuple[int, DialectEvidence], ...]:
    """What a section says; most stand in many files."""
    return tuple(_read_evidence(RawSection(name, 0, text=text)))


def _read_evidence(raw: RawSection) -> Iterator[tuple[int, DialectEvidence]]:
    """Clues with the number of their line, counted from the header."""
    kind = SECTIONS.get(raw.name)
    if kind is None:
        return
    if len(kind.dialects) < len(ALL_DIALECTS):
        yield 0, DialectEvidence(kind.dialects, 0, f"[{raw.name}]", is_section=True)
    for number, line in enumerate(raw.parts):
        if line.kind == ENTRY:
            yield from ((number, clue) for clue in _line_evidence(kind, line.key, line.value))
            if _names_net_key(line.text):
                yield number, DialectEvidence(JDE_ONLY, 0, f"{line.key}={NET_KEY_MARK}...")


def _names_net_key(text: str) -> bool:
    """Whether the line gives its key the value of one in [net]."""
    return NET_KEY_MARK in text and text.partition("=")[2].lstrip().startswith(NET_KEY_MARK)


def _line_evidence(kind: type[Section], key: str, value: str) -> Iterator[DialectEvidence]:
    """What `key=value` in a section of this kind says, without its line number. An activation that Darknet
    has under another name is weak evidence: Darknet's files use it too."""
    found, word = list[DialectEvidence](), strip_comment(value)
    values = kind.value_dialects(key, word)
    if values:
        found.append(DialectEvidence(values, 0, f"{key}={word}", is_weak=True))
    is_common = len(kind.dialects) == len(ALL_DIALECTS)
    activation = ACTIVATIONS.get(word) if key == "activation" and is_common else None
    if activation and activation.dialects:
        is_weak = bool(activation.darknet_name) and activation.is_in(*MAIN_DIALECTS)
        found.append(DialectEvidence(activation.dialects, 0, f"activation={word}", is_weak))
    dialects = _telling_dialects(kind.names[0], key)
    if dialects and value:
        found.append(DialectEvidence(dialects, 0, f"{key}="))
    for clue in found:
        both = tuple(name for name in clue.dialects if name in kind.dialects)
        if both:
            yield clue._replace(dialects=both)


@lru_cache(MAX_KNOWN_SECTIONS)
def _telling_dialects(name: str, key: str) -> tuple[str, ...]:
    """The dialects that have this key, of those that have the section; none if all or none of them do."""
    kind = SECTIONS[name]
    dialects = tuple(name for name in kind.key_dialects(key) if name in kind.dialects)
    return dialects if len(dialects) < len(kind.dialects) else ()
