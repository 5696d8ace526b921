"""What is known of a weights file before it is read, and how much of a network it is to fill."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import HEAD_BYTES, find_file_kind, open_regular
from yolor_cfg.graph import Graph

PICKLE_START = b"\x80\x02"  # torch files older than the zip format


class FilePrefix(NamedTuple):
    """What is known of a file before it is read: its first `HEAD_BYTES` and its length."""

    path: str
    first_bytes: bytes
    size_bytes: int


def read_prefix(path: str | Path) -> FilePrefix:
    """The first bytes and the length of a file; raises WeightsError if it cannot be read."""
    try:
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
            return FilePrefix(str(path), head, file.seek(0, 2))
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise WeightsError(f"the weights cannot be read: {reason.lower()}", path=str(path)) from None


def is_checkpoint(file: FilePrefix) -> bool:
    """True for torch and safetensors files, whatever their name."""
    return find_file_kind(file.first_bytes) in (
        "a zip archive",
        "a safetensors file",
    ) or file.first_bytes.startswith(PICKLE_START)


def is_checkpoint_file(path: str | Path) -> bool:
    """True for a file with the content of a checkpoint; False if it cannot be read."""
    try:
        return is_checkpoint(read_prefix(path))
    except WeightsError:
        return False


def check_cutoff(graph: Graph, cutoff: int | None) -> None:
    """Raise WeightsError if the cutoff is not a valid number of layers."""
    if cutoff is not None and not 0 < cutoff <= len(graph.nodes):
        raise WeightsError(
            "the cutoff is not a valid number of layers",
            path=graph.path,
            found=f"--cutoff {cutoff}",
            allowed=f"1..{len(graph.nodes)}",
            hint="layers 0..cutoff-1 are read",
        )


def cutoff_note(graph: Graph, cutoff: int | None) -> str:
    """A note on what a cutoff leaves out; empty if it leaves out nothing."""
    last = len(graph.nodes) - 1
    if cutoff is None or cutoff > last:
        return ""
    return f"layers 0..{cutoff - 1} loaded; {cutoff}..{last} keep their initialisation"
