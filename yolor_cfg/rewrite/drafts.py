"""A section as another program will read it: what changes in its text, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.graph import Node
from yolor_cfg.lang.dialect import Dialect
from yolor_cfg.lang.edit import TextEdits
from yolor_cfg.lang.syntax import ENTRY, Line


class Change(NamedTuple):
    """What changes in a section (`number` as in the cfg that was read; None: [net]) and why."""

    section: str
    number: int | None
    line: int
    what: str
    why: str


@dataclass(eq=False)
class SectionDraft:
    """The changes of one section, so far. `followers` are sections that come after it, as text; `sources` the
    sections that it reads, `readers` those that read it."""

    node: Node
    target: Dialect
    sources: list[SectionDraft] = field(default_factory=list)
    readers: list[SectionDraft] = field(default_factory=list)
    name: str = ""  # its new one
    written: dict[str, str] = field(default_factory=dict)
    silenced: set[int] = field(default_factory=set)
    followers: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    is_replaced: bool = False  # by another kind of section
    is_removed: bool = False
    is_moved: bool = False  # its output is not that of the section that it comes from

    @property
    def section(self) -> Any:
        """The section that was read."""
        return self.node.section

    @property
    def origin(self) -> Dialect:
        """How the section was read."""
        dialect: Dialect = self.section.dialect
        return dialect

    def note(self, what: str, why: str) -> None:
        """Record a change."""
        self.changes.append(Change(self.section.raw.name, self.section.index, self.section.line, what, why))

    def write(self, key: str, value: object, why: str) -> None:
        """Give a key a value."""
        old = self.written.get(key, self.section.lines[key].value if key in self.section.lines else "")
        if old != str(value):
            self.written[key] = str(value)
            self.note(f"{key}={value}" + (f" (was {old})" if old else ""), why)

    def silence(self, keys: Iterable[str], why: str) -> None:
        """Make the lines of these keys comments."""
        found = [key for key in keys if key in self.section.lines]
        lines = [line for line in self.section.raw.entries if line.key in found]
        fresh = [line for line in lines if line.number not in self.silenced]
        if fresh:
            self.silence_lines(fresh, why)

    def silence_lines(self, lines: Iterable[Line], why: str) -> None:
        """Make these lines comments."""
        for line in lines:
            self.silenced.add(line.number)
            self.note(f"# {line.text.strip()}", why)

    def rename(self, name: str, why: str) -> None:
        """Give the section another name."""
        self.name = name
        self.note(f"[{name}]", why)

    def replace_by(self, name: str, values: dict[str, str], why: str) -> None:
        """Make another section of it."""
        self.silence(list(self.section.lines), why)
        self.rename(name, why)
        self.written = dict(values)
        self.is_replaced = True

    def remove(self, why: str, *, has_value: bool) -> None:
        """Take the section out; if it `has_value`, that of the section before it is the same."""
        self.silence_lines([self.section.raw.lines[0]], why)
        self.silence(list(self.section.lines), why)
        self.is_removed = self.is_replaced = True
        self.is_moved = not has_value

    @property
    def count(self) -> int:
        """How many sections become of it."""
        return 0 if self.is_removed else 1 + len(self.followers)

    def follow(self, *sections: str, why: str) -> None:
        """Add sections behind it."""
        self.followers += sections
        self.note("then " + "; ".join(" ".join(text.split("\n")) for text in sections), why)

    def refusal(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError:
        """The error of a section that has no equal in the target."""
        fault: CfgError = self.section.error(key, message, **details)
        return fault

    def write_edits(self, edits: TextEdits) -> None:
        """Add all of this to the edits of the text."""
        raw = self.section.raw
        edits.silenced.update(self.silenced)
        if self.name:
            edits.silenced.add(raw.line)
            edits.added.setdefault(raw.line, []).append(f"[{self.name}]")
        usable = {key: line for key, line in self.section.lines.items() if not self._needs_own_line(key)}
        for key, value in self.written.items():
            if key not in usable and key in self.section.lines:
                edits.silenced.add(self.section.lines[key].number)
            edits.set_key(raw, usable, (key, value))
        last = [line.number for line in raw.lines if line.kind == ENTRY] or [raw.line]
        for text in self.followers:
            edits.added.setdefault(last[-1], []).extend(["", *text.split("\n")])

    def _needs_own_line(self, key: str) -> bool:
        """Whether the old line cannot simply take another value: it is a comment or has one behind it."""
        line = self.section.lines[key]
        return line.number in self.silenced or "#" in line.value or ";" in line.value
