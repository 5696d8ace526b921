"""What a section asks of others: other widths of its inputs, and how it is trained."""

from __future__ import annotations

from typing import NamedTuple


class Resize(NamedTuple):
    """How many numbers a source gives, and how many it has to give instead."""

    old: int
    new: int


class UpdateRules(NamedTuple):
    """What a section asks of training. `factor` is on its learning rate; `first` the first update, from 1,
    that changes it (0: none does, nor of the sections before it); while fewer than `stop` updates are done
    gradients reach neither it nor the sections before it (1: ever, and those are frozen); with `passes` False
    they never reach it nor go through it; `limit` bounds its weights (0: no bound)."""

    factor: float = 1.0
    first: int = 1
    stop: int = 0
    passes: bool = True
    limit: float = 0.0
