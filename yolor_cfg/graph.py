"""From raw sections to a Graph: dialect, keys, connections, sizes and last uses. No torch here."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import CfgError, CfgFaults
from yolor_cfg.files import read_bounded
from yolor_cfg.lang.dialect import DIALECTS, JDE_ONLY, Dialect
from yolor_cfg.lang.dialect_choice import DialectChoice, choose_dialect, find_dialect
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.keys import Answers, list_nearest, strip_comment, suggest_word
from yolor_cfg.lang.syntax import (
    Document,
    RawSection,
    parse_bytes,
    quote_text,
)
from yolor_cfg.sections import SECTIONS, NetSection, Section, SectionPlace
from yolor_cfg.sections.detection import find_kind
from yolor_cfg.sections.dialect_notes import dialect_notes
from yolor_cfg.sections.evidence import find_dialect_evidence
from yolor_cfg.sections.joint import joins_embeddings
from yolor_cfg.sections.oddities import warn_of_oddities
from yolor_cfg.sections.reading import MAX_HINTS
from yolor_cfg.sections.refused import REFUSED_SECTIONS
from yolor_cfg.sections.unused import find_unused_keys
from yolor_cfg.sections.wiring import (
    IMAGE_INDEX,
    Node,
    connect_sections,
    depends_on_size,
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
    "collect_rarely",
    "complete_draft",
    "draft_graph",
    "load",
    "load_graph",
    "raise_faults",
    "read_document",
    "stated_text",
]

COLLECT_EVERY = 100_000  # new objects
MAX_KNOWN_DIALECTS = 16  # with an epsilon each: the values of their sections are kept
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
        losses = {node.section.loss_kind for node in self.heads}
        sections = [self.net, *(node.section for node in self.nodes)]
        found = [warning for section in sections for warning in find_unused_keys(section, losses)]
        return sorted(found, key=lambda warning: warning.line)

    def stride(self, index: int) -> tuple[float, float]:
        """Input pixels per cell of that node, down and across, computed from the sizes."""
        shape = self.nodes[index].shape
        return self.image.height / shape.height, self.image.width / shape.width

    @property
    def box_heads(self) -> tuple[Node, ...]:
        """The heads that predict boxes, and whatever else is no classifier of whole images."""
        return tuple(node for node in self.heads if not node.section.label_kind)

    @property
    def label_heads(self) -> tuple[Node, ...]:
        """The heads that classify whole images; the classes of one follow those of the one before."""
        return tuple(node for node in self.heads if node.section.label_kind)

    @property
    def classes(self) -> int:
        """The number of classes of the heads with boxes, else of those with image labels; 0 if there are
        none. Of several tasks it is that of the one with the most."""
        return max((self.classes_of(task) for task in self.tasks), default=self.classes_of(""))

    def classes_of(self, task: str) -> int:
        """The number of classes of the heads that serve this task; of all heads for ""."""
        graph = self.keep_heads(task)
        boxes = [getattr(node.section, "classes", 0) for node in graph.box_heads]
        return max(boxes, default=0) or sum(node.shape.size for node in graph.label_heads)

    def keep_heads(self, task: str) -> Graph:
        """The graph that gives out the heads of this task alone; of all of them for ""."""
        served = {node.index: node.section.task or (task,) for node in self.heads}
        kept = (index for index in self.outputs if not task or task in served[index])
        return replace(self, outputs=tuple(kept))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that its sections name, in cfg order."""
        return tuple(dict.fromkeys(task for node in self.nodes for task in node.section.task))

    @cached_property
    def largest_stride(self) -> int:
        """The largest stride of any feature map: the sides of an image should be multiples of it."""
        return find_largest_stride([node.section for node in self.nodes], self.image)

    @cached_property
    def has_fixed_size(self) -> bool:
        """Whether only images of the size in [net] fit, as where a dense section reads a map."""
        return self.dialect.takes_net_size or depends_on_size(self.nodes, self.image)

    def fix_size(self) -> Graph:
        """The graph as one of a network that takes only images of its size."""
        return replace(self, dialect=self.dialect._replace(takes_net_size=True))


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
    with collect_rarely():
        return build_graph(read_document(path), reading)


@contextmanager
def collect_rarely() -> Iterator[None]:
    """Let the collector of cycles look less often: a graph is many small objects, all kept until its end."""
    often = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)


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

    @property
    def warnings(self) -> tuple[CfgError, ...]:
        """What is unusual but valid in its sections, as far as it was looked for."""
        return tuple(warning for one in (self.net, *self.sections) for warning in one.warnings)


def build_graph(document: Document, reading: ReadOptions = DEFAULT_OPTIONS) -> Graph:
    """The graph of a parsed cfg. All errors are reported together: in keys, and in connections and sizes as
    far as the rest can still be sized."""
    return complete_draft(document, draft_graph(document, reading), reading)


def complete_draft(document: Document, draft: Draft, reading: ReadOptions = DEFAULT_OPTIONS) -> Graph:
    """The graph of a draft of this document; raises CfgError with all of its faults."""
    told, net, sections, sized, faults = draft
    nodes = () if faults else _add_freed_sources(sized)
    outputs = tuple(node.index for node in nodes if node.section.is_head) or _last_prediction(nodes)
    warn_of_oddities(nodes, outputs, told.dialect)
    warnings = draft.warnings
    if reading.strict:
        faults += warnings
    raise_faults(faults, document.path)
    eps = reading.bn_eps or told.dialect.bn_eps
    dialect = told.dialect._replace(bn_eps=net.bn_eps or eps)
    return Graph(document, dialect, net, net.image, nodes, outputs, warnings, dialect_notes(sections, told))


def stated_text(graph: Graph) -> str:
    """The text of the graph; with `dialect=` and `bn_eps=` in [net] where it alone is read otherwise."""
    document, edits = graph.document, TextEdits.nothing()
    try:
        told = build_graph(document).dialect
    except CfgError:
        told = DIALECTS["darknet"]
    if document.has_net and told.name != graph.dialect.name:
        edits.set_key(document.net, graph.net.lines, ("dialect", graph.dialect.name))
        told = DIALECTS[graph.dialect.name]
    if document.has_net and told.bn_eps != graph.dialect.bn_eps:
        edits.set_key(document.net, graph.net.lines, ("bn_eps", repr(graph.dialect.bn_eps)))
    return apply_text_edits(document, edits)


def raise_faults(faults: Sequence[CfgError], path: str) -> None:
    """Raise the fault, or several as one, if there are any."""
    if faults:
        raise CfgFaults(faults, path) if len(faults) > 1 else faults[0]


def draft_graph(document: Document, reading: ReadOptions = DEFAULT_OPTIONS) -> Draft:
    """The parsed cfg as far as it goes. A section that is faulty has no size, and what reads it is left out;
    a head alone keeps the size of what it reads. JDE's first files are told by their maps alone."""
    stated = reading.dialect or _stated_dialect(document)
    draft = _draft_in(stated, document, reading)
    is_jde = draft.faults and not stated and joins_embeddings(draft.nodes)
    return _draft_in(JDE_ONLY[0], document, reading) if is_jde else draft


def _draft_in(stated: str | None, document: Document, reading: ReadOptions) -> Draft:
    told = choose_dialect(
        stated, find_dialect_evidence(document), default_dialect=reading.default_dialect, path=document.path
    )
    eps = reading.bn_eps or told.dialect.bn_eps
    dialect = told.dialect._replace(bn_eps=eps)
    net, sections, faults = _parse_sections(document, dialect, reading)
    sizes = [section.input_size for section in sections[:-1] if section.input_size]
    if sizes and not reading.size:
        net, sections, faults = _parse_sections(document, dialect, reading._replace(size=sizes[-1]))
    wired = connect_sections(sections, net.image)
    if not all(net.image):
        faults += wired.faults + ([] if SIZE_KEYS & net.unusable.keys() else [net.missing_size()])
    elif wired.faults:
        resized = None if faults else find_size_error(wired.faults[0], sections, net)
        faults += [resized] if resized else wired.faults
    return Draft(told, net, tuple(sections), tuple(wired.nodes.values()), tuple(faults))


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
    sections, faults = list[Section](), list[CfgError]()
    image, embedding, shared = net.image, net.embedding_dim, _shared_values(told)
    for index, raw in enumerate(document.layers):
        kind = find_kind(raw)
        if kind is None or kind is NetSection:
            word = raw.name if len(faults) < MAX_HINTS else ""
            faults.append(_unknown_section_error(raw, index, document.path, word=word))
        else:
            place = SectionPlace(index, told, document.path, image, sections, embedding, shared)
            sections.append(kind(raw, place))
    faults += [fault for section in (net, *sections) for fault in section.faults]
    if not document.layers:
        faults.append(net.error("", "this file has no layers", hint="it contains only [net]"))
    return net, sections, faults


@lru_cache(MAX_KNOWN_DIALECTS)
def _shared_values(dialect: Dialect) -> Answers:
    """Where the values of the sections of all files in this dialect are kept, to be read once."""
    return Answers()


def _unknown_section_error(raw: RawSection, index: int, path: str, *, word: str) -> CfgError:
    """`word` is its name, or empty for one too many to look for a similar one."""
    if SECTIONS.get(raw.name) is NetSection:
        return CfgError(
            "a second [net]",
            path=path,
            line=raw.line,
            section=raw.name,
            number=index,
            hint="a file describes one network: [net] appears once, at the top",
        )
    reason = REFUSED_SECTIONS.get(raw.name, "")
    return CfgError(
        f"cannot be read: {reason}" if reason else "unknown section",
        path=path,
        line=raw.line,
        section=quote_text(raw.name),
        number=index,
        found="" if reason else f"[{quote_text(raw.name)}]",
        allowed="" if reason else list_nearest(word, SECTIONS, "yolor info --sections"),
        hint="" if reason else suggest_word(word, SECTIONS) or "it may be specific to a fork of Darknet",
    )


def _add_freed_sources(nodes: Sequence[Node]) -> tuple[Node, ...]:
    last_use = {node.index: node.index for node in nodes}  # an unread value is freed where it is made
    last_use |= {source: node.index for node in nodes for source in node.sources}
    freed: dict[int, list[int]] = {}
    for source, user in last_use.items():
        freed.setdefault(user, []).append(source)
    for node in nodes:
        node.freed_sources = tuple(sorted(freed.get(node.index, ())))
    return tuple(nodes)


def _last_prediction(nodes: Sequence[Node]) -> tuple[int, ...]:
    return tuple(node.index for node in nodes if not node.section.is_loss)[-1:]


def last_head_value(graph: Graph, key: str, otherwise: str | float) -> str | float:
    """What the last head with boxes says; `otherwise` where there is none or it has no such key."""
    return getattr(graph.box_heads[-1].section, key, otherwise) if graph.box_heads else otherwise
