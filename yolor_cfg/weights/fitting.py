"""Whether a file can be the weights of a network, told from its first bytes and its length; if not, why not.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import HEAD_BYTES, HINTS, what_is
from yolor_cfg.graph import Graph
from yolor_cfg.weights.layout import (
    FLOAT_BYTES,
    Held,
    Place,
    WeightsHeader,
    class_hint,
    class_tensors,
    file_layout,
    fitting_classes,
    floats,
    kept_by_yolor,
    read,
    saved,
)


class FileStart(NamedTuple):
    """A file as far as it is looked at before it is read: its first `HEAD_BYTES` and its length."""

    path: str
    head: bytes
    size_bytes: int


def file_start(path: str | Path) -> FileStart:
    """The start and the length of a file; raises WeightsError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            return FileStart(str(path), head, file.seek(0, 2))
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise WeightsError(f"the weights cannot be read: {reason.lower()}", path=str(path)) from None


class Plan(NamedTuple):
    """How a file is to be read: which tensors it holds, under which header, and what its user should know."""

    path: str
    header: WeightsHeader
    places: tuple[Place, ...]
    notes: tuple[str, ...] = ()


def plan_reading(graph: Graph, file: FileStart, *, cutoff: int | None = None) -> Plan:
    """The way in which the file's length fits the network; raises WeightsError that says why there is none.

    With `cutoff` the file holds exactly the layers before it.
    """
    checked_cutoff(graph, cutoff)
    header = _header(file)
    for held, note in _forms(graph):
        places = file_layout(graph, held, end=cutoff)
        if header.size_bytes + FLOAT_BYTES * floats(places) == file.size_bytes:
            notes = tuple(filter(None, [note, cutoff_note(graph, cutoff)]))
            return Plan(file.path, header, tuple(places), notes)
    raise _misfit(graph, file, header=header, cutoff=cutoff)


def checked_cutoff(graph: Graph, cutoff: int | None) -> None:
    """Raise WeightsError for a cutoff that is no number of layers."""
    if cutoff is not None and not 0 < cutoff <= len(graph.nodes):
        raise WeightsError(
            "the cutoff is no number of layers",
            path=graph.path,
            found=f"--cutoff {cutoff}",
            allowed=f"1..{len(graph.nodes)}",
            hint="the file holds the layers 0..cutoff-1",
        )


def cutoff_note(graph: Graph, cutoff: int | None) -> str:
    """What a cutoff leaves out, in words; empty when it leaves out nothing."""
    last = len(graph.nodes) - 1
    if cutoff is None or cutoff > last:
        return ""
    return f"layers 0..{cutoff - 1} loaded; {cutoff}..{last} keep their initialisation"


def _forms(graph: Graph) -> Iterator[tuple[Held, str]]:
    """The forms in which weights of this network may come, each with what to tell its user."""
    yield read, ""
    if not graph.dialect.is_yolor:
        return
    kept = {place.index for place in file_layout(graph, kept_by_yolor)}
    left = [place.index for place in file_layout(graph, read) if place.index not in kept]
    kinds = sorted({f"[{graph.nodes[index].section.type}]" for index in left})
    if left:
        note = f"a file as YOLOR's own code writes it, without the weights of {', '.join(kinds)}: "
        yield kept_by_yolor, note + f"these {len(set(left))} layers keep their initialisation"


def _header(file: FileStart) -> WeightsHeader:
    kind = what_is(file.head)
    if kind is not None:
        raise WeightsError(
            f"this is {kind}, not a weights file",
            path=file.path,
            found=_bytes(file.size_bytes),
            hint=HINTS.get(kind, ""),
        )
    try:
        return WeightsHeader.from_bytes(file.head)
    except WeightsError as fault:
        fault.path = file.path
        raise


# ---------------------------------------------------------------------------------- why a length does not fit


def _misfit(graph: Graph, file: FileStart, *, header: WeightsHeader, cutoff: int | None) -> WeightsError:
    """The message for a file whose length fits no form of the network."""
    places = file_layout(graph, read, end=cutoff)
    body = file.size_bytes - header.size_bytes
    message, general = _what_the_length_says(graph, places, body)
    close = [
        _without_cutoff(graph, body, cutoff),
        _other_header(file, header, places),
        _other_classes(graph, body, cutoff),
        _boundary(graph, body),
        _odd_version(header),
    ]
    told = [text for text in close if text] or [general]
    wanted = floats(places)
    return WeightsError(
        message,
        path=file.path,
        found=_amount(body, file.size_bytes),
        hint="; ".join(told),
        allowed=_amount(FLOAT_BYTES * wanted, FLOAT_BYTES * wanted + header.size_bytes),
    )


def _what_the_length_says(graph: Graph, places: Sequence[Place], body: int) -> tuple[str, str]:
    """Message and general hint for `body` bytes of weights."""
    missing = FLOAT_BYTES * floats(places) - body
    ends = _ends(graph, body)
    if body == 0:
        return "a header and no weights", "the download or the copy did not finish: fetch the file again"
    if ends is not None and missing > 0:
        return f"this is the backbone up to {_label(graph, ends)}", ""
    if missing > 0:
        cut = next(place for place in places if FLOAT_BYTES * place.end > body)
        hint = "the file is cut short, or it belongs to another network"
        return f"the file ends inside {_label(graph, cut.index)}", hint
    surplus = _count(-missing / FLOAT_BYTES)
    return f"longer than the network by {surplus} floats", "it belongs to another network"


def _ends(graph: Graph, body: int) -> int | None:
    """The layer with whose last weights, and before others', a file with so many bytes of weights ends."""
    for held, _ in _forms(graph):
        end_of_layer = {place.index: FLOAT_BYTES * place.end for place in file_layout(graph, held)}
        for index in list(end_of_layer)[:-1]:
            if end_of_layer[index] == body:
                return index
    return None


def _boundary(graph: Graph, body: int) -> str:
    ends = _ends(graph, body)
    if ends is None:
        return ""
    return f"use --cutoff {ends + 1} to load it and leave the later layers as they are initialised"


def _without_cutoff(graph: Graph, body: int, cutoff: int | None) -> str:
    sizes = {FLOAT_BYTES * floats(file_layout(graph, held)) for held, _ in _forms(graph)}
    return "the file holds all layers: it fits without --cutoff" if cutoff and body in sizes else ""


def _other_header(file: FileStart, header: WeightsHeader, places: Sequence[Place]) -> str:
    other = 36 - header.size_bytes
    if file.size_bytes - other != FLOAT_BYTES * floats(places):
        return ""
    return (
        f"it would fit after a header of {other} bytes, but its version {header.version} means "
        f"{header.size_bytes}: the program that wrote it gave the wrong version"
    )


def _other_classes(graph: Graph, body: int, cutoff: int | None) -> str:
    if body % FLOAT_BYTES:
        return ""
    heads = class_tensors(graph)
    for held, _ in _forms(graph):
        classes = fitting_classes(heads, file_layout(graph, held, end=cutoff), body // FLOAT_BYTES)
        if classes is not None:
            return class_hint(heads, classes)
    whole = FLOAT_BYTES * floats(file_layout(graph, saved, end=cutoff)) == body
    return "it would fit without dontload= and dontloadscales=" if whole else ""


def _odd_version(header: WeightsHeader) -> str:
    usual = 0 <= header.major < 10 and 0 <= header.minor < 100 or header.transposed and header.major < 10_000
    return "" if usual else f"its version would be {header.version}: it may be no weights file at all"


def _label(graph: Graph, index: int) -> str:
    node = graph.nodes[index]
    return f"[{node.section.raw.name} #{index}] (line {node.line} of {graph.path})"


def _amount(body: int, size_bytes: int) -> str:
    return f"{_count(body / FLOAT_BYTES)} floats ({_bytes(size_bytes)})"


def _count(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.2f}"


def _bytes(number: int) -> str:
    return f"{number} bytes"
