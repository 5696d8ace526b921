"""Rewrites that make a network faster and leave what it computes as it is.

Each has a name, by which it can be left out, and each is exact: in float64 nothing differs but the order of
additions. What does not fit a rewrite stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch

from yolor_cfg.errors import check_choice
from yolor_cfg.model import Network
from yolor_cfg.rewrite.absorb import find_norms
from yolor_cfg.rewrite.dead import drop_aliases, drop_unread
from yolor_cfg.rewrite.fold import fold_program
from yolor_cfg.rewrite.merge import merge_convolutions
from yolor_cfg.rewrite.pool_chains import chain_pools
from yolor_cfg.rewrite.program import Program
from yolor_cfg.rewrite.stem import fold_stems

ALL = "all"
"""In place of a name: all of them."""


class Rewrite(NamedTuple):
    """What it does, in words for the user and as a function that changes a program and returns how often."""

    text: str
    function: Callable[[Program], int]


class FasterNetwork(NamedTuple):
    """The rewritten network, and what was done as lines for the user."""

    network: Network
    notes: tuple[str, ...]


def _fold(program: Program) -> int:
    norms = _count_norms(program)
    before = len(program.steps)
    fold_program(program)
    return before - len(program.steps) + norms - _count_norms(program)


def _count_norms(program: Program) -> int:
    """The batch norms inside of sections of another kind."""
    inner = (find_norms(step.module) for step in program.steps)
    return sum(
        len(norms) for step, norms in zip(program.steps, inner, strict=True) if step.module not in norms
    )


REWRITES = {
    "dead": Rewrite("sections that nothing reads left out", drop_unread),
    "fold": Rewrite("batch norms and sections of implicit knowledge folded into convolutions", _fold),
    "merge": Rewrite("convolutions over one input merged with others", merge_convolutions),
    "stem": Rewrite("rearrangements of pixels folded into the convolution behind them", fold_stems),
    "spp": Rewrite("max pools made smaller, over the one before", chain_pools),
}
"""By name, in the order in which they are made: each makes room for the next."""

REWRITE_CHOICES = (ALL, *REWRITES)


def rewrite_for_speed(network: Network, *, without: Collection[str] = ()) -> FasterNetwork:
    """An equivalent network for inference, in eval mode, that shares no tensor with this one; `without` names
    the rewrites to leave out. Raises CfgError for an unknown name."""
    for name in without:
        check_choice(name, REWRITE_CHOICES)
    chosen = {name: one for name, one in REWRITES.items() if not {name, ALL} & set(without)}
    if not chosen:
        return FasterNetwork(network, ())
    with torch.no_grad():
        program = Program(network)
        drop_aliases(program)
        counts = {name: one.function(program) for name, one in chosen.items()}
        done = tuple(f"{name}: {count} {REWRITES[name].text}" for name, count in counts.items() if count)
        return FasterNetwork(program.build_network(), done)
