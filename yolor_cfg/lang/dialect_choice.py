"""How to tell the dialect of a file: what is stated, else what its lines point to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import ALL_DIALECTS, DIALECTS, MAIN_DIALECTS, Dialect
from yolor_cfg.lang.keys import suggest_word


class DialectEvidence(NamedTuple):
    """A line that only some dialects have; weak evidence (silu) counts only if there is no other. A section
    is stronger than keys and words inside one."""

    dialects: tuple[str, ...]
    line: int
    quote: str
    is_weak: bool = False
    is_section: bool = False

    @property
    def is_own(self) -> bool:
        """Whether a fork alone has it: neither of the two main dialects does."""
        return not set(MAIN_DIALECTS) & set(self.dialects)


class DialectChoice(NamedTuple):
    """A dialect, and those that the text does not exclude."""

    dialect: Dialect
    others: tuple[Dialect, ...] = ()


def choose_dialect(
    stated: str | None,
    evidence: Iterable[DialectEvidence],
    *,
    default_dialect: str = "darknet",
    path: str = "",
) -> DialectChoice:
    """The dialect stated (option, checkpoint, `[net] dialect=`), of its family the member that the evidence
    points to; else the one the evidence points to, else `default_dialect`."""
    clues = list(evidence)
    if stated is not None:
        return DialectChoice(_pick_member(find_dialect(stated, path), clues))
    strong = [clue for clue in clues if not clue.is_weak]
    left = _narrow(strong, path) if strong else ALL_DIALECTS
    words = [name for clue in clues if clue.is_weak for name in clue.dialects]
    chosen = next(name for name in (*words, default_dialect, *left) if name in left)
    others = tuple(DIALECTS[name] for name in left if name != chosen)
    return DialectChoice(DIALECTS[chosen], others)


def _narrow(clues: Sequence[DialectEvidence], path: str) -> tuple[str, ...]:
    """The dialects that the sections leave, then the words that a fork alone has, then all else; what leaves
    none contradicts only another section, or the words of a main dialect those of the other.

    Public files mix the keys of several programs, which read over what they do not know.
    """
    sections = [clue for clue in clues if clue.is_section]
    words = [clue for clue in clues if not clue.is_section]
    left = ALL_DIALECTS
    for clue in sections:
        left = _agree(left, clue) or _refuse(clue, sections, path)
    for clue in (one for one in words if one.is_own):
        left = _agree(left, clue) or left
    is_fork = not set(MAIN_DIALECTS) & set(left)
    for clue in (one for one in words if not one.is_own):
        left = _agree(left, clue) or (left if is_fork else _refuse(clue, clues, path))
    return left


def _agree(left: tuple[str, ...], clue: DialectEvidence) -> tuple[str, ...]:
    return tuple(name for name in left if name in clue.dialects)


def _refuse(clue: DialectEvidence, clues: Sequence[DialectEvidence], path: str) -> NoReturn:
    """Raise the error of a line that fits no dialect that the others leave."""
    apart = [one for one in clues if not set(one.dialects) & set(clue.dialects)]
    raise _contradiction_error(apart[0] if apart else clues[0], clue, path=path)


def _pick_member(stated: Dialect, clues: Iterable[DialectEvidence]) -> Dialect:
    """The member of the family stated that the clues point to, as far as they agree."""
    members = [one for one in DIALECTS.values() if one.family == stated.name]
    for clue in clues:
        members = [one for one in members if one.name in clue.dialects] or members
    return stated if stated in members or not members else members[0]


def find_dialect(name: str, path: str = "", *, line: int = 0) -> Dialect:
    """The dialect with this name; raises CfgError if there is none."""
    if name not in DIALECTS:
        raise CfgError(
            "unknown value",
            path=path,
            line=line,
            section="net" if line else "",
            key="dialect",
            found=name,
            allowed=sorted(DIALECTS),
            hint=suggest_word(name, DIALECTS),
        )
    return DIALECTS[name]


def _contradiction_error(first: DialectEvidence, second: DialectEvidence, *, path: str) -> CfgError:
    one, other = sorted((first, second), key=lambda clue: ALL_DIALECTS.index(clue.dialects[0]))
    return CfgError(
        "this file mixes dialects",
        path=path,
        line=max(first.line, second.line),
        found=f"{_format_clue(one)} and {_format_clue(other)}",
        allowed="sections, keys and activations of one dialect",
        hint=f"choose one: --dialect {one.dialects[0]} or --dialect {other.dialects[0]}",
    )


def _format_clue(clue: DialectEvidence) -> str:
    return f"{clue.quote} (line {clue.line}: {', '.join(clue.dialects)} only)"
