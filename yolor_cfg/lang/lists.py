"""Typed keys that hold lists of numbers, or of names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from yolor_cfg.lang.dialect import Dialect
from yolor_cfg.lang.keys import (
    DECIMAL_PATTERN,
    GLUED_PATTERN,
    INTEGER_PATTERN,
    BadValue,
    Key,
    ParsedValue,
    leading_number,
    parse_float,
    parse_int,
    strip_comment,
)

T = TypeVar("T")


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
        return leading_number(self.number, part, word=self.word, allowed=self.allowed, dialect=dialect)

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

    convert = staticmethod(lambda digits: parse_int(digits))


class RefList(IntList):
    """Section numbers: negative ones count back from this section, others from the first after [net]."""

    word = "list of section numbers"

    @property
    def allowed(self) -> str:
        """The form in words."""
        return "numbers of sections, separated by commas; negative ones count back from here"


class Ref(RefList):
    """The number of one section; how many there are is for the section to check."""

    word = "section number"

    @property
    def allowed(self) -> str:
        """The form in words."""
        return "the number of one section; a negative one counts back from here"


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
    convert = staticmethod(lambda digits: parse_float(digits))


TASK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What a task may be called: it becomes part of a file name."""
RESERVED_TASKS = ("train", "val", "test", "study", "speed")
"""What YOLOR's test.py means by --task."""
ALLOWED_TASKS = "up to 64 letters, digits, and . _ - not at the start, but none of " + ", ".join(
    RESERVED_TASKS
)


def is_task_name(text: str) -> bool:
    """Whether a task may be called so."""
    return TASK_NAME.fullmatch(text) is not None and text not in RESERVED_TASKS


class TaskList(Key[tuple[str, ...]]):
    """Comma-separated names of tasks."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """The names in order, each of them once."""
        clean = strip_comment(text)
        names = tuple(name.strip() for name in clean.split(","))
        if not all(map(is_task_name, names)):
            raise BadValue("not the name of a task", ALLOWED_TASKS)
        if len(set(names)) < len(names):
            raise BadValue("names a task twice", "each task once")
        return ParsedValue(names, "an inline comment" if clean != text else "")

    @property
    def allowed(self) -> str:
        """The form in words."""
        return "comma-separated names of tasks"
