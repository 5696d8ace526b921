"""From values to places along an axis, and the values that are written at it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDE_RANGE = 4.0
"""From this ratio of the largest value to the smallest, an axis is logarithmic."""
STEPS = (1.0, 2.0, 5.0, 10.0)
DECADES = 2.2
"""On up to so many, 1, 2 and 5 of each are written; on more, only 1."""


class Scale(NamedTuple):
    """Values from `low` to `high` along the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def place(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self._bend(self.low), self._bend(self.high)
        return self.start + (self._bend(value) - low) / (high - low) * (self.end - self.start)

    def _bend(self, value: float) -> float:
        return math.log10(value) if self.is_log else value

    def ticks(self, count: int) -> list[float]:
        """About so many round values of it."""
        found = _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high, count)
        return [value for value in found if self.low <= value <= self.high]


def fit_scale(values: Sequence[float], start: float, end: float, *, may_bend: bool) -> Scale:
    """The scale on which these values lie with some room at both ends."""
    low, high = min(values), max(values)
    if may_bend and low > 0 and high / low >= WIDE_RANGE:
        room = (high / low) ** 0.06
        return Scale(low / room, high * room, start, end, is_log=True)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(max(low - room, 0.0) if low >= 0 else low - room, high + room, start, end, is_log=False)


def _ticks(low: float, high: float, count: int) -> Iterator[float]:
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * step for step in STEPS if unit * step >= rough * (1 - 1e-9))
    for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield number * step


def _log_ticks(low: float, high: float) -> Iterator[float]:
    steps = STEPS[:3] if math.log10(high / low) <= DECADES else STEPS[:1]
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (step * 10.0**power for step in steps)
