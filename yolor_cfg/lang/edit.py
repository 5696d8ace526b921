"""Edits to the text of a cfg that leave every other character as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.syntax import ENTRY, Document, Line, RawSection

LineEdits = dict[int, str]
"""New values by line number."""


class TextEdits(NamedTuple):
    """New values of lines, new lines behind a line, and lines that become comments."""

    values: LineEdits
    added: dict[int, list[str]]
    silenced: set[int]

    @staticmethod
    def nothing() -> TextEdits:
        """No change yet."""
        return TextEdits({}, {}, set())

    def set_key(self, raw: RawSection, lines: Mapping[str, Line], setting: tuple[str, str]) -> None:
        """Give a key of this section a value: in its own one of `lines`, else in a new line."""
        key, value = setting
        if key in lines:
            self.values[lines[key].number] = value
            return
        last = [line for line in raw.lines if line.kind == ENTRY] or [raw.lines[0]]
        self.added.setdefault(last[-1].number, []).append(f"{key}={value}")


def apply_edits(document: Document, edits: LineEdits) -> str:
    """The text with new values on these lines; whitespace, comments and line endings are kept."""
    return apply_text_edits(document, TextEdits(edits, {}, set()))


def apply_text_edits(document: Document, edits: TextEdits) -> str:
    """The text with these changes; whitespace, comments and line endings are kept."""
    return "".join(_edit_line(line, edits) for line in document.lines)


def _edit_line(line: Line, edits: TextEdits) -> str:
    text = line.text
    if line.number in edits.values:
        key, equals, rest = text.partition("=")
        text = key + equals + rest.replace(strip_comment(line.value), edits.values[line.number], 1)
    if line.number in edits.silenced:
        text = f"# {text}"
    ending = text[len(text.rstrip("\r\n")) :] or "\n"
    for added in edits.added.get(line.number, ()):
        text = (text if text.endswith(("\r", "\n")) else text + ending) + added + ending
    return text
