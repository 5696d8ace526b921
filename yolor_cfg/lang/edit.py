"""Changes to the text of a cfg that keep every other character of it."""

from __future__ import annotations

from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.syntax import Document

LineEdits = dict[int, str]
"""New values by the number of the line."""


def apply_edits(document: Document, edits: LineEdits) -> str:
    """The text with new values in these lines; blanks, comments and line ends stay."""
    texts = []
    for line in document.lines:
        key, equals, rest = line.text.partition("=")
        if line.number in edits:
            rest = rest.replace(strip_comment(line.value), edits[line.number], 1)
        texts.append(key + equals + rest)
    return "".join(texts)
