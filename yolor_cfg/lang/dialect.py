"""The two dialects of the cfg language: how they differ, and how to tell which one a file is written in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from yolor_cfg.errors import CfgError

DIALECT_NAMES = ("darknet", "yolor")
DARKNET_ONLY, YOLOR_ONLY = ("darknet",), ("yolor",)
"""The value of `dialects` for sections, keys and activations that only one dialect has."""


class Dialect(NamedTuple):
    """Differences that concern any section; those of a single section are handled there."""

    name: str
    bn_eps: float
    first_key_wins: bool  # Darknet searches its option list from the front; YOLOR's dict keeps the last
    is_forgiving: bool  # a line without =, an empty value or an unknown activation is only a warning

    @property
    def is_yolor(self) -> bool:
        """True for the dialect of YOLOR's PyTorch code."""
        return self.name == "yolor"


DARKNET = Dialect("darknet", bn_eps=1e-5, first_key_wins=True, is_forgiving=True)
YOLOR = Dialect("yolor", bn_eps=1e-4, first_key_wins=False, is_forgiving=False)
DIALECTS = {dialect.name: dialect for dialect in (DARKNET, YOLOR)}


class DialectEvidence(NamedTuple):
    """A line that only one dialect has; weak evidence (silu) counts only if there is no other."""

    dialect: str
    line: int
    quote: str
    is_weak: bool = False


class DialectChoice(NamedTuple):
    """A dialect, and whether it was only assumed because nothing in the file points to either."""

    dialect: Dialect
    is_assumed: bool = False


def choose_dialect(
    stated: str | None,
    evidence: Iterable[DialectEvidence],
    *,
    default_dialect: str = "darknet",
    path: str = "",
) -> DialectChoice:
    """The dialect stated (option, checkpoint, `[net] dialect=`), else the one the evidence points to, else
    `default_dialect`."""
    if stated is not None:
        return DialectChoice(find_dialect(stated, path))
    seen: dict[str, DialectEvidence] = {}
    weak: list[DialectEvidence] = []
    for clue in evidence:
        if clue.is_weak:
            weak.append(clue)
        else:
            seen.setdefault(clue.dialect, clue)
    if len(seen) == 2:
        raise _contradiction_error(*(seen[name] for name in DIALECT_NAMES), path=path)
    shown = next(iter(seen), weak[0].dialect if weak else None)
    return DialectChoice(DIALECTS[shown or default_dialect], is_assumed=shown is None)


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
        )
    return DIALECTS[name]


def _contradiction_error(darknet: DialectEvidence, yolor: DialectEvidence, *, path: str) -> CfgError:
    return CfgError(
        "this file mixes both dialects",
        path=path,
        line=max(darknet.line, yolor.line),
        found=f"{darknet.quote} (line {darknet.line}: darknet only) and "
        f"{yolor.quote} (line {yolor.line}: yolor only)",
        allowed="sections, keys and activations of one dialect",
        hint="choose one with --dialect darknet or --dialect yolor",
    )
