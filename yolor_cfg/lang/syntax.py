"""Cfg text to raw sections and back. Every line is kept as it is, so writing reproduces what was read.

A line is a header if it starts with `[`, a comment if it starts with `#` or `;`, otherwise `key = value`,
split at the first `=`; whitespace inside a line is ignored (Darknet's parser.c removes it). Values are not
interpreted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

from yolor_cfg.errors import CfgError

BLANK, COMMENT, HEADER, ENTRY, BARE = "blank", "comment", "header", "entry", "bare"
NET_NAMES = ("net", "network")
IMAGE_KEYS = ("width", "height", "channels")
VECTOR_KEY, VECTOR_NAMES = "input", ("conn", "connected")  # Darknet of 2013: a first layer that reads vectors
NET_KEY_MARK = "$"  # `filters=$embedding_dim` takes the value of that key of [net] (JDE)
MAX_KNOWN_SECTIONS = 10_000  # texts of sections whose lines are kept, since most stand in many files
MAX_KNOWN_HEADERS = 100
MAX_KNOWN_LENGTH = 2000  # characters of such a text
BOM = "\ufeff"
MAX_QUOTE_LENGTH = 60  # characters of a line quoted in a message
MAX_QUOTED_LENGTH = 1000  # characters of it that are looked at
# git writes exactly seven; a longer row of = is decoration.
MERGE_MARKS = ("<" * 7, "=" * 7, ">" * 7, "|" * 7)
MERGE_MARKER = re.compile(r"\s*(([<>|])\2{6}(\s|$)|={7}\s*$)")
# Only the line endings of C's fgets and of old Macs: str.splitlines would also split at form feeds and
# U+2028.
LINE_PATTERN = re.compile(r"[^\n]*\n|[^\n]+")
MERGE_MARK = re.compile(r"(?m)^[^\S\n]*(?:([<>|])\1{6}(?:\s|$)|={7}[^\S\n]*$)")
HEADER_START = re.compile(r"\n([^\S\n]*\[)")
LONE_CR = re.compile(r"\r(?!\n)")
CR_LINE_PATTERN = re.compile(r"[^\r]*\r|[^\r]+")


class Line(NamedTuple):
    """A line of the file: `text` verbatim with its ending; `key` and `value` without outer whitespace."""

    number: int
    text: str
    kind: str
    key: str = ""
    value: str = ""


class LineParts(NamedTuple):
    """What stands in a line, wherever the line is."""

    text: str
    kind: str
    key: str
    value: str


class RawSection:
    """One `[name]` with the lines below it; `lines` starts with the header and ends before the next one.
    `text` is the section as a file has it: most are repeated, and read only once. Else it is empty."""

    def __init__(self, name: str, line: int, lines: Iterable[Line] = (), *, text: str = "") -> None:
        self.name, self.line, self.text = name, line, text
        if not text:
            self.lines = tuple(lines)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines with their numbers."""
        return tuple(Line(number, *parts) for number, parts in enumerate(_read_lines(self.text), self.line))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawSection) and (self.name, self.lines) == (other.name, other.lines)

    def __hash__(self) -> int:
        return hash((self.name, self.lines))

    def __repr__(self) -> str:
        return f"RawSection({self.name!r}, {self.line}, {self.lines!r})"

    @property
    def parts(self) -> Iterable[LineParts | Line]:
        """The lines, without their numbers where these are not known yet."""
        return _read_lines(self.text) if self.text else self.lines

    @property
    def has_net_keys(self) -> bool:
        """Whether a value may stand in [net] instead."""
        return NET_KEY_MARK in (self.text or "".join(line.text for line in self.lines))

    @property
    def entries(self) -> tuple[Line, ...]:
        """The `key = value` lines, in order."""
        return tuple(line for line in self.lines if line.kind == ENTRY)

    @property
    def header_comment(self) -> str:
        """The text after the `]` of the header line; the parser accepts only a comment there."""
        return self.lines[0].value.partition("]")[2].strip()


@dataclass(frozen=True)
class Document:
    """A parsed cfg: the lines before the first header, then the sections; `encoding` is the one to write it
    in."""

    path: str
    prelude: tuple[Line, ...]
    sections: tuple[RawSection, ...]
    encoding: str = "utf-8"

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines of the file in order."""
        return self.prelude + tuple(line for section in self.sections for line in section.lines)

    @property
    def text(self) -> str:
        """The whole text, unchanged."""
        return format_document(self)

    @property
    def has_net(self) -> bool:
        """False for Darknet's earliest format, whose first layer gives the image size."""
        return self.sections[0].name in NET_NAMES

    @cached_property
    def net(self) -> RawSection:
        """[net], in which `$key` is the value of a key above; in the earliest format, one made of the image
        keys of the first layer."""
        first = self.sections[0]
        if self.has_net:
            return _insert_own_values(first) if not first.text or NET_KEY_MARK in first.text else first
        keys = _sizes_of(first)
        sizes = (line._replace(key=keys[line.key]) for line in first.entries if line.key in keys)
        return RawSection("net", first.line, (first.lines[0], *sizes))

    @cached_property
    def layers(self) -> tuple[RawSection, ...]:
        """The sections after [net], numbered 0, 1, ..., with the values of [net] that they name by `$key`;
        an unknown name stays as it is. The text of a line is always that of the file."""
        if not any(raw.has_net_keys for raw in self._written_layers):
            return self._written_layers
        known = {line.key: line.value for line in self.net.entries if line.value[:1] != NET_KEY_MARK}
        return tuple(_insert_values(raw, known) for raw in self._written_layers)

    @property
    def _written_layers(self) -> tuple[RawSection, ...]:
        first, *others = self.sections
        if self.has_net:
            return tuple(others)
        sizes = _sizes_of(first)
        own = tuple(line for line in first.lines if line.key not in sizes)
        return (RawSection(first.name, first.line, own), *others)


def _sizes_of(first: RawSection) -> dict[str, str]:
    """The keys of a first layer that give the size of the input, with their names in [net]; none if it does
    not. Darknet's earliest format has no [net] (parse_convolutional, parse_connected in src/parser.c,
    pjreddie/darknet 0d6bb5d4)."""
    keys = {line.key for line in first.entries}
    if first.name in VECTOR_NAMES and VECTOR_KEY in keys:
        return {VECTOR_KEY: "inputs"}
    return dict(zip(IMAGE_KEYS, IMAGE_KEYS, strict=True)) if keys.issuperset(IMAGE_KEYS) else {}


def _insert_values(raw: RawSection, known: Mapping[str, str]) -> RawSection:
    """The section with the values that it names by `$key`, as far as they are known."""
    if not any(line.value[:1] == NET_KEY_MARK for line in raw.lines):
        return raw
    lines = (line._replace(value=_find_value(line.value, known)) for line in raw.lines)
    return RawSection(raw.name, raw.line, lines)


def _insert_own_values(net: RawSection) -> RawSection:
    """[net] with the values that it names by `$key`: those so far, as in JDE (utils/parse_config.py)."""
    lines, known = list[Line](), dict[str, str]()
    for line in net.lines:
        lines.append(line._replace(value=_find_value(line.value, known)))
        if line.kind == ENTRY:
            known[line.key] = lines[-1].value
    return RawSection(net.name, net.line, lines)


def _find_value(value: str, known: Mapping[str, str]) -> str:
    return known.get(value[1:].strip(), value) if value[:1] == NET_KEY_MARK else value


def parse(text: str, path: str = "<text>") -> Document:
    """The sections of `text`; raises CfgError for what neither dialect can read (merge markers, prose, no
    [net])."""
    is_suspect = any(marker in text for marker in MERGE_MARKS)
    if is_suspect and (MERGE_MARK.search(text) or LONE_CR.search(text)):
        _refuse_merge_markers(number_lines(text), path)
    prelude, sections = _split_sections(text, path)
    _refuse_prose(prelude, path)
    _refuse_missing_net(sections, path)
    return Document(path, prelude, sections)


def _split_sections(text: str, path: str) -> tuple[tuple[Line, ...], tuple[RawSection, ...]]:
    """The lines before the first header, and the sections."""
    if LONE_CR.search(text) or text.startswith(BOM):
        lines = number_lines(text)
        starts = [i for i, line in enumerate(lines) if line.kind == HEADER]
        parts = [tuple(lines[start:end]) for start, end in pairwise([*starts, len(lines)])]
        prelude = tuple(lines[: starts[0]] if starts else lines)
        return prelude, tuple(
            RawSection(_name_section(part[0], path), part[0].number, part) for part in parts
        )
    places = [match.start(1) - 1 for match in HEADER_START.finditer("\n" + text)]
    prelude = tuple(number_lines(text[: places[0]] if places else text))
    number, sections = len(prelude) + 1, list[RawSection]()
    for start, end in pairwise([*places, len(text)]):
        block = text[start:end]
        header = text[start : text.find("\n", start) + 1 or end]
        name = _known_name(header) or _name_section(Line(number, *_read_line(header)), path)
        sections.append(RawSection(name, number, text=block))
        number += block.count("\n")
    return prelude, tuple(sections)


def parse_bytes(data: bytes, path: str = "<bytes>") -> Document:
    """As `parse`, from the bytes of a file: UTF-8 (with or without BOM), else Latin-1, which keeps
    every byte."""
    if b"\0" in data:
        raise CfgError(
            "this is not a text file", path=path, found="null bytes", hint="pass the .cfg file, in UTF-8"
        )
    try:
        return parse(data.decode("utf-8"), path)
    except UnicodeDecodeError:
        return replace(parse(data.decode("latin-1"), path), encoding="latin-1")


def format_document(document: Document) -> str:
    """The text exactly as it was read (after edits: with only the edited lines changed)."""
    return "".join(line.text for line in document.lines)


def normalize_document(document: Document) -> str:
    """The normal form: `key=value`, comments kept, one blank line between sections, LF line endings."""
    blocks = [
        _normalize_lines(document.prelude),
        *(_normalize_lines(section.lines) for section in document.sections),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def quote_text(text: str) -> str:
    """`text` as a message quotes it: shortened, on one line, without control characters."""
    if len(text) <= MAX_QUOTE_LENGTH and text.isprintable() and "  " not in text:
        return text.strip()
    line = re.sub(r"\s+", " ", text[:MAX_QUOTED_LENGTH].replace(BOM, "")).strip()
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= MAX_QUOTE_LENGTH else line[: MAX_QUOTE_LENGTH - 3] + "..."


def _normalize_lines(lines: Iterable[Line]) -> list[str]:
    texts: dict[str, Callable[[Line], str]] = {
        ENTRY: lambda line: f"{line.key}={line.value}",
        HEADER: lambda line: f"[{section_name(line)}]{line.value.partition(']')[2]}",
        COMMENT: lambda line: line.value,
        BARE: lambda line: line.value,
    }
    return [texts[line.kind](line) for line in lines if line.kind != BLANK]


def number_lines(text: str) -> list[Line]:
    """The lines of any text, as they are."""
    # A lone CR ends a line only if the file has no LF at all; otherwise it is whitespace, as in Darknet.
    pattern = LINE_PATTERN if "\n" in text or "\r" not in text else CR_LINE_PATTERN
    lines = pattern.findall(text)
    first = [_read_line(line.removeprefix(BOM))._replace(text=line) for line in lines[:1]]
    return [
        Line(number, *parts) for number, parts in enumerate([*first, *map(_read_line, lines[1:])], start=1)
    ]


def _read_lines(text: str) -> tuple[LineParts, ...]:
    """The lines of a section of a file without lone CRs."""
    return _read_known_lines(text) if len(text) <= MAX_KNOWN_LENGTH else _read_all_lines(text)


def _read_all_lines(text: str) -> tuple[LineParts, ...]:
    return tuple(map(_read_line, LINE_PATTERN.findall(text)))


_read_known_lines = lru_cache(MAX_KNOWN_SECTIONS)(_read_all_lines)


def _read_line(text: str) -> LineParts:
    stripped = text.strip()
    if not stripped:
        return LineParts(text, BLANK, "", "")
    if stripped[0] in "#;":
        return LineParts(text, COMMENT, "", stripped)
    if stripped[0] == "[":
        return LineParts(text, HEADER, "", stripped)
    key, equals, value = stripped.partition("=")
    if equals and key:
        return LineParts(text, ENTRY, "".join(key.split()), value.strip())
    return LineParts(text, BARE, "", stripped)


def section_name(header: Line) -> str:
    """The text between the brackets, without whitespace."""
    return "".join(header.value[1:].partition("]")[0].split())


@lru_cache(MAX_KNOWN_HEADERS)
def _known_name(header: str) -> str:
    """The name in a header line; nothing where the header is faulty."""
    try:
        return _name_section(Line(0, *_read_line(header)), "")
    except CfgError:
        return ""


def _name_section(header: Line, path: str) -> str:
    """The name in the header; raises CfgError if it is no header."""
    name = section_name(header)
    _, bracket, rest = header.value.partition("]")
    if not bracket:
        hint = "write [name] on a line of its own"
        raise _line_error("a section header without ]", header, path=path, hint=hint)
    if not name:
        raise _line_error("a section header without a name", header, path=path)
    if rest.strip() and rest.strip()[0] not in "#;":
        raise _line_error(
            "text after a section header", header, path=path, hint="put it on a line of its own"
        )
    return name


def _refuse_merge_markers(lines: list[Line], path: str) -> None:
    for line in lines:
        if MERGE_MARKER.match(line.text):
            hint = "keep one side of the conflict and delete the three marker lines"
            raise _line_error("a merge-conflict marker", line, path=path, hint=hint)


def _refuse_prose(prelude: tuple[Line, ...], path: str) -> None:
    for line in prelude:
        words = line.text.partition("=")[0].split()
        if line.text.lstrip().startswith("<"):
            raise _line_error("this is a web page, not a cfg", line, path=path, hint="download the raw file")
        if line.kind == ENTRY and len(words) < 3:
            hint = "the file must start with [net]"
            raise _line_error("a key before the first section", line, path=path, hint=hint)
        if line.kind in (BARE, ENTRY):
            hint = "delete it: the file must start with [net]"
            raise _line_error("text before the first section", line, path=path, hint=hint)


def _refuse_missing_net(sections: tuple[RawSection, ...], path: str) -> None:
    if not sections:
        raise CfgError(
            "this file has no sections",
            path=path,
            line=1,
            allowed="[net] first, then the layers",
            hint="is this the right file?",
        )
    first = sections[0]
    if first.name not in NET_NAMES and not _sizes_of(first):
        name = quote_text(first.name)
        raise CfgError(
            "the first section must be [net]",
            path=path,
            line=first.line,
            section=name,
            found=f"[{name}]",
            allowed="[net], [network]",
            hint="put [net] with width, height and channels at the top",
        )


def _line_error(message: str, line: Line, *, path: str, hint: str = "") -> CfgError:
    return CfgError(message, path=path, line=line.number, found=quote_text(line.text), hint=hint)
