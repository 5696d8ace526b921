"""Changes to the text of a cfg that keep every other character of it."""

from __future__ import annotations

from yolor_cfg.lang.keys import uncommented
from yolor_cfg.lang.syntax import Document

Edits = dict[int, str]
"""New values by the number of the line."""


def edited(document: Document, edits: Edits) -> str:
    """The text with new values in these lines; blanks, comments and line ends stay."""
    texts = []
    for line in document.lines:
        key, equals, rest = line.text.partition("=")
        if line.number in edits:
            rest = rest.replace(uncommented(line.value), edits[line.number], 1)
        texts.append(key + equals + rest)
    return "".join(texts)
