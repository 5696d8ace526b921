"""Rewrites the text of a network for a program of another family, where that can compute the same.

The text is changed line by line, so that comments and the order of keys stay. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from yolor_cfg.errors import CfgError, CfgFaults
from yolor_cfg.graph import Graph, ReadOptions, build_graph, raise_faults
from yolor_cfg.lang.dialect import DIALECTS, Dialect
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.syntax import parse
from yolor_cfg.rewrite.drafts import Change, SectionDraft
from yolor_cfg.rewrite.translate_keys import adapt_keys, adapt_lines, move_references
from yolor_cfg.rewrite.translate_sections import adapt_section
from yolor_cfg.sections.head_places import order_strides

UNREAD_REFERENCES = ("share_index", "embedding_layer")
MOST_LINES = 5  # named of sections that are refused for the same reason
PRIVATE_KEYS = ("dialect", "bn_eps")  # of [net], which only this package reads


class TranslatedText(NamedTuple):
    """The graph of the new text, what changed, and of each old section the number of the new one that has its
    tensors, and of the one that has its value (-1: none has)."""

    graph: Graph
    changes: tuple[Change, ...]
    owners: tuple[int, ...]
    values: tuple[int, ...]

    @property
    def text(self) -> str:
        """The new text."""
        return self.graph.document.text


def translate(graph: Graph, to: str, path: str) -> TranslatedText:
    """The network for the program of that dialect, as the text of a file at `path`; raises CfgError with each
    section that has no equal there."""
    target = DIALECTS[to]
    if graph.dialect.name == to:
        found = f"{graph.dialect.program} reads it as it is"
        hint = "another reading of it is stated by --dialect"
        raise CfgError("there is nothing to translate", path=graph.path, found=found, hint=hint)
    drafts = _make_drafts(graph, target)
    faults = [fault for step in (_adapt_structure, adapt_keys) for fault in _collect(step, drafts)]
    raise_faults(_join_alike(faults), graph.path)
    starts = move_references(drafts, UNREAD_REFERENCES)
    edits = TextEdits.nothing()
    changes = [*_edit_net(graph, edits), *(change for draft in drafts for change in draft.changes)]
    for draft in drafts:
        draft.write_edits(edits)
    text = apply_text_edits(graph.document, edits)
    if target.is_pytorch:
        text, more = _tidy_lines(text, target)
        changes = [*more, *changes]
    read = _read_back(text, path, drafts=drafts, starts=starts)
    _check_strides(graph, drafts, path)
    values = [
        -1 if draft.is_moved else start + len(draft.followers)
        for start, draft in zip(starts, drafts, strict=True)
    ]
    return _state_dialect(TranslatedText(read, tuple(changes), tuple(starts), tuple(values)), target)


def _make_drafts(graph: Graph, target: Dialect) -> list[SectionDraft]:
    drafts = [SectionDraft(node, target) for node in graph.nodes]
    for draft in drafts:
        draft.sources = [drafts[source] for source in draft.node.sources if source >= 0]
        for source in draft.sources:
            source.readers.append(draft)
    return drafts


def _adapt_structure(draft: SectionDraft) -> None:
    adapt_lines(draft)
    adapt_section(draft)


def _collect(step: Callable[[SectionDraft], None], drafts: Sequence[SectionDraft]) -> list[CfgError]:
    """The errors of a step, section by section."""
    faults = []
    for draft in drafts:
        try:
            step(draft)
        except CfgError as fault:
            faults.append(fault)
    return faults


def _join_alike(faults: Sequence[CfgError]) -> list[CfgError]:
    """Of the faults that say the same of sections of one name the first, with the number of the others."""
    alike: dict[tuple[str, str], list[CfgError]] = {}
    for fault in faults:
        alike.setdefault((fault.section, fault.message), []).append(fault)
    for first, *others in alike.values():
        if others:
            lines = ", ".join(str(one.line) for one in others[:MOST_LINES])
            rest = " ..." if len(others) > MOST_LINES else ""
            first.found += f"; likewise {len(others)} more (line {lines}{rest})"
    return [group[0] for group in alike.values()]


def _edit_net(graph: Graph, edits: TextEdits) -> list[Change]:
    """Make comments of the keys that only this package reads."""
    changes = []
    for line in graph.document.net.entries:
        if line.key in PRIVATE_KEYS:
            edits.silenced.add(line.number)
            why = "no other program reads it"
            changes.append(Change("net", None, graph.net.line, f"# {line.text.strip()}", why))
    return changes + _state_size(graph, edits)


def _state_size(graph: Graph, edits: TextEdits) -> list[Change]:
    """Give [net] the size that a [crop] gives the input in darkflow."""
    net, changes = graph.net, []
    for key in ("width", "height") if graph.dialect.resizes_to_crop else ():
        value = str(getattr(graph.image, key))
        if key not in net.lines or net.lines[key].value != value:
            edits.set_key(graph.document.net, net.lines, (key, value))
            changes.append(Change("net", None, net.line, f"{key}={value}", "[crop] sets it"))
    return changes


def _tidy_lines(text: str, target: Dialect) -> tuple[str, list[Change]]:
    """Comments at the start of their line, and no blanks in empty lines, as PyTorch programs need it."""
    lines = text.splitlines(keepends=True)
    tidied = [_tidy_line(line) for line in lines]
    count = sum(one != other for one, other in zip(lines, tidied, strict=True))
    why = f"{target.program} stops at blanks before comments and in empty lines"
    changes = [Change("net", None, 1, f"{count} lines without such blanks", why)] if count else []
    return "".join(tidied), changes


def _tidy_line(line: str) -> str:
    bare = line.strip("\ufeff \t\r\n\v\f")
    ending = line[len(line.rstrip("\r\n")) :]
    if not bare:
        return ending
    return f"#{bare[bare[0] == '#' :]}{ending}" if bare[0] in "#;" else line


def _read_back(text: str, path: str, *, drafts: Sequence[SectionDraft], starts: Sequence[int]) -> Graph:
    """The graph of the new text; faults in it are those of the sections that they come from."""
    target = drafts[0].target
    try:
        read = build_graph(parse(text, path), ReadOptions(target.name))
    except CfgError as fault:
        faults = fault.faults if isinstance(fault, CfgFaults) else (fault,)
        found = [_locate(one, drafts, starts) for one in faults]
        raise CfgFaults(found, drafts[0].section.path) from fault
    for draft, start in zip(drafts, starts, strict=True):
        there = read.nodes[start + len(draft.followers)].shape
        if there != draft.node.shape and not (draft.is_removed and draft.is_moved):
            message = f"{target.program} computes another size"
            raise draft.refusal("", message, found=str(there), allowed=str(draft.node.shape))
    return read


def _locate(fault: CfgError, drafts: Sequence[SectionDraft], starts: Sequence[int]) -> CfgError:
    """The fault at the section that the faulty one comes from."""
    number = -1 if fault.number is None else fault.number
    mine = [draft for draft, start in zip(drafts, starts, strict=True) if 0 <= number and start <= number]
    message = f"{drafts[0].target.program} cannot read it: {fault.message}"
    if mine:
        return mine[-1].refusal(fault.key, message, found=fault.found, allowed=fault.allowed, hint=fault.hint)
    path, found = drafts[0].section.path, fault.found
    return CfgError(message, path=path, section=fault.section, key=fault.key, found=found, hint=fault.hint)


def _check_strides(graph: Graph, drafts: Sequence[SectionDraft], path: str) -> None:
    """Raise CfgError where a program tells the stride of a head by its place, and the sizes say otherwise."""
    target = drafts[0].target
    known = target.head_strides or target.strides_in_order
    heads = [drafts[node.index] for node in graph.heads if "anchors" in node.section.keys]
    if not known or not heads:
        return
    told = order_strides(known, target, path)
    real = [graph.stride(draft.section.index) for draft in heads]
    for draft, (down, across), place in zip(heads, real, range(len(heads)), strict=True):
        wanted = told[place] if place < len(told) else 0
        if (down, across) != (wanted, wanted):
            words = ", ".join(target.reversing_words)
            raise draft.refusal(
                "",
                f"{target.program} tells strides by the order of the heads",
                found=f"stride {across:g} x {down:g} of head {place + 1}",
                allowed=f"{', '.join(map(str, told))}, in this order",
                hint=f"with one of these words in the path of OUT the order turns round, without them it "
                f"does not: {words}",
            )


def _state_dialect(made: TranslatedText, target: Dialect) -> TranslatedText:
    """The translation with `dialect=` in [net] if the text alone would be read in another one."""
    graph = made.graph
    try:
        told = build_graph(graph.document).dialect.name
    except CfgError:
        told = ""
    if told == target.name:
        return made
    edits, why = TextEdits.nothing(), "tells this package the family; other programs skip it"
    edits.set_key(graph.document.net, {}, ("dialect", target.name))
    text = apply_text_edits(graph.document, edits)
    stated = build_graph(parse(text, graph.path))
    change = Change("net", None, graph.net.line, f"dialect={target.name}", why)
    return made._replace(graph=stated, changes=(change, *made.changes))
