"""Reads torch checkpoints without running code from them: both file formats, and module trees."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError, describe
from yolor_cfg.files import FILE_KIND_HINTS, HEAD_BYTES, find_file_kind
from yolor_cfg.lang.syntax import quote_text
from yolor_cfg.weights.pickle_machine import Opaque, SafeUnpickler, check_key, damage_error

_MAX_MODULES = 100_000
_MAX_TENSORS = 200_000
_MAX_LEVELS = 100
_MAX_NAME_LENGTH = 1000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001


# What the standard library and torch can raise while a damaged file is parsed.
_DAMAGE_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_pt(path: str | Path) -> Any:
    """What `torch.save` wrote: containers, numbers, strings, CPU tensors, and `Opaque` for other objects.

    Reads the zip format and the older stream of pickles; a file that names any other function is rejected.
    """
    try:
        with _open_file(Path(path)) as file:
            return _read_content(file)
    except WeightsError as fault:
        fault.path = str(path)
        raise
    except _DAMAGE_ERRORS as cause:
        raise WeightsError(
            "is a damaged torch file",
            path=str(path),
            found=quote_text(str(cause)[:1000]) or type(cause).__name__,
            hint="the download or the copy did not finish: fetch the file again",
        ) from cause


def write_pt(content: Any, file: BinaryIO) -> None:
    """Write what `torch.save` writes; an OSError comes through, which torch hides behind one of its own."""
    try:
        torch.save(content, file)
    except RuntimeError as fault:
        cause: BaseException | None = fault
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        raise (cause or OSError(str(fault).partition("\n")[0])) from None


def module_state_dict(module: Any) -> dict[str, Tensor]:
    """The state dict of a pickled module, with the names and order of `nn.Module.state_dict`."""
    named: dict[str, Tensor] = {}
    waiting = [("", module)]
    for _ in range(_MAX_MODULES):
        if not waiting or len(named) > _MAX_TENSORS:
            break
        prefix, current = waiting.pop()
        named.update(_own_tensors(prefix, current))
        waiting += reversed(_child_modules(prefix, current))
    if waiting:
        allowed = f"at most {_MAX_MODULES} with {_MAX_TENSORS} tensors"
        raise WeightsError("contains more modules than any network", allowed=allowed)
    return named


def _module_entries(module: Any, name: str) -> dict[str, Any]:
    if not isinstance(module, Opaque) or not isinstance(module.state, dict):
        found = module.kind.name if isinstance(module, Opaque) else type(module).__name__
        raise WeightsError("is not a module", found=quote_text(found), allowed="a pickled torch module")
    part = module.state.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise WeightsError("is not a module", found=f"{name} without names", allowed="a pickled torch module")
    return part


def _own_tensors(prefix: str, module: Any) -> Iterator[tuple[str, Tensor]]:
    entries = [*_module_entries(module, "_parameters").items(), *_module_entries(module, "_buffers").items()]
    held = module.state.get("_non_persistent_buffers_set")
    left_out = held if isinstance(held, set) else ()
    for name, tensor in entries:
        if tensor is None or name in left_out:
            continue
        if not isinstance(tensor, Tensor) or len(prefix) + len(name) > _MAX_NAME_LENGTH:
            place = quote_text(prefix + name)
            raise WeightsError("is not a tensor", key=place, found=type(tensor).__name__)
        yield prefix + name, tensor


def _child_modules(prefix: str, module: Any) -> list[tuple[str, Any]]:
    if prefix.count(".") > _MAX_LEVELS or len(prefix) > _MAX_NAME_LENGTH:
        raise WeightsError("modules are nested too deeply", found=f"more than {_MAX_LEVELS} levels")
    modules = _module_entries(module, "_modules").items()
    return [(f"{prefix}{name}.", child) for name, child in modules if child is not None]


class _BoundedReader(io.BufferedReader):
    """A file whose reads never allocate more memory than it has bytes left, whatever size is requested."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.length = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(self.length - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _open_file(path: Path) -> _BoundedReader:
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "a device"
            raise WeightsError("is not a file", found=kind, allowed="a .pt file")
        return _BoundedReader(path)
    except OSError as cause:
        raise WeightsError("cannot be read", found=cause.strerror or str(cause)) from cause


def _read_content(file: _BoundedReader) -> Any:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(_LEGACY_HEAD):
        return _read_legacy(file)
    found = find_file_kind(head) or f"first bytes {head[:8].hex(' ')}"
    if found == "a zip archive":
        return _read_zip(file)
    hint = FILE_KIND_HINTS.get(found, "")
    raise WeightsError("is not a torch file", found=found, allowed="what torch.save writes", hint=hint)


def _read_zip(file: _BoundedReader) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        tops = [name.removesuffix("data.pkl") for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(tops) != 1 or len(names) != len(set(names)):
            raise WeightsError(
                "is a zip archive but not a torch file",
                found=quote_text(", ".join(names[:3])) or "an empty archive",
                allowed="one folder that contains data.pkl",
                hint="if the archive contains a checkpoint, unpack it first",
            )
        if tops[0] + "constants.pkl" in names:
            raise WeightsError("is a compiled TorchScript program", allowed="a checkpoint with tensors")
        members = _ZipMembers(archive, tops[0], file.length)
        if tops[0] + "byteorder" in names:
            _check_little_endian(bytes(members.read_member("byteorder").numpy()) == b"little")
        return SafeUnpickler(members.load_storage).run(
            io.BytesIO(bytes(members.read_member("data.pkl").numpy()))
        )


class _ZipMembers:
    """The members of a torch zip file, each read once; together they cannot be larger than the file."""

    def __init__(self, archive: zipfile.ZipFile, top: str, length: int) -> None:
        self.archive = archive
        self.top = top
        self.left = length
        self.storages: dict[str, Tensor] = {}

    def read_member(self, name: str) -> Tensor:
        """The bytes of a member, uint8 [size]; torch never compresses, so a compressed member is rejected."""
        info = self.archive.getinfo(self.top + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.left:
            raise damage_error(
                f"{name} of {info.file_size} bytes", f"at most {self.left} bytes, not compressed"
            )
        self.left -= info.file_size
        with self.archive.open(info) as member:
            return _read_bytes(member, info.file_size, name)

    def load_storage(self, key: str, dtype: torch.dtype, elements: int) -> Tensor:
        """The storage [elements] with this key; each key is loaded once, so shared weights stay shared."""
        if key not in self.storages:
            self.storages[key] = self.read_member(f"data/{key}")
        raw = self.storages[key]
        if raw.numel() != elements * dtype.itemsize:
            raise damage_error(
                f"storage {key} of {raw.numel()} bytes", f"{elements} x {dtype.itemsize} bytes"
            )
        return raw.view(dtype)


def _read_legacy(file: _BoundedReader) -> Any:
    """The format before torch 1.6: magic number, version, system info, object, storage keys, storages."""
    head = [SafeUnpickler(_refuse_storage).run(file) for _ in range(3)]
    if head[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
        raise damage_error(f"format {describe(head[1])}", f"format {_LEGACY_PROTOCOL}")
    _check_little_endian(head[2]["little_endian"] is True)
    start = file.tell()
    storages: dict[str, Tensor] = {}

    def declare(key: str, dtype: torch.dtype, elements: int) -> Tensor:
        if elements * dtype.itemsize > file.length:
            raise damage_error(f"a storage of {elements} elements", f"a file of {file.length} bytes")
        return storages.setdefault(key, torch.empty(elements, dtype=dtype, device="meta"))

    # The storages follow the object that gives their sizes, so it is read twice, first on the meta device.
    SafeUnpickler(declare).run(file)
    for key in map(check_key, SafeUnpickler(_refuse_storage).run(file)):
        storages[key] = _read_legacy_storage(file, storages[key])
    file.seek(start)
    return SafeUnpickler(lambda key, dtype, elements: _check_storage(storages[key], dtype, elements)).run(
        file
    )


def _read_legacy_storage(file: _BoundedReader, declared: Tensor) -> Tensor:
    elements = int.from_bytes(file.read(8), "little", signed=True)
    size = declared.numel() * declared.dtype.itemsize
    if elements != declared.numel() or size > file.length - file.tell():
        raise damage_error(
            f"a storage of {elements} elements", f"{declared.numel()} that the file still holds"
        )
    return _read_bytes(file, size, "storage").view(declared.dtype)


def _check_storage(storage: Tensor, dtype: torch.dtype, elements: int) -> Tensor:
    if storage.dtype != dtype or storage.numel() != elements or storage.is_meta:
        raise damage_error(f"{elements} elements of {dtype}", f"{storage.numel()} of {storage.dtype}")
    return storage


def _refuse_storage(key: str, dtype: torch.dtype, elements: int) -> Tensor:
    raise damage_error(
        f"storage {key} of {elements} elements of {dtype} in the header", "numbers and strings"
    )


def _read_bytes(file: Any, size: int, name: str) -> Tensor:
    """The next `size` bytes, uint8 [size]."""
    raw = torch.empty(size, dtype=torch.uint8)
    count = file.readinto(raw.numpy().data)
    if count != size:
        raise damage_error(f"{name} ends after {count} bytes", f"{size} bytes")
    return raw


def _check_little_endian(is_little: bool) -> None:
    if not is_little:
        raise WeightsError("was written on a big-endian machine", allowed="little-endian numbers")
