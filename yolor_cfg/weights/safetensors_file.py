"""Reads and writes tensors and metadata with the safetensors library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from yolor_cfg.errors import MissingExtra, WeightsError
from yolor_cfg.files import FILE_KIND_HINTS, HEAD_BYTES, find_file_kind, replace_file

RECORD_KEY = "yolor"
"""The one key of the metadata of our files; its text is JSON."""
PACK_FORMAT = "yolor-cfg task 1"
"""What the record of a task pack calls itself."""


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of the file by name, on the CPU."""
    return _read_file(path)[0]


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata stored with the tensors; empty if there is none."""
    return _read_file(path)[1]


def read_beside(path: str | Path) -> dict[str, Any]:
    """The record that `write_safetensors` stored with the tensors; empty in the files of other programs."""
    try:
        record = json.loads(read_metadata(path).get(RECORD_KEY, "{}"))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise WeightsError("its metadata is damaged", path=str(path), key=RECORD_KEY, allowed="a JSON object")
    return record


def write_safetensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    record: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write the tensors, and `record` as JSON, to one file that is the same whenever it is written; each
    view is written in full."""
    torch_side = _import_safetensors().torch
    # The format has no shared memory, and the library writes what lies behind a view, not the view.
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    assert all(tensor.is_contiguous() for tensor in apart.values())
    # One key alone: the library writes several in a random order.
    metadata = {} if record is None else {RECORD_KEY: json.dumps(record)}
    data = torch_side.save(apart, metadata=metadata)
    replace_file(path, lambda file: file.write(data), fault=WeightsError, force=force)


def _import_safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as cause:
        raise MissingExtra("safetensors") from cause
    return safetensors


def _read_file(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    library = _import_safetensors()
    try:
        with open(path, "rb") as file:
            kind = find_file_kind(file.read(HEAD_BYTES))
        with library.safe_open(str(path), framework="pt") as content:
            return {name: content.get_tensor(name) for name in content.keys()}, content.metadata() or {}
    except OSError as cause:
        raise WeightsError("cannot be read", path=str(path), found=cause.strerror or str(cause)) from cause
    except library.SafetensorError as cause:
        raise WeightsError(
            "is not a safetensors file", path=str(path), found=kind or str(cause), hint=_format_hint(kind)
        ) from cause


def _format_hint(kind: str | None) -> str:
    known = FILE_KIND_HINTS.get(kind or "", "")
    return "the file is damaged or truncated" if kind in (None, "a safetensors file") else known
