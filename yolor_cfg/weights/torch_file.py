"""Torch checkpoints read without running what they ask for: the two file formats, and module trees."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import HEAD_BYTES, HINTS, what_is
from yolor_cfg.weights.pickle_machine import Machine, Opaque, damaged

_MOST_MODULES = 100_000
_MOST_LEVELS = 100
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001


# What a damaged file can make the standard library and torch raise while its parts are taken apart.
_DAMAGE = (
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
    """What `torch.save` wrote: containers, numbers, texts, CPU tensors, and `Opaque` for other objects.

    Reads the zip format and the older stream of pickles; anything that names other functions is refused.
    """
    try:
        with _opened(Path(path)) as file:
            return _read(file)
    except WeightsError as fault:
        fault.path = str(path)
        raise
    except _DAMAGE as cause:
        raise WeightsError(
            "is a damaged torch file",
            path=str(path),
            found=str(cause) or type(cause).__name__,
            hint="the download or the copy did not finish: fetch the file again",
        ) from cause


def module_state(module: Any) -> dict[str, Tensor]:
    """The state dict of a pickled module, names and order as `nn.Module.state_dict` gives them."""
    named: dict[str, Tensor] = {}
    waiting = [("", module)]
    for _ in range(_MOST_MODULES):
        if not waiting:
            return named
        prefix, current = waiting.pop()
        named.update(_own_tensors(prefix, current))
        waiting += reversed(_children(prefix, current))
    raise WeightsError("holds more modules than any network", allowed=f"at most {_MOST_MODULES}")


def _part(module: Any, name: str) -> dict[str, Any]:
    if not isinstance(module, Opaque) or not isinstance(module.state, dict):
        found = module.kind.name if isinstance(module, Opaque) else type(module).__name__
        raise WeightsError("is not a module", found=found, allowed="a pickled torch module")
    part = module.state.get(name) or {}
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise WeightsError("is not a module", found=f"{name} without names", allowed="a pickled torch module")
    return part


def _own_tensors(prefix: str, module: Any) -> Iterator[tuple[str, Tensor]]:
    entries = [*_part(module, "_parameters").items(), *_part(module, "_buffers").items()]
    passing = module.state.get("_non_persistent_buffers_set") or ()
    for name, tensor in entries:
        if tensor is None or name in passing:
            continue
        if not isinstance(tensor, Tensor):
            raise WeightsError("is not a tensor", key=prefix + name, found=type(tensor).__name__)
        yield prefix + name, tensor


def _children(prefix: str, module: Any) -> list[tuple[str, Any]]:
    if prefix.count(".") > _MOST_LEVELS:
        raise WeightsError("modules inside each other", found=f"more than {_MOST_LEVELS} levels")
    modules = _part(module, "_modules").items()
    return [(f"{prefix}{name}.", child) for name, child in modules if child is not None]


class _Bounded(io.BufferedReader):
    """A file that asks for no more memory than it has bytes left, whatever length it is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.length = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        left = max(self.length - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _opened(path: Path) -> _Bounded:
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "a device"
            raise WeightsError("is not a file", found=kind, allowed="a .pt file")
        return _Bounded(path)
    except OSError as cause:
        raise WeightsError("cannot be read", found=cause.strerror or str(cause)) from cause


def _read(file: _Bounded) -> Any:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(_LEGACY_HEAD):
        return _read_legacy(file)
    found = what_is(head) or f"first bytes {head[:8].hex(' ')}"
    if found == "a zip archive":
        return _read_zip(file)
    hint = HINTS.get(found, "")
    raise WeightsError("is not a torch file", found=found, allowed="what torch.save writes", hint=hint)


def _read_zip(file: _Bounded) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        tops = [name.removesuffix("data.pkl") for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(tops) != 1 or len(names) != len(set(names)):
            raise WeightsError(
                "is a zip archive but not a torch file",
                found=", ".join(names[:3]) or "an empty archive",
                allowed="one folder with data.pkl in it",
                hint="if the checkpoint is packed inside, unpack it first",
            )
        if tops[0] + "constants.pkl" in names:
            raise WeightsError("is a compiled TorchScript program", allowed="a checkpoint with tensors")
        members = _Members(archive, tops[0], file.length)
        if tops[0] + "byteorder" in names:
            _little_endian(bytes(members.raw("byteorder").numpy()) == b"little")
        return Machine(members.load).run(io.BytesIO(bytes(members.raw("data.pkl").numpy())))


class _Members:
    """The parts of a torch zip file, each read once; together they cannot be larger than the file."""

    def __init__(self, archive: zipfile.ZipFile, top: str, length: int) -> None:
        self.archive = archive
        self.top = top
        self.left = length
        self.storages: dict[str, Tensor] = {}

    def raw(self, name: str) -> Tensor:
        """The bytes of a member, uint8 [size]; torch never compresses, so a compressed member is refused."""
        info = self.archive.getinfo(self.top + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.left:
            raise damaged(f"{name} of {info.file_size} bytes", f"at most {self.left} bytes, not compressed")
        self.left -= info.file_size
        with self.archive.open(info) as member:
            return _filled(member, info.file_size, name)

    def load(self, key: str, dtype: torch.dtype, elements: int) -> Tensor:
        """The storage [elements] with this key; one key is one memory, so shared weights stay shared."""
        if key not in self.storages:
            self.storages[key] = self.raw(f"data/{key}")
        raw = self.storages[key]
        if raw.numel() != elements * dtype.itemsize:
            raise damaged(f"storage {key} of {raw.numel()} bytes", f"{elements} x {dtype.itemsize} bytes")
        return raw.view(dtype)


def _read_legacy(file: _Bounded) -> Any:
    """The format before torch 1.6: magic number, version, machine, tree, keys of the storages, storages."""
    head = [Machine(_no_storage).run(file) for _ in range(3)]
    if head[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
        raise damaged(f"format {head[1]}", f"format {_LEGACY_PROTOCOL}")
    _little_endian(head[2]["little_endian"] is True)
    start = file.tell()
    storages: dict[str, Tensor] = {}

    def declare(key: str, dtype: torch.dtype, elements: int) -> Tensor:
        if elements * dtype.itemsize > file.length:
            raise damaged(f"a storage of {elements} elements", f"a file of {file.length} bytes")
        return storages.setdefault(key, torch.empty(elements, dtype=dtype, device="meta"))

    # The storages come after the tree that gives their sizes, so it is read twice, first without memory.
    Machine(declare).run(file)
    for key in Machine(_no_storage).run(file):
        storages[key] = _legacy_storage(file, storages[key])
    file.seek(start)
    return Machine(lambda key, dtype, elements: _same(storages[key], dtype, elements)).run(file)


def _legacy_storage(file: _Bounded, declared: Tensor) -> Tensor:
    elements = int.from_bytes(file.read(8), "little", signed=True)
    size = declared.numel() * declared.dtype.itemsize
    if elements != declared.numel() or size > file.length - file.tell():
        raise damaged(f"a storage of {elements} elements", f"{declared.numel()} that the file still holds")
    return _filled(file, size, "storage").view(declared.dtype)


def _same(storage: Tensor, dtype: torch.dtype, elements: int) -> Tensor:
    if storage.dtype != dtype or storage.numel() != elements or storage.is_meta:
        raise damaged(f"{elements} elements of {dtype}", f"{storage.numel()} of {storage.dtype}")
    return storage


def _no_storage(key: str, dtype: torch.dtype, elements: int) -> Tensor:
    raise damaged(f"storage {key} of {elements} elements of {dtype} in the header", "numbers and texts")


def _filled(file: Any, size: int, name: str) -> Tensor:
    """The next `size` bytes, uint8 [size]."""
    raw = torch.empty(size, dtype=torch.uint8)
    count = file.readinto(raw.numpy().data)
    if count != size:
        raise damaged(f"{name} ends after {count} bytes", f"{size} bytes")
    return raw


def _little_endian(is_little: bool) -> None:
    if not is_little:
        raise WeightsError("was written on a big-endian machine", allowed="little-endian numbers")
