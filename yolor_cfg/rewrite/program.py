"""A network as a program of steps that can be rewritten and turned back into a network.

A step is a section with its module. Sections refer to each other by number, steps by reference, so steps can
be removed, added and moved. `Program.build_network()` writes the cfg text and gives the network its tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node, ReadOptions, build_graph
from yolor_cfg.lang.keys import strip_comment
from yolor_cfg.lang.lists import RefList
from yolor_cfg.lang.syntax import COMMENT, ENTRY, Line, RawSection, parse
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.dropblock import DropBlock

# How our own cfgs refer to sections by number in their comments.
RANGE_IN_COMMENT = re.compile(r"\bsections (\d+)\.\.(\d+)")
NUMBER_IN_COMMENT = re.compile(r"^# (\d+) is ")
FILE_KEYS = ("flipped", "dontload", "dontloadscales")  # how the file that was read holds the tensors
UNREAD_REF_KEYS = ("share_index", "embedding_layer")  # keys that refer to a section without reading its value


@dataclass(eq=False)
class ProgramStep:
    """A section of the program: its name, its module, its keys as text (without those that refer to other
    sections), and the steps that it reads. `refs` is the key that lists these; with `before`, the first of
    them is not listed, but is the step directly before."""

    name: str
    module: nn.Module
    keys: dict[str, str] = field(default_factory=dict)
    sources: list[ProgramStep] = field(default_factory=list)
    refs: str = ""
    before: bool = True
    channels: int = 0
    comments: tuple[str, ...] = ()
    links: dict[str, list[ProgramStep]] = field(default_factory=dict)  # referred to by a key, but not read
    relative: tuple[bool, ...] = ()  # how the references were written
    node: Node | None = None  # from the cfg that was read; None for new steps
    origin: int = -1  # index in the cfg that was read; for a new step, that of the step it replaces

    @property
    def section(self) -> Any:
        """The section of the cfg that was read; None for new steps."""
        return self.node.section if self.node else None

    @property
    def is_alias(self) -> bool:
        """Whether it gives its one input out, as it is; dropout does so outside of training."""
        section = self.section
        if section is None or section.is_head or section.is_loss or len(self.sources) != 1:
            return False
        return bool(section.is_alias) or isinstance(self.module, (nn.Identity, nn.Dropout, DropBlock))

    @property
    def title(self) -> str:
        """`[name #index]` as in the cfg that was read."""
        return f"[{self.name} #{self.node.index}]" if self.node else f"[{self.name}]"

    def error(self, message: str, *, found: str = "", allowed: str = "", hint: str = "") -> CfgError:
        """A CfgError located at this section of the cfg that was read."""
        if self.section is None:
            return CfgError(message, section=self.name, found=found, allowed=allowed, hint=hint)
        fault: CfgError = self.section.error("", message, found=found, allowed=allowed, hint=hint)
        return fault


class Program:
    """The steps of a network in order. `image` stands for the input of the first one; `outputs` are the steps
    whose values the network returns."""

    def __init__(self, network: Network) -> None:
        self.graph: Graph = network.graph
        self.network = network
        self.image = ProgramStep("image", nn.Identity(), channels=self.graph.image.channels)
        self.dialect = self.graph.dialect.name
        self.steps: list[ProgramStep] = []
        by_index = {-1: self.image}
        comments = _trailing_comments(self.graph.document.sections[0]) if self.graph.document.has_net else ()
        for node, module in zip(self.graph.nodes, network.module_list, strict=True):
            step = _make_step(node, module, by_index)
            step.comments, comments = comments, _trailing_comments(node.section.raw)
            by_index[node.index] = step
            self.steps.append(step)
        for step in self.steps:
            step.links = {
                key: [by_index[index] for index in found] for key, found in _find_links(step).items()
            }
        self.outputs = [by_index[index] for index in self.graph.outputs]
        self._own = frozenset(network.module_list)
        self.net = _net_lines(self.graph)
        floats = (p.dtype for p in network.parameters() if p.is_floating_point())
        self.dtype = next(floats, torch.float32)
        self._set_dialect()

    def readers(self, step: ProgramStep) -> list[ProgramStep]:
        """The steps that read this one, in order, repeated if they read it more than once."""
        return [reader for reader in self.steps for source in reader.sources if source is step]

    def shares(self, step: ProgramStep) -> bool:
        """True if the step shares weights with another one, in either direction."""
        is_source = any(step in other.links.get("share_index", ()) for other in self.steps)
        return is_source or "share_index" in step.links

    def replace(self, old: ProgramStep, new: ProgramStep) -> None:
        """Make every step that reads or refers to `old` use `new` instead, and remove `old`."""
        for step in self.steps:
            step.sources = [new if source is old else source for source in step.sources]
            for linked in step.links.values():
                linked[:] = [new if source is old else source for source in linked]
        self.outputs = [new if step is old else step for step in self.outputs]
        new.origin = old.origin if new.origin < 0 else new.origin
        if old in self.steps:
            self.steps.remove(old)

    def insert(self, new: ProgramStep, *, before: ProgramStep) -> ProgramStep:
        """Insert a step directly before another one."""
        self.steps.insert(self.steps.index(before), new)
        return new

    def insert_after(self, new: ProgramStep, step: ProgramStep) -> ProgramStep:
        """Insert a step directly after another one (after the image: at the start)."""
        self.steps.insert(0 if step is self.image else self.steps.index(step) + 1, new)
        return new

    def set_net(self, key: str, value: str | None) -> None:
        """Set a key of [net]; None removes it."""
        self.net = [(name, text) for name, text in self.net if name != key]
        if value is not None:
            self.net.append((key, f"{key}={value}"))

    def add_comment(self, text: str) -> None:
        """Add a comment at the top of the file, unless it is already there."""
        if ("", text) not in self.net:
            self.net.insert(0, ("", text))

    def text(self) -> str:
        """The program as cfg text."""
        return (
            "\n\n".join(["\n".join(text for _, text in self.net), *_format_steps(self._ordered_steps())])
            + "\n"
        )

    def build_network(self) -> Network:
        """The network of the program, in eval mode. It shares no tensor with the original."""
        steps = self._ordered_steps()
        size = (self.graph.image.height, self.graph.image.width)
        reading = ReadOptions(self.dialect, size if self.graph.image.area > 1 else None)
        graph = build_graph(parse(self.text(), self.graph.path), reading)
        with torch.device("meta"):
            network = Network(graph)
        network.load_state_dict(dict(self._tensors(steps)), strict=True, assign=True)
        for layer, step in zip(network.module_list, steps, strict=True):
            _copy_constants(layer, step.module, like=self.network)
        return network.eval()

    def _tensors(self, steps: Iterable[ProgramStep]) -> Iterator[tuple[str, Tensor]]:
        """The names and copies of all tensors, with the network's dtype and device."""
        device = next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))
        for index, step in enumerate(steps):
            for name, tensor in step.module.state_dict().items():
                dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
                unchanged = step.module in self._own
                yield f"module_list.{index}.{name}", tensor.to(device, dtype, copy=unchanged)

    def _ordered_steps(self) -> list[ProgramStep]:
        """The steps, with a [route] wherever the step before is not the one that is read, and at the end if
        the last prediction is not the last step."""
        steps: list[ProgramStep] = []
        for step in self.steps:
            previous = steps[-1] if steps else self.image
            if step.before and step.sources[0] is not previous:
                steps.append(make_route(step.sources[0]))
            steps.append(step)
        if not self.outputs:
            return steps  # losses alone
        predictions = [step for step in steps if not (step.section and step.section.is_loss)]
        last = self.outputs[-1]
        if last is not predictions[-1] and not (last.section and last.section.is_head):
            steps.append(make_route(last))
        return steps

    def _set_dialect(self) -> None:
        """State in [net] what could not be inferred from the rewritten text."""
        self.set_net("dialect", self.dialect)
        usual = self.graph.net.bn_eps or self.graph.dialect.bn_eps
        norms = [module for module in self.network.modules() if isinstance(module, _BatchNorm)]
        eps = {norm.eps for norm in norms} or {usual}
        if eps != {usual}:
            assert len(eps) == 1, eps
            self.set_net("bn_eps", repr(eps.pop()))


def _copy_constants(layer: nn.Module, original: nn.Module, *, like: Network) -> None:
    """Give a layer without storage the buffers that are not part of a state, such as biases of zero."""
    values = dict(original.named_buffers())
    missing = [name for name, buffer in layer.named_buffers() if buffer.is_meta]
    for name in missing:
        owner, _, last = name.rpartition(".")
        kind = next(iter(like.parameters()), values[name])
        setattr(layer.get_submodule(owner), last, values[name].to(kind.device, kind.dtype, copy=True))


def make_pointwise(matrix: Tensor, shift: Tensor, *, source: ProgramStep) -> ProgramStep:
    """The 1x1 convolution that computes matrix [D, C] @ x + shift [D] in every cell."""
    convolution = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1)
    convolution.weight = nn.Parameter(matrix[:, :, None, None].clone())
    convolution.bias = nn.Parameter(shift.clone())
    keys = {"filters": str(len(shift)), "size": "1", "stride": "1", "activation": "linear"}
    return ProgramStep(
        "convolutional", ConvBlock(convolution, None, "linear"), keys, [source], channels=len(shift)
    )


def make_route(*sources: ProgramStep) -> ProgramStep:
    """A [route] that concatenates the sources."""
    channels = sum(source.channels for source in sources)
    return ProgramStep(
        "route", nn.Identity(), sources=list(sources), refs="layers", before=False, channels=channels
    )


def _make_step(node: Node, module: nn.Module, by_index: dict[int, ProgramStep]) -> ProgramStep:
    """The step of a node whose sources already have steps."""
    section = node.section
    keys = {name: strip_comment(line.value) for name, line in section.lines.items() if name not in FILE_KEYS}
    step = ProgramStep(
        section.raw.name,
        module,
        keys,
        [by_index[index] for index in node.sources],
        channels=node.shape.channels,
        node=node,
        origin=node.index,
    )
    for name, key in section.keys.items():
        if not isinstance(key, RefList) or name not in section.values:
            continue
        references = section.values[name]
        listed = tuple(ref if ref >= 0 else section.index + ref for ref in references)
        if listed and listed == node.sources[-len(listed) :]:
            step.refs, step.relative = name, tuple(ref < 0 for ref in references)
            step.before = len(listed) < len(node.sources)
            keys.pop(name)
    step.before &= bool(node.sources) and node.sources[0] == section.index - 1
    return step


def _find_links(step: ProgramStep) -> dict[str, list[int]]:
    """The keys that refer to sections without reading them, with the indices of these sections."""
    assert step.section is not None
    named: dict[str, list[int]] = {}
    for name, value in step.section.values.items():
        if name in UNREAD_REF_KEYS or (isinstance(step.section.keys[name], RefList) and name != step.refs):
            references = value if isinstance(value, tuple) else (value,)
            named[name] = [ref if ref >= 0 else step.section.index + ref for ref in references]
            step.keys.pop(name, None)
    return named


def _trailing_comments(raw: RawSection) -> tuple[str, ...]:
    """The comments after the last entry of a section: they belong to the next one."""
    texts: list[str] = []
    for line in raw.lines[1:]:
        texts = [] if line.kind == ENTRY else texts + [line.value] * (line.kind == COMMENT)
    return tuple(texts)


def _net_lines(graph: Graph) -> list[tuple[str, str]]:
    """Key and text of each line from the start of the file to the end of [net]."""
    document = graph.document
    behind = len(_trailing_comments(document.net))
    lines = [_format_net_line(line) for line in document.net.lines[1:] if line.kind in (COMMENT, ENTRY)]
    prelude = [("", line.value) for line in document.prelude if line.kind == COMMENT]
    return [*prelude, ("", "[net]"), *lines[: len(lines) - behind]]


def _format_net_line(line: Line) -> tuple[str, str]:
    return (line.key, f"{line.key}={line.value}") if line.kind == ENTRY else ("", line.value)


def _format_steps(steps: Sequence[ProgramStep]) -> Iterator[str]:
    """The text of each step."""
    number = {step: i for i, step in enumerate(steps)}
    moved = {step.origin: i for i, step in enumerate(steps) if step.origin >= 0}
    for i, step in enumerate(steps):
        listed = step.sources[1:] if step.before else step.sources
        named = {step.refs: listed} if step.refs else {}
        lines = [f"{key}={value}" for key, value in step.keys.items()]
        for key, targets in {**named, **step.links}.items():
            ways = step.relative if len(step.relative) == len(targets) else [False] * len(targets)
            refs = [number[target] - i * way for target, way in zip(targets, ways, strict=True)]
            lines.insert(0, f"{key}={','.join(map(str, refs))}")
        heading = [text for comment in step.comments for text in _renumber_comment(comment, moved)]
        yield "\n".join([*heading, *[""] * bool(heading), f"[{step.name}]", *lines])


def _renumber_comment(comment: str, moved: dict[int, int]) -> Iterator[str]:
    """The comment with the new numbers of the sections it refers to; nothing if none of them is left."""
    named, span = NUMBER_IN_COMMENT.match(comment), RANGE_IN_COMMENT.search(comment)
    old = range(int(span[1]), int(span[2]) + 1) if span else [int(named[1])] if named else []
    new = [moved[index] for index in old if index in moved]
    if span and new:
        comment = comment.replace(span[0], f"sections {min(new)}..{max(new)}")
    elif named and new:
        comment = comment.replace(named[1], str(new[0]), 1)
    if new or not old:
        yield comment
