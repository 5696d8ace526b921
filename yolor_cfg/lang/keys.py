"""Typed keys: the one place where text is parsed into values, with bounds and help texts.

A key is declared on a section class; on an instance it gives the value. Numbers are read as C's atoi and atof
read them: the longest number at the start counts, and whatever follows it is reported.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack, cast

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DIALECT_NAMES, Dialect

T = TypeVar("T")
ABSENT = object()  # stands for the value of a key that a section does not have
INTEGER_PATTERN = re.compile(r"[+-]?[0-9]+")
DECIMAL_PATTERN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INT32_MAX = 2**31 - 1
GLUED_PATTERN = re.compile(r"[0-9.]\s+[-+.0-9]")
MAX_WORD_LENGTH = 60  # only this much of a word is compared to find the closest match
MAX_DIGITS = 4000  # of a whole number; Python refuses to parse more than 4300


class BadValue(Exception):
    """A text that is not a valid value of its key: what is wrong, what is allowed, a hint."""

    def __init__(self, message: str, allowed: str | Sequence[str] = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.allowed, self.hint = message, allowed, hint


class ParsedValue(NamedTuple):
    """A value and, if the text was unusual, a warning for its author."""

    value: Any
    warning: str = ""
    hint: str = ""
    allowed: Sequence[str] = ()


class KeyValues(Mapping[str, Any]):
    """The values of a section by key, read-only; unlike MappingProxyType it can be pickled."""

    def __init__(self, values: Iterable[tuple[str, Any]]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


class KeyFacts(TypedDict, total=False):
    """What any key may declare: its `help`; the `dialects` that have it (both by default); `wanted` if a
    section needs it in practice, so that misspelling it is an error and not just a warning; `unused`, why it
    has no effect here; `loss`, the one kind of loss that goes by it."""

    help: str
    unused: str
    loss: str
    dialects: tuple[str, ...]
    wanted: bool


class Key(Generic[T]):
    """One key of a section. `default` is a value or a function of the section. Reading a key that is faulty
    raises its CfgError."""

    def __init__(self, default: T | Callable[[Any], T], **facts: Unpack[KeyFacts]) -> None:
        self.default = default
        self.help = facts.get("help", "")
        self.dialects = facts.get("dialects", DIALECT_NAMES)
        self.wanted = facts.get("wanted", False)
        self.unused = facts.get("unused", "")
        self.loss = facts.get("loss", "")
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.rstrip("_")  # `from` is a Python keyword, so the attribute is `from_`

    def __get__(self, section: Any, owner: type | None = None) -> T:
        if section is None:
            return self  # type: ignore[return-value]  # on the class, a key is itself
        if self.name in section.unusable:
            raise section.unusable[self.name]
        value = section.values.get(self.name, ABSENT)
        return self.default_for(section) if value is ABSENT else cast(T, value)

    def default_for(self, section: Any) -> T:
        """The value of the key in this section when it is absent."""
        return self.default(section) if callable(self.default) else self.default

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """The value of `text`; raises BadValue if it is not valid."""
        raise AssertionError(f"{type(self).__name__} does not parse text")

    @property
    def allowed(self) -> str:
        """Type and bounds in words, for messages and documentation."""
        return ""


class NumberKey(Key[T]):
    """A number with bounds."""

    word = "number"

    def __init__(
        self,
        default: Any,
        *,
        least: float = -math.inf,
        most: float = math.inf,
        **facts: Unpack[KeyFacts],
    ) -> None:
        super().__init__(default, **facts)
        self.least, self.most = least, most

    @property
    def allowed(self) -> str:
        """`1 or more`, `0 to 9`, `9 or less` or the kind of number."""
        if self.least > -math.inf and self.most < math.inf:
            return f"{self.least} to {self.most}"
        if self.least > -math.inf:
            return f"{self.least} or more"
        return f"{self.most} or less" if self.most < math.inf else self.word

    def _check_bounds(self, value: Any, warning: str) -> ParsedValue:
        if not self.least <= value <= self.most:
            raise BadValue("out of bounds", self.allowed)
        return ParsedValue(value, warning)


class Int(NumberKey[int]):
    """A whole number."""

    word = "whole number"

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """As atoi: the leading digits; `6.9` is 6 with a warning (an error in the yolor dialect)."""
        digits, warning = _leading_number(INTEGER_PATTERN, text, word=self.word, dialect=dialect)
        if not dialect.is_forgiving:
            return self._check_bounds(_parse_int(digits), warning)
        value = int(digits[:MAX_DIGITS])
        if abs(value) > INT32_MAX:
            value, warning = (
                max(-INT32_MAX, min(value, INT32_MAX)),
                "does not fit in a 32-bit C int",
            )
        return self._check_bounds(value, warning)


class Flag(Key[bool]):
    """0 or 1; any other number counts as 1."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """True unless the number is 0."""
        digits, warning = _leading_number(
            INTEGER_PATTERN, text, word="flag", allowed=self.allowed, dialect=dialect
        )
        return ParsedValue(_parse_int(digits) != 0, warning)

    @property
    def allowed(self) -> str:
        """The two values."""
        return "0, 1"


class Float(NumberKey[float]):
    """A decimal number."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """As atof: the leading number (`.5`, `1e-3`); anything after it gives a warning."""
        digits, warning = _leading_number(DECIMAL_PATTERN, text, word=self.word, dialect=dialect)
        return self._check_bounds(_parse_float(digits), warning)


class Text(Key[str]):
    """A word or a path, without whitespace."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """The text without whitespace, as Darknet stores it, and without an inline comment."""
        clean = strip_comment(text)
        return ParsedValue(re.sub(r"\s", "", clean), "" if clean == text else "an inline comment")

    @property
    def allowed(self) -> str:
        """Anything."""
        return "text"


class Choice(Key[str]):
    """One of several words. `fallback` is what Darknet uses for an unknown word (with a warning)."""

    def __init__(
        self, default: str, options: Sequence[str], *, fallback: str = "", **facts: Unpack[KeyFacts]
    ) -> None:
        super().__init__(default, **facts)
        self._options, self.fallback = tuple(options), fallback

    @property
    def options(self) -> tuple[str, ...]:
        """The words that are allowed."""
        return self._options

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """The word; an unknown one is an error, or the fallback in the forgiving dialect."""
        word = re.sub(r"\s", "", text)
        if word in self.options:
            return ParsedValue(word)
        bare = strip_comment(word)
        if bare in self.options and not dialect.is_forgiving:
            return ParsedValue(bare, "an inline comment")
        hint = suggest_word(bare, self.options)
        if bare in self.options:
            hint = "Darknet takes the comment as part of the value: put it on a line of its own"
        if self.fallback and dialect.is_forgiving:
            what = f"unknown value: {self.fallback} is used, as in Darknet"
            return ParsedValue(self.fallback, what, hint, sorted(self.options))
        raise BadValue("unknown value", sorted(self.options), hint)

    @property
    def allowed(self) -> str:
        """The words, sorted."""
        return ", ".join(sorted(self.options))


class ActivationKey(Choice):
    """The name of an activation function of either dialect; Darknet runs an unknown one as relu."""

    def __init__(self, default: str, *, help: str = "activation function of the output") -> None:
        super().__init__(default, (), fallback="relu", help=help)

    @property
    def options(self) -> tuple[str, ...]:
        """The names in the table of activations."""
        return tuple(sorted(ACTIVATIONS))


class NumberList(Key[tuple[T, ...]]):
    """A comma-separated list. In the forgiving dialect a missing comma joins two numbers and an empty item is
    0, as in Darknet, each with a warning; in the other dialect both are errors."""

    number: re.Pattern[str] = INTEGER_PATTERN
    plain = re.compile(r"-?[0-9]{1,9}(,\s*-?[0-9]{1,9})*+")  # a list without oddities, of any length
    word = "list of whole numbers"
    counts_commas = False  # True where C Darknet reads one number more than there are commas
    convert: Callable[[str], Any]

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """The numbers in order; a trailing comma adds none, or a 0 where C Darknet counts commas."""
        clean = strip_comment(text)
        if not clean:
            raise BadValue(f"not a {self.word}", self.allowed)
        if self.plain.fullmatch(clean):
            numbers = tuple(map(type(self).convert, clean.split(",")))
            return ParsedValue(numbers, "an inline comment" if clean != text else "")
        odd = self._find_oddities(clean)
        if odd and not dialect.is_forgiving:
            raise BadValue(odd[0].partition(":")[0], self.allowed, "separate the numbers with single commas")
        glued = re.sub(r"\s", "", clean)
        parts = (glued if self.counts_commas else glued.removesuffix(",")).split(",")
        plain = all(map(self.number.fullmatch, parts))
        read = [(part, "") if plain else self._parse_item(part or "0", dialect) for part in parts]
        odd += sorted({warning for _, warning in read if warning})
        if clean != text:
            odd.append("an inline comment")
        return ParsedValue(tuple(type(self).convert(digits) for digits, _ in read), "; ".join(odd))

    def _parse_item(self, part: str, dialect: Dialect) -> tuple[str, str]:
        return _leading_number(self.number, part, word=self.word, allowed=self.allowed, dialect=dialect)

    def _find_oddities(self, text: str) -> list[str]:
        at_end = "a trailing comma" + ": C Darknet reads a further 0" * self.counts_commas
        found = {
            "a missing comma: Darknet joins the two numbers into one": GLUED_PATTERN.search(text),
            "an empty item: Darknet reads it as 0": re.search(r"(^|,)\s*,", text),
            at_end: re.search(r"[^,\s]\s*,$", text),
        }
        return [what for what, match in found.items() if match]

    @property
    def allowed(self) -> str:
        """The form in words."""
        return f"comma-separated {self.word}"


class IntList(NumberList[int]):
    """A comma-separated list of whole numbers."""

    convert = staticmethod(lambda digits: _parse_int(digits))


class RefList(IntList):
    """Section numbers: negative ones count back from this section, others from the first after [net]."""

    word = "list of section numbers"


class SourceList(RefList):
    """The sources of C Darknet's [route] and [shortcut]: after a trailing comma there is section 0."""

    counts_commas = True


class MaskList(IntList):
    """The anchors of a head: after a trailing comma there is anchor 0, as in C Darknet."""

    counts_commas = True


class FloatList(NumberList[float]):
    """A comma-separated list of decimal numbers."""

    number = DECIMAL_PATTERN
    plain = re.compile(r"-?[0-9]{0,9}\.?[0-9]{1,9}(,\s*-?[0-9]{0,9}\.?[0-9]{1,9})*+")
    word = "list of numbers"
    convert = staticmethod(lambda digits: _parse_float(digits))


def suggest_word(word: str, options: Iterable[str]) -> str:
    """`did you mean x?` for the closest option, ignoring case, or nothing."""
    import difflib  # only messages need it, and importing it would add a millisecond to every start

    spelled = {option.casefold(): option for option in options}
    matches = difflib.get_close_matches(word[:MAX_WORD_LENGTH].casefold(), spelled, n=1, cutoff=0.7)
    return f"did you mean {spelled[matches[0]]}?" if matches else ""


def strip_comment(text: str) -> str:
    """The value without an inline `# comment` or `; comment`."""
    return re.split(r"[#;]", text, maxsplit=1)[0].strip()


def _leading_number(
    pattern: re.Pattern[str], text: str, *, word: str, dialect: Dialect, allowed: str = ""
) -> tuple[str, str]:
    """The number at the start of `text` and a warning about what follows it."""
    if pattern.fullmatch(text):
        return text, ""
    glued = re.sub(r"\s", "", text)
    match = pattern.match(glued)
    if match is None:
        raise BadValue(f"not a {word}", allowed or word)
    number = match.group()
    split = GLUED_PATTERN.search(strip_comment(text)) is not None
    rest = glued[len(number) :]
    if (rest[:1] not in ("", "#", ";") or split) and not dialect.is_forgiving:
        raise BadValue(f"not a {word}", allowed or word, f"did you mean {number}?")
    if split:
        return number, f"whitespace inside a number: read as {number}, as in Darknet"
    if rest[:1] in "#;" and rest:
        return number, f"an inline comment: read as {number}"
    return number, f"read as {number}, as in C" if rest else ""


def _parse_int(digits: str) -> int:
    """The number; raises BadValue if it does not fit in a 32-bit C int."""
    value = int(digits[:MAX_DIGITS])
    if abs(value) > INT32_MAX:
        raise BadValue("out of bounds", f"-{INT32_MAX} to {INT32_MAX}")
    return value


def _parse_float(digits: str) -> float:
    """The number; raises BadValue if it is too large for a float."""
    value = float(digits)
    if not math.isfinite(value):
        raise BadValue("out of bounds", f"-{sys.float_info.max:.2g} to {sys.float_info.max:.2g}")
    return value
