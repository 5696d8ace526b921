"""Sections that change nothing go: those that pass their input on, and those whose value nobody reads."""

from __future__ import annotations

from yolor_cfg.rewrite.program import Program


def drop_aliases(program: Program) -> None:
    """Let what reads a section that passes its input on read that input, and drop the section."""
    for step in [step for step in program.steps if step.is_alias and step not in program.outputs]:
        if step.sources[0] is not program.image:  # only the first section can read that
            program.replace(step, step.sources[0])


def drop_unread(program: Program) -> int:
    """Drop sections whose value reaches no output of the network; returns how many. A network of losses
    alone has no outputs: all of it stays. What a loss was to learn from (`embedding_layer`) is not read."""
    if not program.outputs:
        return 0
    for step in program.steps:
        step.links.pop("embedding_layer", None)
    needed = set(program.outputs)
    waiting = list(needed)
    while waiting:
        step = waiting.pop()
        reached = {*step.sources, *(one for linked in step.links.values() for one in linked)} - needed
        needed |= reached
        waiting += reached
    before = len(program.steps)
    program.steps = [step for step in program.steps if step in needed]
    return before - len(program.steps)
