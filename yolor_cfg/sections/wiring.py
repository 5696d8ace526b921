"""How the sections of a file are connected and sized, and the faults in that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.keys import INT32_MAX, Answers
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.tensors import TensorSpec
from yolor_cfg.shape import FlatShape, Shape

T = TypeVar("T")
IMAGE_INDEX = -1  # the index that stands for the image
COMMON_STRIDES = (2, 4, 8, 16, 32, 64, 128, 256)  # multiples to try for a size that does not fit


@dataclass(slots=True)  # not frozen: that would make it four times as slow to build
class Node:
    """A section in its graph: what it reads, the shape of its output, which values are last used here."""

    index: int
    section: Section
    sources: tuple[int, ...]
    inputs: tuple[Shape, ...]
    shape: Shape
    tensors: tuple[TensorSpec, ...] = ()
    freed_sources: tuple[int, ...] = ()
    answers: Answers = field(default_factory=Answers, repr=False, compare=False)

    def derive(self, make: Callable[[Node], T]) -> T:
        """`make(self)`, worked out once for all nodes with the same text and inputs: it may go by nothing
        else."""
        if make not in self.answers:
            self.answers[make] = make(self)
        found: T = self.answers[make]
        return found

    @property
    def line(self) -> int:
        """The cfg line of the section's header."""
        return self.section.line


class Wiring(NamedTuple):
    """The sections that could be sized, by number, the faults of the others, and all known sizes, among them
    that of the image if the file gives one."""

    nodes: dict[int, Node]
    faults: list[CfgError]
    shapes: dict[int, Shape]


def connect_sections(sections: Iterable[Section], image: Shape, *, most: float = math.inf) -> Wiring:
    """Each section with what it reads and its size, in order, until there are `most` faults; those that a
    fault touches are left out."""
    wiring = Wiring({}, [], {IMAGE_INDEX: image} if all(image) else {})
    for section in sections:
        if len(wiring.faults) < most:
            _connect_section(section, wiring)
    if not wiring.faults:
        _refuse_unread_joins(wiring)
    return wiring


def _connect_section(section: Section, wiring: Wiring) -> None:
    """Add the section, or its faults. A faulty key that is not needed for its size hides nothing."""
    nodes, shapes = wiring.nodes, wiring.shapes
    inputs, sources, tensors = tuple[Shape, ...](), tuple[int, ...](), tuple[TensorSpec, ...]()
    try:
        sources = section.sources()
        if "" in section.unusable or not shapes or not shapes.keys() >= set(sources):
            return  # what it reads is not known
        inputs = tuple([shapes[source] for source in sources])
        if FlatShape in map(type, inputs) and not section.reads_vectors:
            _check_maps(section, sources, nodes)
        answers = section.recall(inputs)
        if size_section not in answers:
            answers[size_section] = size_section(section, *inputs)
        shape, tensors = answers[size_section]
        _check_borrowed(section, inputs, nodes)
    except CfgError as fault:
        if fault not in section.faults:
            wiring.faults.append(fault)
        if not section.is_head or not inputs:
            return
        shape, answers = inputs[0], Answers()  # nothing that follows depends on the shape
    nodes[section.index] = Node(section.index, section, sources, inputs, shape, tensors, (), answers)
    shapes[section.index] = shape


def _refuse_unread_joins(wiring: Wiring) -> None:
    """A vector of maps of different sizes that nothing reads is hardly meant."""
    read = {source for node in wiring.nodes.values() for source in node.sources}
    for index in sorted(wiring.nodes.keys() - read):
        try:
            _find_flat_origin((index,), wiring.nodes)
        except CfgError as fault:
            wiring.faults.append(fault)


def _check_maps(section: Section, sources: Iterable[int], nodes: Mapping[int, Node]) -> None:
    """Raise CfgError if a source is a vector without height and width, as C Darknet does for what needs a
    map."""
    origin = _find_flat_origin(sources, nodes)
    if origin is not None:
        name, numbers = f"[{origin.section.type}] #{origin.index}", origin.shape.size
        raise section.error(
            "",
            "needs a feature map",
            found=f"{name} gives {numbers} numbers without height and width",
            hint="C Darknet stops here: a section before it must output an image",
        )


def _find_flat_origin(sources: Iterable[int], nodes: Mapping[int, Node]) -> Node | None:
    """The section that makes a source a vector; raises CfgError if it joined maps of different sizes."""
    origin = None
    flat = [source for source in sources if source in nodes and not nodes[source].shape.is_map]
    while flat:
        origin = nodes[flat[0]]
        origin.section.check_map(*origin.inputs)
        flat = [one for one in origin.sources if origin.section.is_alias and not nodes[one].shape.is_map]
    return origin


def _check_borrowed(section: Section, inputs: tuple[Shape, ...], nodes: Mapping[int, Node]) -> None:
    """Raise CfgError where a section that it is told about, or a tensor that it borrows, does not fit."""
    other = section.reference()
    if other is not None and other in nodes:
        section.check_reference(nodes[other].section)
    lender = section.weight_source()
    if lender is not None and lender in nodes:
        section.check_shared_weights(nodes[lender].tensors, *inputs)


def size_section(section: Section, *inputs: Shape) -> tuple[Shape, tuple[TensorSpec, ...]]:
    """The size of its output and its tensors; raises CfgError where an input does not fit, or the size is
    absurd."""
    shape = section.shape(*inputs)
    if min(shape) < 1:
        raise section.error(
            "",
            "the output is empty here",
            found=_format_output(shape, inputs),
            hint="use a larger width and height in [net], or smaller strides",
        )
    tensors = tuple(section.tensors(*inputs))
    largest = max([shape.size, *(tensor.size for tensor in tensors)])
    if largest > INT32_MAX:  # C Darknet counts in 32 bits; such a tensor would not fit in memory anyway
        found = f"{largest} values: {_format_output(shape, inputs)}"
        raise section.error("", "too large", found=found, allowed=f"{INT32_MAX} values per tensor")
    return shape, tensors


def _format_output(shape: Shape, inputs: Sequence[Shape]) -> str:
    return f"output {shape}" + (f" from input {inputs[0]}" if inputs else "")


def find_size_error(fault: CfgError, sections: Sequence[Section], net: Section) -> CfgError | None:
    """The error in terms of the image size, if a nearby size fits."""
    image = net.image
    tries = [stride for stride in COMMON_STRIDES if image.area > 1 and _round_up(image, stride) != image]
    stride = next((stride for stride in tries if _is_valid_size(sections, _round_up(image, stride))), 0)
    if not stride:
        return None
    rounded = _round_up(image, stride)
    largest = find_largest_stride(sections, rounded)
    stride = largest if largest % stride == 0 else stride
    multiple = f"a multiple of {stride}" + (", the largest stride" if stride == largest else "")
    odd = [name for name in ("width", "height") if getattr(image, name) % stride]
    near = {getattr(image, name) // stride * stride + more for name in odd for more in (0, stride)}
    rest = _round_up(image, stride)
    fitting = [
        n for n in sorted(near) if n and _is_valid_size(sections, rest._replace(**dict.fromkeys(odd, n)))
    ]
    return net.error(
        odd[0],
        "the image size does not fit"
        if any(n < max(image[1:]) for n in fitting)
        else "the image is too small",
        found=", ".join(f"{name}={getattr(image, name)}" for name in odd),
        allowed=[str(size) for size in fitting],
        hint=f"use {multiple}; otherwise, on line {fault.line}: {fault.message}",
    )


def _round_up(image: Shape, stride: int) -> Shape:
    """Height and width rounded up to multiples of the stride."""
    height, width = (-(-length // stride) * stride for length in (image.height, image.width))
    return image._replace(height=height, width=width)


def _is_valid_size(sections: Sequence[Section], image: Shape) -> bool:
    return not connect_sections(sections, image, most=1).faults


def find_largest_stride(sections: Sequence[Section], image: Shape) -> int:
    """The largest number of input pixels per cell of any feature map: where the image is twice as large, and
    a map of one cell is told from a vector."""
    image = image if image.area == 1 else image._replace(height=2 * image.height, width=2 * image.width)
    nodes = connect_sections(sections, image).nodes.values()
    maps = [node.shape for node in nodes if node.shape.area > 1]
    return max((round(max(image.height / x.height, image.width / x.width)) for x in maps), default=1)


def depends_on_size(nodes: Sequence[Node], image: Shape) -> bool:
    """Whether a larger image needs other tensors, as behind [connected], or does not fit at all."""
    larger = image._replace(height=2 * image.height, width=2 * image.width)
    wired = connect_sections([node.section for node in nodes], larger)
    return bool(wired.faults) or any(wired.nodes[node.index].tensors != node.tensors for node in nodes)
