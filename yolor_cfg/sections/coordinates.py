"""How many coordinates a box has in the heads of the first two YOLOs, whose cfgs say so in `coords`."""

from __future__ import annotations

from typing import Protocol, Unpack

from yolor_cfg.errors import ErrorDetails

BOX_VALUES = 4  # of those that are read


class CheckedSection(Protocol):
    """A section that records its errors and warnings."""

    def fault(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None: ...
    def warn(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None: ...


def check_coords(head: CheckedSection, coords: int) -> None:
    """Record an error for boxes of fewer than four numbers, a warning for more: C Darknet reads four."""
    if coords < BOX_VALUES:
        head.fault(
            "coords",
            "a box has four coordinates",
            found=str(coords),
            allowed=str(BOX_VALUES),
            hint="with fewer, C Darknet reads beyond the end of its memory",
        )
    elif coords > BOX_VALUES:
        head.warn(
            "coords",
            "a box has four coordinates",
            found=str(coords),
            allowed=str(BOX_VALUES),
            hint="C Darknet makes room for more, and then reads the boxes as if there were four each",
        )
