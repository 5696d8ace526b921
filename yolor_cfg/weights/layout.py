"""What a `.weights` file holds, in which order, and what depends on the class count. No torch here.

Offsets and sizes count float32 values after the header unless a name says bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from yolor_cfg.errors import CfgError, WeightsError, count_of
from yolor_cfg.graph import Graph, Node
from yolor_cfg.sections import Section, TensorSpec
from yolor_cfg.shape import Shape

FLOAT_BYTES = 4
MAX_CLASSES = 2000  # the largest class count that is tried
MAX_SHORT_SEEN = 2**32 - 1
NORM_ROLES = frozenset(("scale", "mean", "variance"))


class WeightsHeader(NamedTuple):
    """The start of a `.weights` file: the version and the number of images seen in training; with `is_short`
    that number has 4 bytes whatever the version."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0
    is_short: bool = False

    @property
    def size_bytes(self) -> int:
        """20 from version 0.2 on; 16 before, when `seen` had 4 bytes."""
        return 20 if self.major * 10 + self.minor >= 2 and not self.is_short else 16

    @property
    def is_transposed(self) -> bool:
        """True for files that store the matrices of connected layers as (inputs, outputs)."""
        return self.major > 1000 or self.minor > 1000

    @property
    def version(self) -> str:
        """`major.minor.revision`."""
        return f"{self.major}.{self.minor}.{self.revision}"

    @classmethod
    def from_bytes(cls, head: bytes, *, is_short: bool = False) -> WeightsHeader:
        """The header at the start of `head`; raises WeightsError if it is truncated."""
        if len(head) >= 16:
            major, minor, revision = struct.unpack_from("<3i", head)
            version = cls(major, minor, revision, is_short=is_short)
            if len(head) >= version.size_bytes:
                return version._replace(seen=struct.unpack_from(version._seen_format, head, 12)[0])
        raise WeightsError(
            "shorter than the header of a weights file",
            found=count_of(len(head), "byte"),
            allowed="20 bytes (16 before version 0.2) and the weights",
            hint="the download or the copy did not finish: fetch the file again",
        )

    def to_bytes(self) -> bytes:
        """The header as bytes of the file."""
        return struct.pack("<3i", *self[:3]) + struct.pack(self._seen_format, self.seen)

    @property
    def _seen_format(self) -> str:
        return "<Q" if self.size_bytes == 20 else "<I"


def new_header(graph: Graph, seen: int = 0) -> WeightsHeader:
    """The header of a new file: that of version 0.1 for a program that reads no more than 16 bytes."""
    if graph.dialect.has_short_header:
        return WeightsHeader(0, 1, 0, min(seen, MAX_SHORT_SEEN))
    return WeightsHeader(seen=seen)


class TensorSlot(NamedTuple):
    """A tensor in the file: its node's index, its spec, and its offset."""

    index: int  # type: ignore[assignment]  # it hides tuple.index
    spec: TensorSpec
    offset: int

    @property
    def name(self) -> str:
        """The name in the network's state dict."""
        return f"module_list.{self.index}.{self.spec.name}"

    @property
    def end(self) -> int:
        """The offset of the next tensor."""
        return self.offset + self.spec.size


class ReadPlan(NamedTuple):
    """How to read a file: its header, the tensors it holds, and notes for the user."""

    path: str
    header: WeightsHeader
    slots: tuple[TensorSlot, ...]
    notes: tuple[str, ...] = ()


# Selects the tensors that a file holds from all of a section's tensors.
TensorFilter = Callable[[Section, Sequence[TensorSpec]], Sequence[TensorSpec]]


def all_tensors(section: Section, tensors: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    """All tensors: what is written."""
    return tensors


def loadable_tensors(section: Section, tensors: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    """Without those that the cfg says are not in the file (dontload, dontloadscales)."""
    if section.dontload:
        return ()
    # A standalone batch norm has no weight, a recurrent section several: Darknet skips the scales of neither.
    if section.dontloadscales and sum(tensor.role == "weight" for tensor in tensors) == 1:
        return [tensor for tensor in tensors if tensor.role not in NORM_ROLES]
    return tensors


def yolor_tensors(section: Section, tensors: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    """What YOLOR's own code writes: plain convolutions with their batch norm, nothing else; its relatives
    write some of their own sections too."""
    plain = any(tensor.name == "Conv2d.weight" for tensor in tensors)
    return loadable_tensors(section, tensors) if plain or section.is_stored_by_its_program else ()


def file_layout(
    graph: Graph, tensor_filter: TensorFilter = all_tensors, *, end: int | None = None
) -> list[TensorSlot]:
    """The tensors of the file in order; with `end`, only those of the layers before it."""
    slots: list[TensorSlot] = []
    offset = 0
    for node in graph.nodes[:end]:
        for spec in tensor_filter(node.section, node.tensors):
            slots.append(TensorSlot(node.index, spec, offset))
            offset = slots[-1].end
    return slots


def count_floats(slots: Sequence[TensorSlot]) -> int:
    """How many values a file with these tensors holds."""
    return slots[-1].end if slots else 0


class ClassTensor(NamedTuple):
    """A tensor whose size depends on the class count: `channels` = per_class x classes + a constant. If it
    `is_by_anchor`, each of `per_class` anchors has the numbers of its box, then those of its classes; the
    last `spare` channels are an embedding."""

    channels: int
    per_class: int
    classes: int
    is_by_anchor: bool = True
    spare: int = 0

    def to_channels(self, classes: int) -> int:
        """The length of that axis for another class count."""
        return self.channels + self.per_class * (classes - self.classes)

    def to_classes(self, channels: int) -> int | None:
        """The class count that gives this length, if there is one."""
        steps, rest = divmod(channels - self.channels, self.per_class)
        return None if rest or self.classes + steps < 1 else self.classes + steps


def class_tensors(graph: Graph) -> dict[str, ClassTensor]:
    """The tensors, by state-dict name, whose size depends on the class count of the heads: those of the
    convolution before each head, and the implicit vectors combined with its output."""
    found: dict[str, ClassTensor] = {}
    for head in (node for node in graph.heads if node.inputs):  # an implicit section reads nothing
        per_class = _channels_per_class(head)
        if per_class:
            by_anchor = "anchors" in head.section.keys
            channels, classes = head.inputs[0].channels, _class_count(head.section)
            spare = int(getattr(head.section, "embedding", 0))
            tensor = ClassTensor(channels, per_class, classes, is_by_anchor=by_anchor, spare=spare)
            found.update(dict.fromkeys(_head_tensor_names(graph, head), tensor))
    return found


def find_class_count(heads: dict[str, ClassTensor], slots: Iterable[TensorSlot], wanted: int) -> int | None:
    """The class count for which these tensors hold `wanted` values: their size is linear in it."""
    fixed = per_class = 0
    for slot in slots:
        tensor = heads.get(slot.name)
        fixed += slot.spec.size
        if tensor is not None:
            rows = slot.spec.size // tensor.channels * tensor.per_class
            fixed -= rows * tensor.classes
            per_class += rows
    if not per_class or (wanted - fixed) % per_class:
        return None
    classes = (wanted - fixed) // per_class
    return classes if 1 <= classes <= MAX_CLASSES else None


def resize_classes(
    heads: dict[str, ClassTensor], slots: Iterable[TensorSlot], classes: int
) -> Iterator[TensorSlot]:
    """The slots with the shapes and offsets that they have with another class count."""
    offset = 0
    for slot in slots:
        spec, tensor = slot.spec, heads.get(slot.name)
        if tensor is not None:
            wide = tensor.to_channels(classes)
            shape = list(spec.shape)
            shape[shape.index(tensor.channels)] = wide
            spec = spec._replace(shape=tuple(shape))
        yield TensorSlot(slot.index, spec, offset)
        offset += spec.size


def format_class_hint(heads: dict[str, ClassTensor], classes: int) -> str:
    """`classes=20 would fit`, with the matching number of filters if all heads agree on it."""
    filters = {tensor.to_channels(classes) for tensor in heads.values()}
    return f"classes={classes} would fit" + (
        f" (filters={filters.pop()} before the head)" if len(filters) == 1 else ""
    )


def _class_count(section: Section) -> int:
    return getattr(section, "classes", 0) if "classes" in section.keys else 0


def _channels_per_class(head: Node) -> int:
    """How many channels one more class would add, found by asking the section; 0 if it has no classes."""
    classes, x = _class_count(head.section), head.inputs[0]
    larger = head.section.replace_values(classes=classes + 1)
    if classes < 1 or _can_take(larger, x):
        return 0  # no classes, or any number of channels will do
    steps = range(1, x.channels // classes + 1)
    return next((step for step in steps if _can_take(larger, x._replace(channels=x.channels + step))), 0)


def _can_take(section: Section, x: Shape) -> bool:
    try:
        return bool(section.shape(x))
    except CfgError:
        return False


def _head_tensor_names(graph: Graph, head: Node) -> Iterator[str]:
    """The tensors with the head's channels as an axis, back to the section that produces these channels."""
    channels = head.inputs[0].channels
    waiting = list(head.sources)
    while waiting:
        index = waiting.pop()
        if index < 0 or graph.nodes[index].shape.channels != channels:
            continue
        node = graph.nodes[index]
        tensors = node.tensors
        yield from (TensorSlot(index, spec, 0).name for spec in tensors if channels in spec.shape)
        made_here = any(len(t.shape) > 1 and t.shape[0] == channels and t.role == "weight" for t in tensors)
        waiting += () if made_here else node.sources
