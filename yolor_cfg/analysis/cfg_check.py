"""All that is to be said about a cfg: errors, warnings and notes, for `yolor cfg check` and for editors."""

from __future__ import annotations

from typing import NamedTuple

from yolor_cfg.analysis.cfg_lint import lint_graph
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Draft, complete_draft
from yolor_cfg.lang.syntax import Document


class Remark(NamedTuple):
    """What is said about a file: an "error", which stops every command, a "warning", which is odd but runs,
    or a "note"."""

    kind: str
    fault: CfgError


def find_remarks(document: Document, draft: Draft) -> list[Remark]:
    """Errors and warnings by line, each once; then the notes, if there is no error."""
    odd, notes, warnings = list[CfgError](), list[CfgError](), draft.warnings
    if not draft.faults:
        graph = complete_draft(document, draft)
        findings = lint_graph(graph)
        odd = [found.error for found in findings if found.is_fault]
        notes = graph.unused_keys() + [found.error for found in findings if not found.is_fault]
        warnings = graph.warnings
    found = {str(fault): Remark("warning", fault) for fault in (*warnings, *odd)}
    found |= {str(fault): Remark("error", fault) for fault in draft.faults}
    remarks = sorted(found.values(), key=lambda remark: (remark.fault.line, remark.kind))
    return remarks + [Remark("note", note) for note in notes]
