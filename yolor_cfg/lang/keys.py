"""Typed keys: the one place where text is parsed into values, with bounds and help texts.

A key is declared on a section class; on an instance it gives the value. Numbers are read as C's atoi and atof
read them: the longest number at the start counts, and whatever follows it is reported.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar, Unpack, cast

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import ALL_DIALECTS, MAIN_DIALECTS, Dialect

T = TypeVar("T")
Use = Literal["both", "inference", "training", "none"]
BOTH: Final = "both"
INFERENCE: Final = "inference"
TRAINING: Final = "training"
NONE: Final = "none"
"""What goes by a key: building, running and training a network (both), only decoding and NMS, only training,
or nothing here."""
ABSENT = object()  # stands for the value of a key that a section does not have
INTEGER_PATTERN = re.compile(r"[+-]?[0-9]+")
DECIMAL_PATTERN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INT32_MAX = 2**31 - 1
GLUED_PATTERN = re.compile(r"[0-9.]\s+[-+.0-9]")
MAX_LISTED = 10  # words that a message lists, and of more the nearest
NEAREST = 5
MAX_WORD_LENGTH = 60  # only this much of a word is compared to find the closest match
MAX_DIGITS = 4000  # Python refuses to parse more than 4300


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


class Answers(dict[Any, Any]):
    """What was worked out before, by question. A copy or pickle has none: some are about other files too."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[Answers], tuple[()]]:
        return Answers, ()


class KeyValues(Mapping[str, Any]):
    """The values of a section by key, read-only; unlike MappingProxyType it can be pickled. Sections with the
    same text share one of these, and in `derived` what follows from it alone."""

    def __init__(self, values: Iterable[tuple[str, Any]]) -> None:
        self._values = dict(values)
        self.attributes = Answers()  # by name, defaults included, as far as they were asked for
        self.derived = Answers()

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
    """What any key may declare: its `help`; the `unit` of a number that has one; the `dialects` that have it
    (all by default); `wanted` if a section needs it in practice, so that misspelling it is an error and not
    just a warning; `unused`, why it has no effect here, as users are told; `idle`, the same where none is
    missed and nobody is told; `loss`, the one kind of loss that goes by it; `use`, whether only "inference"
    or only "training" goes by it."""

    help: str
    unit: str
    unused: str
    idle: str
    use: Use
    loss: str
    dialects: tuple[str, ...]
    wanted: bool


class Key(Generic[T]):
    """One key of a section. `default` is a value or a function of the section. Reading a key that is faulty
    raises its CfgError."""

    def __init__(self, default: T | Callable[[Any], T], **facts: Unpack[KeyFacts]) -> None:
        self.default = default
        self.help, self.unit = facts.get("help", ""), facts.get("unit", "")
        self.dialects = facts.get("dialects", ALL_DIALECTS)
        self.wanted = facts.get("wanted", False)
        self.unused = facts.get("unused", "")
        self.loss = facts.get("loss", "")
        self.idle = self.unused or facts.get("idle", "")
        self.use: Use = NONE if self.idle else facts.get("use", TRAINING if self.loss else BOTH)
        self.name = self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name = name.rstrip("_")  # `from` is a Python keyword, so the attribute is `from_`

    def __get__(self, section: Any, owner: type | None = None) -> T:
        if section is None:
            return self  # type: ignore[return-value]  # on the class, a key is itself
        if self.name in section.unusable:
            raise section.unusable[self.name]
        value = section.values.get(self.name, ABSENT)
        if value is ABSENT:
            value = self.default_for(section)
        if section.is_complete:
            section.values.attributes[self.attribute] = value
            section.__dict__[self.attribute] = value  # found before this descriptor from now on
        return cast(T, value)

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
        digits, warning = leading_number(INTEGER_PATTERN, text, word=self.word, dialect=dialect)
        if not dialect.is_forgiving:
            return self._check_bounds(parse_int(digits), warning)
        value = int(digits[:MAX_DIGITS])
        if abs(value) > INT32_MAX:
            value, warning = (
                max(-INT32_MAX, min(value, INT32_MAX)),
                "does not fit in a 32-bit C int",
            )
        return self._check_bounds(value, warning)


class SectionNumber(Int):
    """The number of one section, as in a list of references; None where there is none."""


class Flag(Key[bool]):
    """0 or 1; any other number counts as 1."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """True unless the number is 0."""
        digits, warning = leading_number(
            INTEGER_PATTERN, text, word="flag", allowed=self.allowed, dialect=dialect
        )
        return ParsedValue(parse_int(digits) != 0, warning)

    @property
    def allowed(self) -> str:
        """The two values."""
        return "0, 1"


class Float(NumberKey[float]):
    """A decimal number."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """As atof: the leading number (`.5`, `1e-3`); anything after it gives a warning."""
        digits, warning = leading_number(DECIMAL_PATTERN, text, word=self.word, dialect=dialect)
        return self._check_bounds(parse_float(digits), warning)


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
        self,
        default: str | Callable[[Any], str],
        options: Sequence[str],
        *,
        fallback: str = "",
        **facts: Unpack[KeyFacts],
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
        if self.has_option(word, dialect):
            return ParsedValue(word)
        bare = strip_comment(word)
        if self.has_option(bare, dialect) and not dialect.is_forgiving:
            return ParsedValue(bare, "an inline comment")
        hint = suggest_word(bare, self.options)
        if bare in self.options:
            hint = "Darknet takes the comment as part of the value: put it on a line of its own"
            hint = hint if bare != word else "other families have it: --dialect"
        fallback = self.fallback_in(dialect)
        if fallback:
            what = f"unknown value: {fallback} is used, as in {dialect.program}"
            return ParsedValue(fallback, what, hint, self.options_in(dialect))
        raise BadValue("unknown value", self.options_in(dialect), hint)

    def options_in(self, dialect: Dialect) -> list[str]:
        """The words that this dialect knows, sorted."""
        return sorted(word for word in self.options if self.has_option(word, dialect))

    def has_option(self, word: str, dialect: Dialect) -> bool:
        """Whether this dialect knows the word."""
        return word in self.options

    def fallback_in(self, dialect: Dialect) -> str:
        """What an unknown word means in this dialect; empty if it is an error."""
        return self.fallback if dialect.is_forgiving else ""

    @property
    def allowed(self) -> str:
        """The words, sorted."""
        return ", ".join(sorted(self.options))


class ActivationKey(Choice):
    """The name of an activation function; what an unknown one means is up to the dialect."""

    def __init__(self, default: str, *, help: str = "activation function of the output") -> None:
        super().__init__(default, (), fallback="relu", help=help)

    @property
    def options(self) -> tuple[str, ...]:
        """The names in the table of activations."""
        return tuple(sorted(ACTIVATIONS))

    def has_option(self, word: str, dialect: Dialect) -> bool:
        known = ACTIVATIONS.get(word)
        if dialect.only_activations:
            return word in dialect.only_activations
        others = MAIN_DIALECTS if dialect.runs_foreign_activations else ()
        return known is not None and known.is_in(dialect.name, *others)

    def fallback_in(self, dialect: Dialect) -> str:
        return dialect.unknown_activation


def suggest_word(word: str, options: Iterable[str]) -> str:
    """`did you mean x?` for the closest option, ignoring case, or nothing."""
    import difflib  # only messages need it, and importing it would add a millisecond to every start

    spelled = {option.casefold(): option for option in options}
    matches = difflib.get_close_matches(word[:MAX_WORD_LENGTH].casefold(), spelled, n=1, cutoff=0.7)
    return f"did you mean {spelled[matches[0]]}?" if matches else ""


def list_nearest(word: str, options: Collection[str], command: str) -> str:
    """The options; of many those closest to the word, and the command that shows all."""
    import difflib

    if len(options) <= MAX_LISTED:
        return ", ".join(sorted(options))
    spelled = {option.casefold(): option for option in sorted(options)}
    close = word[:MAX_WORD_LENGTH].casefold()
    nearest = difflib.get_close_matches(close, spelled, n=NEAREST, cutoff=0) if word else []
    more = f"{len(options) - len(nearest)} more" if nearest else f"{len(options)} words"
    return ", ".join([*(spelled[one] for one in nearest), f"{more}: {command}"])


def strip_comment(text: str) -> str:
    """The value without an inline `# comment` or `; comment`."""
    if "#" not in text and ";" not in text:
        return text.strip()
    return re.split(r"[#;]", text, maxsplit=1)[0].strip()


def leading_number(
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


def parse_int(digits: str) -> int:
    """The number; raises BadValue if it does not fit in a 32-bit C int."""
    value = int(digits[:MAX_DIGITS])
    if abs(value) > INT32_MAX:
        raise BadValue("out of bounds", f"-{INT32_MAX} to {INT32_MAX}")
    return value


def parse_float(digits: str) -> float:
    """The number; raises BadValue if it is too large for a float."""
    value = float(digits)
    if not math.isfinite(value):
        raise BadValue("out of bounds", f"-{sys.float_info.max:.2g} to {sys.float_info.max:.2g}")
    return value
