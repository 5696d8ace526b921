"""The table of the README that counts public cfgs by family: which build, and why the others do not.

The files are those of the folder `corpus`, which is too large for the repository.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Draft, draft_graph
from yolor_cfg.lang.dialect import FAMILIES
from yolor_cfg.lang.syntax import Document, parse_bytes
from yolor_cfg.sections.refused import REFUSED_SECTIONS

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("YOLOR_SHARED", ROOT.parent / "shared"))
DAMAGED, NO_FAMILY = "damaged", "no text of a cfg"
TABLE_HEAD = """\
| family | files | told by their own lines | built | not built, each with its message |
|---|---:|---:|---:|---|
"""


class CorpusFile(NamedTuple):
    """What became of a file: its family, whether its lines tell it, and why it is refused, if it is."""

    family: str
    is_told: bool
    reason: str = ""


def find_corpus() -> list[Path]:
    """The files; none where the folder is not there."""
    return sorted((SHARED / "corpus" / "cfg").glob("*"))


def corpus_table(paths: Iterable[Path]) -> str:
    """The table of these files, by family in the order of the dialects, with their sum."""
    files = [classify_file(path) for path in paths]
    rows = [(name, [one for one in files if one.family == name]) for name in (*FAMILIES, NO_FAMILY)]
    rows += [("all", files)]
    return TABLE_HEAD + "".join(_table_row(name, those) for name, those in rows if those)


def classify_file(path: Path) -> CorpusFile:
    """Read a file as far as it goes."""
    try:
        document = parse_bytes(path.read_bytes(), str(path))
    except CfgError:
        return CorpusFile(NO_FAMILY, is_told=False, reason=DAMAGED)
    draft = draft_graph(document)
    family = draft.told.dialect.family
    is_told = all(other.family == family for other in draft.told.others)
    return CorpusFile(family, is_told, _find_reason(document, draft))


def _find_reason(document: Document, draft: Draft) -> str:
    """The sections that are refused, else that the file is damaged; empty if it builds."""
    refused = sorted({raw.name for raw in document.layers} & REFUSED_SECTIONS.keys())
    if refused:
        return " and ".join(f"`[{name}]`" for name in refused)
    return DAMAGED if draft.faults else ""


def _table_row(name: str, files: list[CorpusFile]) -> str:
    reasons = Counter(one.reason for one in files if one.reason)
    built = sum(not one.reason for one in files)
    why = ", ".join(
        f"{count} {DAMAGED}" if reason == DAMAGED else f"{count} with {reason}"
        for reason, count in sorted(reasons.items())
    )
    return f"| {name} | {len(files)} | {sum(one.is_told for one in files)} | {built} | {why} |\n"
