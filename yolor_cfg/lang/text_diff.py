"""The difference of two texts of a cfg as a unified diff.

Its lines repeat so often that difflib takes them for noise (`autojunk`); and where only values change, a line
stands for the line of the same number, whatever others say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

Tag = Literal["replace", "delete", "insert", "equal"]
Opcode = tuple[str, int, int, int, int]
"""What became of lines of the old text (from, to) and of the new one."""
CONTEXT = 1  # lines shown around a change


def unified_diff(before: Sequence[str], after: Sequence[str], names: tuple[str, str]) -> Iterator[str]:
    """The lines of a unified diff; none for equal texts."""
    by_number = len(before) == len(after)
    matcher = _ByNumber(before, after) if by_number else SequenceMatcher(None, before, after, autojunk=False)
    hunks = list(matcher.get_grouped_opcodes(CONTEXT))
    if hunks and before != after:
        yield from (f"--- {names[0]}", f"+++ {names[1]}")
        for hunk in hunks:
            yield from _format_hunk(before, after, hunk)


class _ByNumber(SequenceMatcher[str]):
    """A line is to be compared with that of the same number."""

    def __init__(self, before: Sequence[str], after: Sequence[str]) -> None:
        super().__init__()
        self._same = [old == new for old, new in zip(before, after, strict=True)]

    def get_opcodes(self) -> list[tuple[Tag, int, int, int, int]]:
        """Runs of equal lines and of others."""
        codes: list[tuple[Tag, int, int, int, int]] = []
        for same, run in groupby(range(len(self._same)), key=self._same.__getitem__):
            first, *others = run
            end = first + len(others) + 1
            codes.append(("equal" if same else "replace", first, end, first, end))
        return codes


def _format_hunk(before: Sequence[str], after: Sequence[str], hunk: Sequence[Opcode]) -> Iterator[str]:
    first, last = hunk[0], hunk[-1]
    spans = _format_span(first[1], last[2]), _format_span(first[3], last[4])
    yield f"@@ -{spans[0]} +{spans[1]} @@"
    for tag, start, end, new_start, new_end in hunk:
        if tag == "equal":
            yield from (f" {line}" for line in before[start:end])
        else:
            yield from (f"-{line}" for line in before[start:end])
            yield from (f"+{line}" for line in after[new_start:new_end])


def _format_span(start: int, end: int) -> str:
    """Lines as patch has them: the first one, from 1 on, and how many; of none, the one before."""
    count = end - start
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"
