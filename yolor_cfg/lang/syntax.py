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
NET_KEY_MARK = "$"  # `filters=$embedding_dim` takes the value of that key of [net] (JDE)
MAX_KNOWN_LINES = 10_000  # different lines of cfgs that are kept
MAX_QUOTE_LENGTH = 60  # characters of a line quoted in a message
MAX_QUOTED_LENGTH = 1000  # characters of it that are looked at
# git writes exactly seven; a longer row of = is decoration.
MERGE_MARKS = ("<" * 7, "=" * 7, ">" * 7, "|" * 7)
MERGE_MARKER = re.compile(r"\s*(([<>|])\2{6}(\s|$)|={7}\s*$)")
# Only the line endings of C's fgets and of old Macs: str.splitlines would also split at form feeds and
# U+2028.
LINE_PATTERN = re.compile(r"[^\n]*\n|[^\n]+")
CR_LINE_PATTERN = re.compile(r"[^\r]*\r|[^\r]+")


class Line(NamedTuple):
    """A line of the file: `text` verbatim with its ending; `key` and `value` without outer whitespace."""

    number: int
    text: str
    kind: str
    key: str = ""
    value: str = ""


@dataclass(frozen=True)
class RawSection:
    """One `[name]` with the lines below it; `lines` starts with the header and runs to the next one."""

    name: str
    line: int
    lines: tuple[Line, ...]

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

    @property
    def net(self) -> RawSection:
        """[net]; in the earliest format, one made of the image keys of the first layer."""
        first = self.sections[0]
        if self.has_net:
            return first
        sizes = tuple(line for line in first.entries if line.key in IMAGE_KEYS)
        return RawSection("net", first.line, (first.lines[0], *sizes))

    @cached_property
    def layers(self) -> tuple[RawSection, ...]:
        """The sections after [net], numbered 0, 1, ..., with the values of [net] that they name by `$key`;
        an unknown name stays as it is. The text of a line is always that of the file."""
        if not any(line.value[:1] == NET_KEY_MARK for raw in self._written_layers for line in raw.lines):
            return self._written_layers
        known = {line.key: line.value for line in self.net.entries if line.value[:1] != NET_KEY_MARK}
        return tuple(_insert_values(raw, known) for raw in self._written_layers)

    @property
    def _written_layers(self) -> tuple[RawSection, ...]:
        first, *others = self.sections
        if self.has_net:
            return tuple(others)
        own = tuple(line for line in first.lines if line.key not in IMAGE_KEYS)
        return (RawSection(first.name, first.line, own), *others)


def _insert_values(raw: RawSection, known: Mapping[str, str]) -> RawSection:
    """The section with the values that it names by `$key`, as far as they are known."""
    if not any(line.value[:1] == NET_KEY_MARK for line in raw.lines):
        return raw
    lines = (line._replace(value=_find_value(line.value, known)) for line in raw.lines)
    return replace(raw, lines=tuple(lines))


def _find_value(value: str, known: Mapping[str, str]) -> str:
    return known.get(value[1:].strip(), value) if value[:1] == NET_KEY_MARK else value


def parse(text: str, path: str = "<text>") -> Document:
    """The sections of `text`; raises CfgError for what neither dialect can read (merge markers, prose, no
    [net])."""
    lines = _parse_lines(text)
    if any(marker in text for marker in MERGE_MARKS):
        _refuse_merge_markers(lines, path)
    starts = [i for i, line in enumerate(lines) if line.kind == HEADER]
    prelude = tuple(lines[: starts[0]] if starts else lines)
    _refuse_prose(prelude, path)
    sections = tuple(_parse_section(lines[start:end], path) for start, end in pairwise([*starts, len(lines)]))
    _refuse_missing_net(sections, path)
    return Document(path, prelude, sections)


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
    line = re.sub(r"\s+", " ", text[:MAX_QUOTED_LENGTH].replace("\ufeff", "")).strip()
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


def _split_lines(text: str) -> list[str]:
    # A lone CR ends a line only if the file has no LF at all; otherwise it is whitespace, as in Darknet.
    return (LINE_PATTERN if "\n" in text or "\r" not in text else CR_LINE_PATTERN).findall(text)


def _parse_lines(text: str) -> list[Line]:
    lines = _split_lines(text)
    marked = "".join(lines[:1])
    first = [Line(1, marked, *_read_line(marked.removeprefix("\ufeff")))] if lines else []
    return first + [Line(number, line, *_read_line(line)) for number, line in enumerate(lines[1:], start=2)]


@lru_cache(MAX_KNOWN_LINES)
def _read_line(text: str) -> tuple[str, str, str]:
    """Kind, key and value of a line; most lines stand in a file, and in many files, more than once."""
    stripped = text.strip()
    if not stripped:
        return BLANK, "", ""
    if stripped[0] in "#;":
        return COMMENT, "", stripped
    if stripped[0] == "[":
        return HEADER, "", stripped
    key, equals, value = stripped.partition("=")
    return (ENTRY, "".join(key.split()), value.strip()) if equals and key else (BARE, "", stripped)


def section_name(header: Line) -> str:
    """The text between the brackets, without whitespace."""
    return re.sub(r"\s", "", header.value[1:].partition("]")[0])


def _parse_section(lines: list[Line], path: str) -> RawSection:
    header = lines[0]
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
    return RawSection(name, header.number, tuple(lines))


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
    sized = {line.key for line in first.entries}.issuperset(IMAGE_KEYS)  # Darknet's earliest format
    if first.name not in NET_NAMES and not sized:
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
