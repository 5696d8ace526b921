"""Places in a text as an editor counts them, and as messages do."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from lsprotocol import types
from pygls.workspace import PositionCodec, TextDocument

from yolor_cfg.analysis.editor.places import NEXT_LINE, TextSpan

CLIENT_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")


class CfgDocument(TextDocument):
    """An open text. pygls splits lines at form feeds and U+2028 too, which no editor counts, and would put a
    change into the wrong line."""

    @property
    def lines(self) -> Sequence[str]:
        """The lines as the protocol counts them, with their endings."""
        return tuple(CLIENT_LINE.findall(self.source))


class Positions:
    """From lines of a cfg, counted from 1, and characters to those of an editor and back: it counts from 0,
    in units of its encoding (UTF-16 unless it asks for another), and ends a line at a lone CR too."""

    def __init__(self, lines: Sequence[str], codec: PositionCodec) -> None:
        self._text = "".join(lines)
        self._codec = codec
        self._starts = [0, *accumulate(map(len, lines))][: len(lines)]
        self._client_starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", self._text))]

    def to_client(self, line: int, column: int) -> types.Position:
        """The position of a character of a line, for the editor."""
        offset = self._starts[line - 1] + column if line <= len(self._starts) else len(self._text)
        row = bisect_right(self._client_starts, offset) - 1
        before = self._text[self._client_starts[row] : offset]
        return types.Position(row, self._codec.client_num_units(before))

    def to_range(self, span: TextSpan) -> types.Range:
        """The range of a span, for the editor."""
        start = self.to_client(span.line, span.start)
        is_line = span.end == NEXT_LINE
        return types.Range(start, self.to_client(span.line + is_line, 0 if is_line else span.end))

    def from_client(self, position: types.Position) -> tuple[int, int]:
        """Line and character of a position; one behind the end of a line or of the text is that end."""
        offset = self._offset_of(position)
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1]

    def whole(self) -> types.Range:
        """The range of the whole text."""
        last = len(self._client_starts) - 1
        end = self._codec.client_num_units(self._text[self._client_starts[last] :])
        return types.Range(types.Position(0, 0), types.Position(last, end))

    def _offset_of(self, position: types.Position) -> int:
        if position.line >= len(self._client_starts):
            return len(self._text)
        start, units = self._client_starts[position.line], 0
        ends = [*self._client_starts[position.line + 1 : position.line + 2], len(self._text)]
        content = self._text[start : ends[0]].rstrip("\r\n")
        for count, character in enumerate(content):
            if units >= position.character:
                return start + count
            units += self._codec.client_num_units(character)
        return start + len(content)
