"""From raw sections to a Graph: dialect, keys, connections, sizes and last uses. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import CfgError, CfgFaults
from yolor_cfg.files import read_bounded
from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import (
    Dialect,
    DialectChoice,
    DialectEvidence,
    choose_dialect,
    find_dialect,
)
from yolor_cfg.lang.keys import strip_comment, suggest_word
from yolor_cfg.lang.syntax import Document, RawSection, parse_bytes, quote_text
from yolor_cfg.sections import SECTIONS, NetSection, Section, SectionPlace
from yolor_cfg.sections.base import MAX_HINTS
from yolor_cfg.sections.oddities import warn_of_oddities
from yolor_cfg.sections.unused import find_unused_keys
from yolor_cfg.sections.wiring import (
    IMAGE_INDEX,
    Node,
    connect_sections,
    find_largest_stride,
    find_size_error,
)
from yolor_cfg.shape import Shape

__all__ = [
    "DEFAULT_OPTIONS",
    "IMAGE_INDEX",
    "Draft",
    "Graph",
    "Node",
    "ReadOptions",
    "build_graph",
    "draft_graph",
    "find_dialect_evidence",
    "load",
    "load_graph",
    "raise_faults",
    "read_document",
]


SIZE_KEYS = {"width", "height", "channels", "inputs"}


@dataclass(frozen=True)
class Graph:
    """A resolved cfg: one ordered list of nodes. `outputs` are the nodes whose values a network returns: its
    heads, or its last prediction if it has none. `warnings` report what is unusual but valid; `notes` are
    remarks for the user."""

    document: Document
    dialect: Dialect
    net: NetSection
    image: Shape
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    warnings: tuple[CfgError, ...]
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The file the cfg was read from."""
        return self.document.path

    @property
    def heads(self) -> tuple[Node, ...]:
        """The nodes that make predictions, in cfg order."""
        return tuple(self.nodes[i] for i in self.outputs)

    def unused_keys(self) -> list[CfgError]:
        """A warning for each key that has no effect here, by line."""
        sections = [self.net, *(node.section for node in self.nodes)]
        found = [warning for section in sections for warning in find_unused_keys(section)]
        return sorted(found, key=lambda warning: warning.line)

    def stride(self, index: int) -> tuple[float, float]:
        """Input pixels per cell of that node, down and across, computed from the sizes."""
        shape = self.nodes[index].shape
        return self.image.height / shape.height, self.image.width / shape.width

    @property
    def classes(self) -> int:
        """The number of classes of the heads; 0 if none has classes."""
        return max((getattr(node.section, "classes", 0) for node in self.heads), default=0)

    @cached_property
    def largest_stride(self) -> int:
        """The largest stride of any feature map: the sides of an image should be multiples of it."""
        return find_largest_stride([node.section for node in self.nodes], self.image)


class ReadOptions(NamedTuple):
    """How to read a cfg: the dialect stated, if any, and the one to assume otherwise, another input size,
    strictness, and the batch norm epsilon if the cfg gives none (a checkpoint stores its own)."""

    dialect: str | None = None
    size: int | tuple[int, int] | None = None
    default_dialect: str = "darknet"
    strict: bool = False
    bn_eps: float | None = None


DEFAULT_OPTIONS = ReadOptions()


def load_graph(path: str | Path, reading: ReadOptions = DEFAULT_OPTIONS) -> Graph:
    """The graph of a cfg file; raises CfgError with file and line for everything wrong with it."""
    return build_graph(read_document(path), reading)


load = load_graph
"""The short name, for `graph.load(path)`."""


def read_document(path: str | Path) -> Document:
    """The parsed cfg file; raises CfgError if it cannot be read."""
    return parse_bytes(read_bounded(path, fault=CfgError, what="the cfg"), str(path))


class Draft(NamedTuple):
    """A cfg read as far as it goes: the sections that can be sized, and every fault."""

    told: DialectChoice
    net: NetSection
    sections: tuple[Section, ...]
    nodes: tuple[Node, ...]
    faults: tuple[CfgError, ...]


def build_graph(document: Document, reading: ReadOptions = DEFAULT_OPTIONS) -> Graph:
    """The graph of a parsed cfg. All errors are reported together: in keys, and in connections and sizes as
    far as the rest can still be sized."""
    told, net, sections, sized, faults = draft_graph(document, reading)
    nodes = () if faults else _add_freed_sources(sized)
    outputs = tuple(node.index for node in nodes if node.section.is_head) or _last_prediction(nodes)
    warn_of_oddities(nodes, outputs, told.dialect)
    warnings = _collect_warnings(net, *sections)
    if reading.strict:
        faults += warnings
    raise_faults(faults, document.path)
    eps = reading.bn_eps or told.dialect.bn_eps
    dialect = told.dialect._replace(bn_eps=net.bn_eps or eps)
    return Graph(document, dialect, net, net.image, nodes, outputs, warnings, _dialect_notes(sections, told))


def raise_faults(faults: Sequence[CfgError], path: str) -> None:
    """Raise the fault, or several as one, if there are any."""
    if faults:
        raise CfgFaults(faults, path) if len(faults) > 1 else faults[0]


def draft_graph(document: Document, reading: ReadOptions = DEFAULT_OPTIONS) -> Draft:
    """The parsed cfg as far as it goes. A section that is faulty has no size, and what reads it is left out;
    a head alone keeps the size of what it reads."""
    stated = reading.dialect or _stated_dialect(document)
    told = choose_dialect(
        stated, find_dialect_evidence(document), default_dialect=reading.default_dialect, path=document.path
    )
    eps = reading.bn_eps or told.dialect.bn_eps
    net, sections, faults = _parse_sections(document, told.dialect._replace(bn_eps=eps), reading)
    wired = connect_sections(sections, net.image)
    if not all(net.image):
        faults += wired.faults + ([] if SIZE_KEYS & net.unusable.keys() else [net.missing_size()])
    elif wired.faults:
        resized = None if faults else find_size_error(wired.faults[0], sections, net)
        faults += [resized] if resized else wired.faults
    return Draft(told, net, tuple(sections), tuple(wired.nodes.values()), tuple(faults))


def find_dialect_evidence(document: Document) -> Iterator[DialectEvidence]:
    """The sections, keys and activations of a cfg that only one dialect has."""
    for raw in document.layers:
        section = SECTIONS.get(raw.name)
        if section is None:
            continue
        if len(section.dialects) == 1:
            yield DialectEvidence(section.dialects[0], raw.line, f"[{raw.name}]")
            continue
        yield from _find_key_evidence(raw, section)


def _find_key_evidence(raw: RawSection, kind: type[Section]) -> Iterator[DialectEvidence]:
    """An activation that Darknet has under another name is weak evidence: Darknet's files use it too."""
    for entry in raw.entries:
        word = strip_comment(entry.value)
        activation = ACTIVATIONS.get(word) if entry.key == "activation" else None
        if activation and len(activation.dialects) == 1:
            is_weak = bool(activation.darknet_name)
            yield DialectEvidence(activation.dialects[0], entry.number, f"activation={word}", is_weak)
        dialects = kind.key_dialects(entry.key)
        if len(dialects) == 1 and entry.value:
            yield DialectEvidence(dialects[0], entry.number, f"{entry.key}=")


def _stated_dialect(document: Document) -> str | None:
    """The name in `[net] dialect=`, if given."""
    for entry in document.net.entries:
        word = strip_comment(entry.value)
        if entry.key == "dialect" and word:
            return find_dialect(word, path=document.path, line=entry.number).name
    return None


def _parse_sections(
    document: Document, dialect: Dialect, reading: ReadOptions
) -> tuple[NetSection, list[Section], list[CfgError]]:
    """Every known section with its keys read, and all errors in them."""
    net = NetSection(document.net, SectionPlace(IMAGE_INDEX, dialect, document.path)).resize(reading.size)
    if not document.has_net:
        tell_it = net.warn if dialect.is_forgiving else net.fault
        tell_it(
            "",
            "the file does not start with [net]",
            found=f"[{quote_text(document.sections[0].name)}]",
            hint="put [net] with width, height and channels at the top",
        )
    told = dialect._replace(bn_eps=net.values.get("bn_eps") or dialect.bn_eps)
    sections: list[Section] = []
    faults: list[CfgError] = []
    for index, raw in enumerate(document.layers):
        kind = SECTIONS.get(raw.name)
        if kind is None or kind is NetSection:
            word = raw.name if len(faults) < MAX_HINTS else ""
            faults.append(
                _unknown_section_error(raw, index, document.path, hint=suggest_word(word, SECTIONS))
            )
        else:
            sections.append(kind(raw, SectionPlace(index, told, document.path, net.image)))
    faults += [fault for section in (net, *sections) for fault in section.faults]
    if not document.layers:
        faults.append(net.error("", "this file has no layers", hint="it contains only [net]"))
    return net, sections, faults


def _collect_warnings(*sections: Section) -> tuple[CfgError, ...]:
    return tuple(warning for section in sections for warning in section.warnings)


def _unknown_section_error(raw: RawSection, index: int, path: str, *, hint: str) -> CfgError:
    if SECTIONS.get(raw.name) is NetSection:
        return CfgError(
            "a second [net]",
            path=path,
            line=raw.line,
            section=raw.name,
            number=index,
            hint="a file describes one network: [net] appears once, at the top",
        )
    return CfgError(
        "unknown section",
        path=path,
        line=raw.line,
        section=quote_text(raw.name),
        number=index,
        found=f"[{quote_text(raw.name)}]",
        allowed=sorted(SECTIONS),
        hint=hint or "it may be specific to a fork of Darknet",
    )


def _add_freed_sources(nodes: Sequence[Node]) -> tuple[Node, ...]:
    last_use = {node.index: node.index for node in nodes}  # an unread value is freed where it is made
    last_use |= {source: node.index for node in nodes for source in node.sources}
    freed: dict[int, list[int]] = {}
    for source, user in last_use.items():
        freed.setdefault(user, []).append(source)
    return tuple(
        Node(n.index, n.section, n.sources, n.inputs, n.shape, tuple(sorted(freed.get(n.index, ()))))
        for n in nodes
    )


def _last_prediction(nodes: Sequence[Node]) -> tuple[int, ...]:
    return tuple(node.index for node in nodes if not node.section.is_loss)[-1:]


def _dialect_notes(sections: Sequence[Section], told: DialectChoice) -> tuple[str, ...]:
    """Notes on a file in the darknet dialect: which sections differ in the other dialect, if this one was
    only assumed, and which activations of the other dialect it uses."""
    if told.dialect.is_yolor:
        return ()
    notes = []
    differs = sorted({f"[{section.raw.name}]" for section in sections if section.has_dialect_variants()})
    if told.is_assumed and differs:
        names = ", ".join(differs)
        notes.append(f"read in the darknet dialect; {names} differ in the yolor dialect (--dialect yolor)")
    words = {word for section in sections for word in section.activations}
    for word in sorted(words):
        name = ACTIVATIONS[word].darknet_name
        if "darknet" not in ACTIVATIONS[word].dialects:
            runs = f"{word} runs as {name}" if name else f"{word} runs"
            notes.append(f"{runs}; C Darknet does not know the name and would run relu")
    return tuple(notes)
