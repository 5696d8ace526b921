"""User errors: one text format, and an exit code for each kind. Our own errors are assertions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TypedDict, Unpack

# Control characters (C0, DEL, C1), halves of surrogate pairs, and what turns the direction of writing.
COMMANDING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SPLITTING = re.compile(COMMANDING.pattern[:-1] + "\t\n\u2028\u2029]")


class ErrorDetails(TypedDict, total=False):
    """Where an error is and what would be right; every part may be absent."""

    path: str
    line: int
    section: str
    number: int | None
    key: str
    found: str
    allowed: str | Sequence[str]
    hint: str


class YolorError(Exception):
    """What is wrong and where: `path:line: [section #n] key: message`, with found, allowed and hint below."""

    exit_code = 1

    def __init__(self, message: str, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(message)
        self.message = message
        self.path = details.get("path", "")
        self.line = details.get("line", 0)
        self.section = details.get("section", "")
        self.number = details.get("number")
        self.key = details.get("key", "")
        self.found = details.get("found", "")
        allowed = details.get("allowed", "")
        self.allowed = allowed if isinstance(allowed, str) else ", ".join(allowed)
        self.hint = details.get("hint", "")

    def __str__(self) -> str:
        return "\n".join([self._format_location() + escape(shorten(self.message)), *self._format_details()])

    def _format_location(self) -> str:
        where = escape(shorten(self.path)) + (f":{self.line}" if self.line else "")
        title = escape(self.section) + ("" if self.number is None else f" #{self.number}")
        parts = [
            f"{where}: " if where else "",
            f"[{title}] " if title else "",
            f"{escape(shorten(self.key))}: " if self.key else "",
        ]
        return "".join(parts)

    def _format_details(self) -> list[str]:
        rows = [("found:  ", self.found), ("allowed:", self.allowed), ("hint:   ", self.hint)]
        return [f"  {label} {printable(shorten(text))}" for label, text in rows if text]


def printable(text: str) -> str:
    """The text with what would command a terminal or hide text written as escapes; lines and tabs stay."""
    return COMMANDING.sub(_write_escape, text)


def escape(text: str) -> str:
    """Like `printable`, for a name or another part of a line: line ends and tabs are escaped too."""
    return text if is_plain(text) else SPLITTING.sub(_write_escape, text)


def shell_word(path: object) -> str:
    """A path as one word of a command that a message tells, ready to be pasted into a shell."""
    return escape(shlex.quote(str(path)))


def is_plain(text: str) -> bool:
    """Whether `escape` leaves the text as it is, as far as can be told at once."""
    return text.isascii() and text.isprintable()


def _write_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is no UTF-8, as Python keeps it
        return f"\\x{code - 0xDC00:02x}"
    return repr(chr(code))[1:-1] if code < 0x100 else f"\\u{code:04x}"


def shorten(text: str, most: int = 4000) -> str:
    """The text, without its middle if it is longer than any that a person reads."""
    if len(text) <= most:
        return text
    return f"{text[: most // 20]} ... ({len(text)} characters) ... {text[-most // 20 :]}"


def count_of(number: int, word: str, *, spec: str = "") -> str:
    """`1 image`, `2 images`, `3 boxes`; the number is formatted by `spec`."""
    plural = word + ("es" if word.endswith(("s", "x", "tch")) else "s")
    return f"1 {word}" if number == 1 else f"{number:{spec}} {plural}"


HUGE = "a huge number"


def describe(value: object, most: int = 60) -> str:
    """Any value as a message quotes it, in bounded time: of a container only its first values, and nothing
    that these contain."""
    if isinstance(value, (list, tuple)):
        first = [_describe_single(item, most) for item in value[:4]]
        return f"{type(value).__name__} of {len(value)}: {', '.join(first)}" + " ..." * (len(value) > 4)
    return _describe_single(value, most)


def _describe_single(value: object, most: int) -> str:
    if isinstance(value, str | bytes) and len(value) > most:
        return f"{value[:most]!r}... ({len(value)} long)"
    is_short = isinstance(value, int) and value.bit_length() < 200
    if is_short or value is None or isinstance(value, str | bytes | float):
        return repr(value)
    return HUGE if isinstance(value, int) else type(value).__name__


def describe_fault(fault: BaseException) -> str:
    """The text of an error; of one that is not ours, with its kind."""
    return str(fault) if isinstance(fault, YolorError) else f"{type(fault).__name__}: {shorten(str(fault))}"


class CfgError(YolorError):
    """The cfg cannot be what its author meant."""

    exit_code = 2


class CfgFaults(CfgError):
    """All faulty keys of one file, sorted by line; at most `MAX_PRINTED` are printed, then their number."""

    MAX_PRINTED = 20

    def __init__(self, faults: Sequence[CfgError], path: str) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        first = self.faults[0]
        super().__init__(
            first.message,
            path=path,
            line=first.line,
            section=first.section,
            number=first.number,
            key=first.key,
            found=first.found,
            allowed=first.allowed,
            hint=first.hint,
        )

    def __str__(self) -> str:
        texts = [str(fault) for fault in self.faults[: self.MAX_PRINTED]]
        if len(self.faults) > 1:
            texts.append(f"{len(self.faults)} faults in {escape(self.path)}")
        return "\n".join(texts)


class DataError(YolorError):
    """An image, a video, a label or a list of them is unusable."""

    exit_code = 3


class WeightsError(YolorError):
    """A weights file or a checkpoint does not fit the network, or is not what its name says."""

    exit_code = 4


class MissingExtra(YolorError):
    """An optional library or program is needed; the message is the line that installs it."""

    exit_code = 5

    def __init__(self, extra: str = "", *, package: str = "", line: str = "", hint: str = "") -> None:
        """An extra of this project, a package of its own, or another line than one of pip."""
        pip = f"pip install {package}" if package else f"pip install 'yolor-cfg[{extra}]'"
        super().__init__(line or pip, hint=hint)
        self.extra = extra


def check_choice(word: str, allowed: Sequence[str]) -> str:
    """The word if it is allowed; raises CfgError otherwise."""
    if word not in allowed:
        raise CfgError("unknown value", found=word, allowed=allowed)
    return word
