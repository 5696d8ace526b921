"""Checks from a file's first bytes and its length whether it fits a network, and explains why if not.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yolor_cfg.errors import WeightsError, count_of
from yolor_cfg.files import FILE_KIND_HINTS, find_file_kind
from yolor_cfg.graph import Graph
from yolor_cfg.sections import Section, TensorSpec
from yolor_cfg.weights.layout import (
    FLOAT_BYTES,
    ReadPlan,
    TensorFilter,
    TensorSlot,
    WeightsHeader,
    all_tensors,
    class_tensors,
    count_floats,
    file_layout,
    find_class_count,
    format_class_hint,
    loadable_tensors,
    resize_classes,
    yolor_tensors,
)
from yolor_cfg.weights.prefix import FilePrefix, check_cutoff, cutoff_note

SHORT_HEADER = 16  # bytes, before version 0.2


def plan_read(graph: Graph, file: FilePrefix, *, cutoff: int | None = None) -> ReadPlan:
    """A plan under which the file's length fits the network; raises a WeightsError that explains a misfit.

    With `cutoff`, only the layers before it are read; the file may hold more.
    """
    check_cutoff(graph, cutoff)
    header = _parse_header(file, graph)
    for tensor_filter, note in _tensor_filters(graph):
        slots = file_layout(graph, tensor_filter, end=cutoff)
        if header.size_bytes + FLOAT_BYTES * count_floats(slots) == file.size_bytes:
            notes = tuple(filter(None, [note, cutoff_note(graph, cutoff), _short_header_note(graph, header)]))
            return ReadPlan(file.path, header, tuple(slots), notes)
    plan = _plan_beginning(graph, file, header=header, cutoff=cutoff)
    if plan is None:
        raise _misfit_error(graph, file, header=header, cutoff=cutoff)
    return plan


def plan_transfer(graph: Graph, file: FilePrefix) -> ReadPlan:
    """Like `plan_read`, for a start of training: a file that ends after some layer, as backbones do, and one
    for another number of classes are read too; the slots have the shapes in the file."""
    try:
        return plan_read(graph, file)
    except WeightsError:
        header = _parse_header(file, graph)
        body = file.size_bytes - header.size_bytes
        ends = _last_layer(graph, body)
        if ends is not None:
            return plan_read(graph, file, cutoff=ends + 1)._replace(notes=())
        found = _find_class_layout(graph, body)
        if found is None:
            raise
        classes, tensor_filter, note = found
        slots = resize_classes(class_tensors(graph), file_layout(graph, tensor_filter), classes)
        notes = (f"the file is for {count_of(classes, 'class')}, the cfg for {_cfg_classes(graph)}", note)
        return ReadPlan(file.path, header, tuple(slots), tuple(filter(None, notes)))


def _cfg_classes(graph: Graph) -> str:
    return " and ".join(sorted({str(tensor.classes) for tensor in class_tensors(graph).values()}))


def _short_header_note(graph: Graph, header: WeightsHeader) -> str:
    """A note where the program of the dialect reads the header as if it were shorter."""
    if not graph.dialect.has_short_header or header.size_bytes == SHORT_HEADER:
        return ""
    return (
        f"{graph.dialect.program} takes the last {header.size_bytes - SHORT_HEADER} bytes of this header "
        f"(version {header.version}) for the first weight; here they are none"
    )


def _plan_beginning(
    graph: Graph, file: FilePrefix, *, header: WeightsHeader, cutoff: int | None
) -> ReadPlan | None:
    """A plan to read the layers before the cutoff from a file that holds more; None if it holds less."""
    body = file.size_bytes - header.size_bytes
    if cutoff is None or body % FLOAT_BYTES or _version_hint(header):
        return None
    filters = list(_tensor_filters(graph))
    whole = [each for each in filters if FLOAT_BYTES * count_floats(file_layout(graph, each[0])) == body]
    for tensor_filter, note in whole or filters:
        slots = file_layout(graph, tensor_filter, end=cutoff)
        rest = body // FLOAT_BYTES - count_floats(slots)
        if slots and rest > 0:
            unread = f"{rest} floats after them are not read"
            notes = tuple(filter(None, [note, cutoff_note(graph, cutoff), unread]))
            return ReadPlan(file.path, header, tuple(slots), notes)
    return None


def _tensor_filters(graph: Graph) -> Iterator[tuple[TensorFilter, str]]:
    """The sets of tensors that a file of this network may hold, each with a note for the user."""
    yield loadable_tensors, ""
    if not graph.dialect.is_pytorch:
        return
    written = {slot.index for slot in file_layout(graph, yolor_tensors)}
    left = [slot.index for slot in file_layout(graph, loadable_tensors) if slot.index not in written]
    kinds = sorted({f"[{graph.nodes[index].section.type}]" for index in left})
    if left:
        who = graph.dialect.program
        note = f"written by {who}, which leaves out the weights of {', '.join(kinds)}: "
        kept = count_of(len(set(left)), "layer")
        yield (
            yolor_tensors,
            note + kept + (" keeps its" if kept == "1 layer" else " keep their") + " initialisation",
        )
    last = len(graph.nodes) - 1
    if last in written and graph.dialect.omits_last_section:
        note = f"written by {graph.dialect.program}, which leaves out the last section: "
        yield _earlier_tensors, note + f"layer {last} keeps its initialisation"


def _earlier_tensors(section: Section, tensors: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    """What these programs write of all sections but the last."""
    return () if section.place.others[-1] is section else yolor_tensors(section, tensors)


def _parse_header(file: FilePrefix, graph: Graph) -> WeightsHeader:
    """The header of a file as the program of the dialect reads it."""
    kind = find_file_kind(file.first_bytes)
    if kind is not None:
        raise WeightsError(
            f"this is {kind}, not a weights file",
            path=file.path,
            found=_format_bytes(file.size_bytes),
            hint=FILE_KIND_HINTS.get(kind, ""),
        )
    try:
        header = WeightsHeader.from_bytes(file.first_bytes)
        if graph.dialect.old_header_is_short and header.is_transposed:
            return WeightsHeader.from_bytes(file.first_bytes, is_short=True)
        return header
    except WeightsError as fault:
        fault.path = file.path
        raise


# ---------------------------------------------------------------------- explaining a length that does not fit


def _misfit_error(
    graph: Graph, file: FilePrefix, *, header: WeightsHeader, cutoff: int | None
) -> WeightsError:
    """The error for a file whose length does not fit the network."""
    slots = file_layout(graph, loadable_tensors, end=cutoff)
    body = file.size_bytes - header.size_bytes
    message, general = _explain_length(graph, slots, body)
    close = [
        _no_cutoff_hint(graph, body, cutoff),
        _header_hint(file, header, slots),
        _class_count_hint(graph, body, cutoff),
        _cutoff_hint(graph, body),
        _version_hint(header),
    ]
    hints = [text for text in close if text] or [general]
    wanted = count_floats(slots)
    return WeightsError(
        message,
        path=file.path,
        found=_format_amount(body, file.size_bytes),
        hint="; ".join(hints),
        allowed=_format_amount(FLOAT_BYTES * wanted, FLOAT_BYTES * wanted + header.size_bytes),
    )


def _explain_length(graph: Graph, slots: Sequence[TensorSlot], body: int) -> tuple[str, str]:
    """Message and general hint for `body` bytes of weights."""
    missing = FLOAT_BYTES * count_floats(slots) - body
    ends = _last_layer(graph, body)
    if body == 0:
        return "a header but no weights", "the download or the copy did not finish: fetch the file again"
    if ends is not None and missing > 0:
        return f"this is the backbone up to {_format_layer(graph, ends)}", ""
    if missing > 0:
        cut = next(slot for slot in slots if FLOAT_BYTES * slot.end > body)
        hint = "the file is truncated or belongs to another network"
        return f"the file ends inside {_format_layer(graph, cut.index)}", hint
    surplus = _format_count(-missing / FLOAT_BYTES)
    return f"longer than the network by {surplus} floats", "it belongs to another network"


def _last_layer(graph: Graph, body: int) -> int | None:
    """The layer after which a file with this many bytes of weights ends, if further layers are missing."""
    for tensor_filter, _ in _tensor_filters(graph):
        end_of_layer = {slot.index: FLOAT_BYTES * slot.end for slot in file_layout(graph, tensor_filter)}
        for index in list(end_of_layer)[:-1]:
            if end_of_layer[index] == body:
                return index
    return None


def _cutoff_hint(graph: Graph, body: int) -> str:
    ends = _last_layer(graph, body)
    if ends is None:
        return ""
    return f"use --cutoff {ends + 1} to load it; the later layers keep their initialisation"


def _no_cutoff_hint(graph: Graph, body: int, cutoff: int | None) -> str:
    sizes = {
        FLOAT_BYTES * count_floats(file_layout(graph, tensor_filter))
        for tensor_filter, _ in _tensor_filters(graph)
    }
    return "the file holds all layers: it fits without --cutoff" if cutoff and body in sizes else ""


def _header_hint(file: FilePrefix, header: WeightsHeader, slots: Sequence[TensorSlot]) -> str:
    other = 36 - header.size_bytes
    if file.size_bytes - other != FLOAT_BYTES * count_floats(slots):
        return ""
    return (
        f"it would fit after a header of {other} bytes, but its version {header.version} means "
        f"{header.size_bytes}: the program that wrote it set the wrong version"
    )


def _class_count_hint(graph: Graph, body: int, cutoff: int | None) -> str:
    if body % FLOAT_BYTES:
        return ""
    found = _find_class_layout(graph, body, cutoff)
    if found is not None:
        return format_class_hint(class_tensors(graph), found[0])
    whole = FLOAT_BYTES * count_floats(file_layout(graph, all_tensors, end=cutoff)) == body
    return "it would fit without dontload= and dontloadscales=" if whole else ""


def _find_class_layout(
    graph: Graph, body: int, cutoff: int | None = None
) -> tuple[int, TensorFilter, str] | None:
    """The number of classes with which the network has `body` bytes of weights, the tensors that the file
    holds then, and a note; None if there is none."""
    heads = class_tensors(graph)
    for tensor_filter, note in _tensor_filters(graph):
        layout = file_layout(graph, tensor_filter, end=cutoff)
        classes = find_class_count(heads, layout, body // FLOAT_BYTES)
        if classes is not None and body % FLOAT_BYTES == 0:
            return classes, tensor_filter, note
    return None


def _version_hint(header: WeightsHeader) -> str:
    usual = (
        0 <= header.major < 10 and 0 <= header.minor < 100 or header.is_transposed and header.major < 10_000
    )
    return "" if usual else f"its version would be {header.version}: it may not be a weights file at all"


def _format_layer(graph: Graph, index: int) -> str:
    node = graph.nodes[index]
    return f"[{node.section.raw.name} #{index}] (line {node.line} of {graph.path})"


def _format_amount(body: int, size_bytes: int) -> str:
    return f"{_format_count(body / FLOAT_BYTES)} floats ({_format_bytes(size_bytes)})"


def _format_count(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.2f}"


def _format_bytes(number: int) -> str:
    return f"{number} bytes"
