"""Raw sections to a Graph: dialect told, keys read, wired, sized, last uses known. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import CfgError, CfgFaults
from yolor_cfg.lang.dialect import ACTIVATIONS, YOLOR_KEYS, Dialect, Evidence, tell
from yolor_cfg.lang.keys import closest, uncommented
from yolor_cfg.lang.syntax import Document, RawSection, parse_bytes
from yolor_cfg.sections import SECTIONS, Net, Section
from yolor_cfg.shape import Shape

IMAGE = -1  # the index under which the image is known


@dataclass(frozen=True)
class Node:
    """A section in its place: what it reads, how big its output is, which values are used here for the last
    time."""

    index: int
    section: Section
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    shape: Shape
    frees: tuple[int, ...] = ()

    @property
    def line(self) -> int:
        """The cfg line of the section's header."""
        return self.section.line


@dataclass(frozen=True)
class Graph:
    """A cfg resolved: one ordered list of nodes. `outputs` are the nodes whose values a network returns: its
    heads, or its last prediction where it has none. `warnings` are odd things that have a meaning, `notes`
    are for people."""

    document: Document
    dialect: Dialect
    net: Net
    image: Shape
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    warnings: tuple[CfgError, ...]
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the cfg was read from."""
        return self.document.path

    @property
    def heads(self) -> tuple[Node, ...]:
        """The nodes that make predictions, in cfg order."""
        return tuple(self.nodes[i] for i in self.outputs)

    def stride(self, index: int) -> tuple[float, float]:
        """Input pixels per cell of that node, down and across; read from sizes."""
        shape = self.nodes[index].shape
        return self.image.height / shape.height, self.image.width / shape.width

    @property
    def largest_stride(self) -> int:
        """The largest whole down-sampling of any map: what an image's sides should be multiples of."""
        maps = [node.shape for node in self.nodes if node.shape.area > 1]
        return max((round(self.image.width / shape.width) for shape in maps), default=1)


class Reading(NamedTuple):
    """How a cfg is to be read: the dialect stated (if any) and assumed otherwise, another size,
    strictness."""

    dialect: str | None = None
    size: int | tuple[int, int] | None = None
    otherwise: str = "darknet"
    strict: bool = False


AS_WRITTEN = Reading()


def load(path: str | Path, reading: Reading = AS_WRITTEN) -> Graph:
    """The graph of a cfg file; raises CfgError with file and line for everything that is wrong with it."""
    return build(read_document(path), reading)


def read_document(path: str | Path) -> Document:
    """The parsed cfg file; raises CfgError when there is none."""
    try:
        return parse_bytes(Path(path).read_bytes(), str(path))
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise CfgError(f"the cfg cannot be read: {reason.lower()}", path=str(path)) from None


def build(document: Document, reading: Reading = AS_WRITTEN) -> Graph:
    """The graph of a parsed cfg. All key faults are told together; of wiring and sizes the first."""
    stated = reading.dialect or _stated(document)
    told = tell(stated, evidence(document), otherwise=reading.otherwise, path=document.path)
    net, sections = _sections(document, told.dialect, strict=reading.strict)
    image = net.input_shape(reading.size)
    for section in sections:
        section.image = image
    nodes = _with_last_uses(list(_wired(sections, image, net)), image)
    outputs = tuple(node.index for node in nodes if node.section.is_head) or _last_prediction(nodes)
    warnings = tuple(warning for section in (net, *sections) for warning in section.warnings)
    notes = _notes(sections) if told.assumed and told.dialect.name == "darknet" else ()
    return Graph(document, told.dialect, net, image, nodes, outputs, warnings, notes)


def evidence(document: Document) -> Iterator[Evidence]:
    """The sections, keys and activations of a cfg that only one dialect has."""
    for raw in document.sections[1:]:
        section = SECTIONS.get(raw.name)
        if section is None:
            continue
        if len(section.dialects) == 1:
            yield Evidence(section.dialects[0], raw.line, f"[{raw.name}]")
            continue
        yield from _evidence_of_keys(raw, section)


def _evidence_of_keys(raw: RawSection, section: type[Section]) -> Iterator[Evidence]:
    for entry in raw.entries:
        if entry.key == "activation":
            word = uncommented(entry.value)
            names = ACTIVATIONS.get(word, ())
            if len(names) == 1:
                yield Evidence(names[0], entry.number, f"activation={word}", weak=names[0] == "yolor")
        known = entry.key in section.own_keys() or entry.key in section.ignored
        if known and entry.key not in YOLOR_KEYS and entry.value:
            yield Evidence("darknet", entry.number, f"{entry.key}=")


def _stated(document: Document) -> str | None:
    values = [line.value for line in document.sections[0].entries if line.key == "dialect"]
    return uncommented(values[0]) if values else None


def _sections(document: Document, dialect: Dialect, *, strict: bool) -> tuple[Net, list[Section]]:
    """Every section with its keys read; raises CfgFaults with all that is wrong with them."""
    net = Net(document.sections[0], index=IMAGE, dialect=dialect, path=document.path)
    told = dialect._replace(bn_eps=net.bn_eps or dialect.bn_eps)
    sections: list[Section] = []
    faults = list(net.faults) + (net.warnings if strict else [])
    for index, raw in enumerate(document.sections[1:]):
        kind = SECTIONS.get(raw.name)
        if kind is None or kind is Net:
            faults.append(_unknown_section(raw, index, document.path))
            continue
        section = kind(raw, index=index, dialect=told, path=document.path)
        faults += section.faults + (section.warnings if strict else [])
        sections.append(section)
    if faults:
        raise CfgFaults(faults, document.path) if len(faults) > 1 else faults[0]
    return net, sections


def _unknown_section(raw: RawSection, index: int, path: str) -> CfgError:
    if SECTIONS.get(raw.name) is Net:
        return CfgError(
            "a second [net]",
            path=path,
            line=raw.line,
            section=raw.name,
            number=index,
            hint="one file describes one network: [net] stands once, at the top",
        )
    hint = closest(raw.name, sorted(SECTIONS)) or "it may be a private section of a fork"
    return CfgError(
        "unknown section",
        path=path,
        line=raw.line,
        section=raw.name,
        number=index,
        found=f"[{raw.name}]",
        hint=f"{hint} (yolor info --sections lists all)",
    )


def _wired(sections: Sequence[Section], image: Shape, net: Net) -> Iterator[Node]:
    shapes: dict[int, Shape] = {IMAGE: image}
    nodes: list[Node] = []
    for section in sections:
        sources = section.sources()
        inputs = tuple(shapes[source] for source in sources)
        shape = _sized(section, inputs, net)
        lender = section.lender()
        if lender is not None:
            section.fit(nodes[lender].section.tensors(*nodes[lender].inputs), *inputs)
        shapes[section.index] = shape
        nodes.append(Node(section.index, section, sources, inputs, shape))
        yield nodes[-1]


def _sized(section: Section, inputs: tuple[Shape, ...], net: Net) -> Shape:
    """The section's shape; a size that no longer divides is said in terms of the image, where it can be
    mended."""
    try:
        shape = section.shape(*inputs)
    except CfgError as fault:
        if fault.message == "inputs differ in size" and not fault.hint:
            fault.hint = net.fitting_sizes(section.image)
        raise
    if min(shape) < 1:
        raise section.error(
            "",
            "nothing is left of the image here",
            found=f"output {shape} of input {inputs[0]}",
            hint=net.fitting_sizes(section.image) or "a larger width and height in [net], or fewer strides",
        )
    return shape


def _with_last_uses(nodes: list[Node], image: Shape) -> tuple[Node, ...]:
    last_use = {source: node.index for node in nodes for source in node.sources}
    freed: dict[int, list[int]] = {}
    for source, user in last_use.items():
        freed.setdefault(user, []).append(source)
    return tuple(
        Node(n.index, n.section, n.sources, n.inputs, n.shape, tuple(sorted(freed.get(n.index, ()))))
        for n in nodes
    )


def _last_prediction(nodes: Sequence[Node]) -> tuple[int, ...]:
    return tuple(node.index for node in nodes if not node.section.is_loss)[-1:]


def _notes(sections: Sequence[Section]) -> tuple[str, ...]:
    """What differs between the dialects in this file, when darknet was only assumed."""
    differs = sorted({f"[{section.raw.name}]" for section in sections if section.differs_by_dialect()})
    if not differs:
        return ()
    return (
        f"read as darknet dialect, in which {', '.join(differs)} differ from YOLOR's; "
        "--dialect yolor for the other",
    )
