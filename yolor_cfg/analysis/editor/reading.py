"""Any text as a cfg, read as far as it goes: what no program can read is mended, and told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import DEFAULT_OPTIONS, Draft, Node, ReadOptions, collect_rarely, draft_graph
from yolor_cfg.lang.dialect import ALL_DIALECTS
from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.syntax import (
    BLANK,
    BOM,
    HEADER,
    NET_NAMES,
    Document,
    Line,
    RawSection,
    number_lines,
    parse_bytes,
    section_name,
)
from yolor_cfg.sections import Section
from yolor_cfg.sections.detection import find_kind
from yolor_cfg.shape import Shape

MOST_MENDED = 20  # lines: a file with more of them is none of ours
NET_NUMBER = -1
ADDED_LINE = 0  # of a [net] that the file lacks


@dataclass(frozen=True)
class Block:
    """A section as text: `number` is that of messages and references, -1 for [net]."""

    number: int
    raw: RawSection

    @property
    def header(self) -> Line:
        """The line with its name."""
        return self.raw.lines[0]

    @property
    def title(self) -> str:
        """`[route] #3`, as messages name it."""
        return f"[{self.raw.name}]" + (f" #{self.number}" if self.number >= 0 else "")


@dataclass(frozen=True)
class Reading:
    """A text with what could be understood of it. `faults` are those that hide others: of lines that had to
    be mended, or of the dialect. Without `draft` nothing but the blocks is known."""

    lines: tuple[Line, ...]
    faults: tuple[CfgError, ...] = ()
    document: Document | None = None
    draft: Draft | None = None
    is_contradictory: bool = False

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The sections in order, as the lines show them."""
        starts = [i for i, line in enumerate(self.lines) if line.kind == HEADER]
        parts = [self.lines[start:end] for start, end in pairwise([*starts, len(self.lines)])]
        raws = [RawSection(name_header(part[0]), part[0].number, part) for part in parts]
        first = NET_NUMBER if raws and raws[0].name in NET_NAMES else 0
        return tuple(Block(number, raw) for number, raw in enumerate(raws, start=first))

    @cached_property
    def sections(self) -> dict[int, Section]:
        """The sections whose keys could be read, by number."""
        return {one.index: one for one in (self.draft.net, *self.draft.sections)} if self.draft else {}

    @cached_property
    def nodes(self) -> dict[int, Node]:
        """The sections whose sizes are known, by number."""
        return {node.index: node for node in self.draft.nodes} if self.draft else {}

    @property
    def image(self) -> Shape | None:
        """The input of the network, if it is known."""
        return self.draft.net.image if self.draft and all(self.draft.net.image) else None

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that the text may be in, the one it is read in first."""
        if self.draft is None or self.is_contradictory:
            return ALL_DIALECTS
        return (self.draft.told.dialect.name, *(one.name for one in self.draft.told.others))

    def block_at(self, line: int) -> Block | None:
        """The section that a line, counted from 1, stands in."""
        above = [block for block in self.blocks if block.header.number <= line]
        return above[-1] if above else None

    def find_block(self, number: int) -> Block | None:
        """The section of this number."""
        place = number - self.blocks[0].number if self.blocks else -1
        return self.blocks[place] if 0 <= place < len(self.blocks) else None

    def kind_of(self, block: Block) -> type[Section] | None:
        """The class that reads this section; None for an unknown name."""
        section = self.sections.get(block.number)
        return type(section) if section else find_kind(block.raw)

    def sources_of(self, number: int) -> tuple[int, ...]:
        """The numbers of the sections that this one reads, -1 for the image, as far as they are known."""
        with suppress(CfgError):
            return self.sections[number].sources() if number in self.sections and number >= 0 else ()
        return ()


def read_text(text: str, path: str, options: ReadOptions = DEFAULT_OPTIONS) -> Reading:
    """The text as far as it can be read; nothing that it contains raises an error."""
    lines = tuple(_list_lines(text))
    with collect_rarely():
        document, faults = _parse_mended(lines, path)
        if document is None:
            return Reading(lines, faults)
        try:
            return Reading(lines, faults, document, draft_graph(document, options))
        except CfgError as fault:
            known = options._replace(dialect=options.default_dialect)
            draft = draft_graph(document, known)
            return Reading(lines, (*faults, fault), document, draft, is_contradictory=True)


def _list_lines(text: str) -> Iterator[Line]:
    """The lines as an editor counts them: with an empty one behind the last line end."""
    lines = number_lines(text)
    yield from lines
    if not lines or lines[-1].text.endswith(("\n", "\r")):
        yield Line(len(lines) + 1, "", BLANK)


def name_header(line: Line) -> str:
    """The name in a header line, however it ends."""
    return strip_comment(section_name(line))


def _parse_mended(lines: Sequence[Line], path: str) -> tuple[Document | None, tuple[CfgError, ...]]:
    """The document of the lines, with those that cannot be read mended, and a fault for each of them; no
    document where there is nothing to mend."""
    texts, faults = [line.text for line in lines], list[CfgError]()
    while len(faults) < MOST_MENDED:
        try:
            return _parse(texts, path), tuple(faults)
        except CfgError as fault:
            place = fault.line - 1
            if (fault.line, fault.message) not in [(one.line, one.message) for one in faults]:
                faults.append(fault)
            if not 0 <= place < len(texts) or texts[place] == _mend(lines[place]):
                return _add_net(texts, path), tuple(faults)
            texts[place] = _mend(lines[place])
    return None, tuple(faults)


def _parse(texts: Sequence[str], path: str) -> Document:
    # What is no character, half of a surrogate pair, becomes a question mark.
    return parse_bytes("".join(texts).encode("utf-8", "replace"), path)


def _mend(line: Line) -> str:
    """A line that can be read in its place: a header keeps its name, any other says nothing."""
    ending = line.text[len(line.text.rstrip("\r\n")) :]
    return (f"[{name_header(line) or '?'}]" if line.kind == HEADER else "#") + ending


def _add_net(texts: Sequence[str], path: str) -> Document | None:
    """The document with an empty [net] before all; None if it cannot be read then either."""
    with suppress(CfgError):
        document = _parse(["[net]\n", *(text.removeprefix(BOM) for text in texts)], path)
        if len(document.sections) > 1:
            return Document(path, (), tuple(_move_up(document.sections)))
    return None


def _move_up(sections: Sequence[RawSection]) -> Iterator[RawSection]:
    """The sections one line earlier."""
    for one in sections:
        yield RawSection(
            one.name, one.line - 1, (line._replace(number=line.number - 1) for line in one.lines)
        )
