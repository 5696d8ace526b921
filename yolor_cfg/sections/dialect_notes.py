"""Notes on the dialect that a file was read in: what other programs read otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import C_DARKNET
from yolor_cfg.lang.dialect_choice import DialectChoice
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS


def dialect_notes(sections: Sequence[Section], told: DialectChoice) -> tuple[str, ...]:
    """Notes on the dialect: what differs in others that the file may be in, and which activations C Darknet
    has under another name."""
    unequal = {id(section.values): section for section in sections}.values()
    notes = _difference_notes(unequal, told)
    if told.dialect.name not in C_DARKNET:
        return notes
    words = {word for section in unequal for word in section.activations}
    for word in sorted(words):
        name = ACTIVATIONS[word].darknet_name
        if not ACTIVATIONS[word].is_in("darknet"):
            runs = f"{word} runs as {name}" if name else f"{word} runs"
            notes += (f"{runs}; C Darknet does not know the name and would run relu",)
    return notes


def _difference_notes(sections: Iterable[Section], told: DialectChoice) -> tuple[str, ...]:
    """One line on what other families read otherwise, by family; nothing if the file tells its family."""
    where: dict[str, set[str]] = {}
    for section in sections:
        for fact in section.facts():
            where.setdefault(fact, set()).add("batch norm" if fact in NORM_FACTS else f"[{section.raw.name}]")
    by_names: dict[tuple[str, ...], list[str]] = {}
    for other in told.others:
        if other.name == other.family and other.family != told.dialect.family:
            facts = [fact for fact in where if getattr(other, fact) != getattr(told.dialect, fact)]
            names = tuple(sorted({name for fact in facts for name in where[fact]}))
            by_names.setdefault(names, []).append(other.name)
    parts = [f"{', '.join(names)} in {', '.join(who)}" for names, who in by_names.items() if names]
    if not parts:
        return ()
    return (f"read in the {told.dialect.name} dialect; others differ: {'; '.join(parts)} (--dialect NAME)",)
