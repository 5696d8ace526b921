"""How the lines of a section become the values of its keys, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.lang.dialect import MAIN_DIALECTS, Dialect
from yolor_cfg.lang.keys import Answers, BadValue, Key, KeyValues, ParsedValue, list_nearest, suggest_word
from yolor_cfg.lang.syntax import BARE, ENTRY, MAX_KNOWN_LENGTH, NET_KEY_MARK, Line, RawSection, quote_text
from yolor_cfg.shape import Shape

SIDE_STRIDES = ("stride_x", "stride_y")
MAX_HINTS = 50  # unknown words that a similar one is looked for
MAX_SHARED = 20_000  # texts of sections and of values that are read only once


class SectionPlace(NamedTuple):
    """Where a section stands: its number, the dialect and path of its file, the input image of its network,
    the other sections, the length of an embedding in [net], the values already read in this dialect by kind
    and text. [net] has the number -1 and no image: it defines the image size itself."""

    number: int
    dialect: Dialect
    path: str
    image: Shape | None = None
    others: Sequence[Any] = ()
    embedding: int = 0
    shared: Answers | None = None


class SectionReader:
    """A section as it is read: its lines, the values of its keys, faults and warnings."""

    keys: ClassVar[dict[str, Key[Any]]] = {}
    dialects: ClassVar[tuple[str, ...]]
    ignored_keys: ClassVar[dict[str, str]] = {}

    def __init__(self, raw: RawSection, place: SectionPlace) -> None:
        self.is_complete = False  # from then on the values of keys stay what they are
        self.raw, self.place = raw, place
        self.index, self.dialect, self.path = place.number, place.dialect, place.path
        self.faults: list[CfgError] = []
        self.warnings: list[CfgError] = []
        self.unusable: dict[str, CfgError] = {}  # by key: what was read means nothing
        self._misspelt: dict[str, CfgError] = {}
        self.values = self._find_values()
        self.unusable = {fault.key: fault for fault in self.faults} | self._misspelt

    @cached_property
    def lines(self) -> dict[str, Line]:
        """The line that counts for each key: the first or the last, depending on the dialect."""
        entries = (line for line in self.raw.lines[1:] if line.kind == ENTRY and line.value)
        lines: dict[str, Line] = {}
        for line in entries:
            if line.key not in lines or not self.dialect.first_key_wins:
                lines[line.key] = line
        return lines

    @property
    def line(self) -> int:
        """The cfg line of the header."""
        return self.raw.line

    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError:
        """A CfgError at this key; at the header if the key is absent or empty."""
        place: ErrorDetails = {
            "path": self.path,
            "line": self.lines[key].number if key in self.lines else self.line,
            "section": quote_text(self.raw.name),
            "number": self.index if self.index >= 0 else None,
            "key": quote_text(key),
        }
        return CfgError(message, **place | details)

    def fault(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None:
        """Record an error; all errors of a file are reported together."""
        self.faults.append(self.error(key, message, **details))

    def warn(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None:
        """Record a warning about what is unusual but valid; `--strict` makes it an error."""
        self.warnings.append(self.error(key, message, **details))

    def require_keys(self, *names: str) -> None:
        """Record an error for each of these keys that is absent."""
        for name in names:
            if name not in self.values and name not in self.unusable:
                key = self.keys[name]
                self.fault(name, "missing key", allowed=key.allowed, hint=key.help)

    def _find_values(self) -> KeyValues:
        """The values of all keys. Most sections repeat the text of another one, which is then read once; what
        there is a message about is read anew, with its own line."""
        shared = self.place.shared
        if shared is None or not 0 < len(self.raw.text) <= MAX_KNOWN_LENGTH:
            return self._read_values()
        question = type(self), self.raw.text
        known: KeyValues | None = shared.get(question)
        if known is None:
            known = self._read_values()
            if not self.faults and not self.warnings and len(shared) < MAX_SHARED:
                shared[question] = known
        return known

    def _read_values(self) -> KeyValues:
        if self.raw.header_comment:
            hint = "C Darknet does not know this header: put the comment on a line of its own"
            found = quote_text(self.raw.header_comment)
            self.warn("", "a comment after the section header", found=found, hint=hint)
        seen: dict[str, Line] = {}
        for line in self.raw.lines[1:]:
            self._check_line(line, seen)
        return KeyValues(self._parse_keys())

    def _check_line(self, line: Line, seen: dict[str, Line]) -> None:
        """Report an odd line; `seen` has the line that counts for each key so far."""
        if line.kind == BARE:
            without = "without a key" if "=" in line.value else "without ="
            self._report_line("", f"a line {without}", line, hint="expected `key = value`")
        if line.kind != ENTRY:
            return
        if not line.value:
            hint = "the key counts as absent" if self.dialect.is_forgiving else "give one, or delete the line"
            self._report_line(line.key, "no value after =", line, hint=hint)
            return
        earlier = seen.get(line.key)
        if earlier is not None and "".join(earlier.value.split()) != "".join(line.value.split()):
            counts = "first" if self.dialect.first_key_wins else "last"
            both = ", ".join(f"{quote_text(entry.value)} (line {entry.number})" for entry in (earlier, line))
            self.warn(line.key, f"given twice: the {counts} counts", line=line.number, found=both)
        if earlier is None or not self.dialect.first_key_wins:
            seen[line.key] = line

    def _report_line(self, key: str, message: str, line: Line, *, hint: str) -> None:
        tell = self.warn if self.dialect.is_forgiving else self.fault
        tell(key, message, line=line.number, found=quote_text(line.text), hint=hint)

    def _parse_keys(self) -> Iterator[tuple[str, Any]]:
        """The values of the lines that have a valid one; the others are reported."""
        for name, line in self.lines.items():
            if name in self.keys and self._has_effect(self.keys[name]):
                yield from self._parse_key(self.keys[name], line)
            elif name in self.keys:
                what = f"has no effect in {self.dialect.program}"
                self.warn(name, what, found=quote_text(line.value))
            elif name not in self.ignored_keys:
                self._report_unknown_key(name)

    def _has_effect(self, key: Key[Any]) -> bool:
        """False for the key of another program that this one reads over, and beside one that counts before
        it. C Darknet and YOLOR take each other's, and what a section inherits is its own."""
        if key.name in SIDE_STRIDES and not self.reads_side_strides:
            return False
        if self.dialect.name in key.dialects or set(key.dialects).isdisjoint(self.dialects):
            return True
        return not self.dialect.ignores_foreign_keys and bool(set(MAIN_DIALECTS) & set(key.dialects))

    @property
    def reads_side_strides(self) -> bool:
        """Whether stride_x and stride_y count."""
        rule = self.dialect.side_strides
        return rule == "first" or (rule == "last" and "stride" not in self.lines)

    @property
    def stride_facts(self) -> tuple[str, ...]:
        """The facts by which one of its strides counts and not the other."""
        return ("side_strides",) if "stride" in self.values and set(SIDE_STRIDES) & self.values.keys() else ()

    def _parse_key(self, key: Key[Any], line: Line) -> Iterator[tuple[str, Any]]:
        if line.value.startswith(NET_KEY_MARK):
            found = quote_text(line.value)
            hint = f"{found} stands for the value of that key in [net], which comes first"
            self.fault(key.name, "[net] has no such key", found=found, hint=hint)
            return
        try:
            reading = self._parse_value(key, line.value)
        except BadValue as bad:
            hint, found = bad.hint or _key_help(bad, key), quote_text(line.value)
            self.fault(key.name, bad.message, found=found, allowed=bad.allowed, hint=hint)
            return
        if reading.warning:
            found = quote_text(line.value)
            self.warn(key.name, reading.warning, found=found, allowed=reading.allowed, hint=reading.hint)
        yield key.name, reading.value

    def _parse_value(self, key: Key[Any], text: str) -> ParsedValue:
        """The value of a text, which is parsed once for all files; raises BadValue if it is not valid."""
        shared = self.place.shared
        if shared is None or len(text) > MAX_KNOWN_LENGTH:
            return key.parse(text, self.dialect)
        known: ParsedValue | None = shared.get((key, text))
        if known is None:
            known = key.parse(text, self.dialect)
            if len(shared) < MAX_SHARED:
                shared[key, text] = known
        return known

    def _report_unknown_key(self, name: str) -> None:
        known = sorted({*self.own_keys(), *self.ignored_keys})
        few = len(self.warnings) + len(self.faults) < MAX_HINTS
        hint = self._suggest_key(name, known) if few else ""
        meant = hint.removeprefix("did you mean ").removesuffix("?")
        lacking = meant in self.keys and self.keys[meant].wanted and meant not in self.lines
        tell = self.fault if lacking else self.warn
        allowed = list_nearest(name if few else "", known, f"yolor info --sections {self.raw.name}")
        tell(name, "unknown key", found=quote_text(name), allowed=allowed, hint=hint)
        if lacking:
            self._misspelt[meant] = self.faults[-1]

    def _suggest_key(self, name: str, known: list[str]) -> str:
        """The section that has this key, or the closest one here; only for as many as one may misspell."""
        return suggest_word(name, known)

    @classmethod
    def own_keys(cls) -> tuple[str, ...]:
        """The keys of this section except those of every section."""
        return tuple(cls.keys)


def _key_help(bad: BadValue, key: Key[Any]) -> str:
    return key.help if bad.message.startswith(("not a", "out of")) else ""
