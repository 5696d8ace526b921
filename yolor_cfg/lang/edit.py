"""Edits to the text of a cfg that leave every other character as it is."""

from __future__ import annotations

from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.syntax import Document

LineEdits = dict[int, str]
"""New values by line number."""


def apply_edits(document: Document, edits: LineEdits) -> str:
    """The text with new values on these lines; whitespace, comments and line endings are kept."""
    texts = []
    for line in document.lines:
        key, equals, rest = line.text.partition("=")
        if line.number in edits:
            rest = rest.replace(strip_comment(line.value), edits[line.number], 1)
        texts.append(key + equals + rest)
    return "".join(texts)
