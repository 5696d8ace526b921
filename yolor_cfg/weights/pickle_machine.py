"""Interprets pickles with a table of harmless operations.

A pickle is a program. No name in it is ever imported, and only the few functions below, all our own, are ever
called. Objects of other classes become inert `Opaque` records.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError, describe
from yolor_cfg.lang.syntax import quote_text


class Global(NamedTuple):
    """A global name in the pickle; only recorded, never looked up."""

    module: str
    name: str


@dataclass(eq=False)
class Opaque:
    """An object whose class is not loaded: the name of the class, its arguments and its state."""

    kind: Global
    args: tuple[Any, ...] = field(repr=False)
    state: Any = field(default=None, repr=False)


class Storage(NamedTuple):
    """A flat storage that tensors are views of."""

    flat: Tensor  # [elements]


StorageLoader = Callable[[str, torch.dtype, int], Tensor]
"""Returns the flat tensor of a storage, given its key, dtype and number of elements."""
_INERT_MODULES = frozenset({"models", "utils", "mish_cuda", "pytorch_wavelets"})
_PLAIN_GLOBALS = {Global("numpy", "ndarray"), Global("torch", "Tensor")}
_KEY_TYPES = (str, bytes, int, float, bool, type(None))
_NUMBER_TYPE = re.compile(r"[biufc?][0-9]{0,2}")
_DTYPES = {
    name: getattr(torch, name)
    for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
}
_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")

# A tensor may repeat its elements (stride 0) up to this many; more would be a memory attack, not a weight.
_MAX_EXPANDED_ELEMENTS = 1 << 20
_MAX_DIMENSIONS = 32


def damage_error(found: str, allowed: str) -> WeightsError:
    return WeightsError("is a damaged torch file", found=found, allowed=allowed)


def _refusal_error(found: str) -> WeightsError:
    return WeightsError(
        "asks for something that no checkpoint needs",
        found=found,
        allowed="tensors, numbers, strings, containers and the modules of torch.nn, models and utils",
        hint="the file tries to run code; it was not loaded",
    )


def _has_only_counts(values: Sequence[Any]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


# The functions that a pickle may call
def _build_ordered_dict(pairs: Sequence[Any] = ()) -> OrderedDict[Any, Any]:
    made: OrderedDict[Any, Any] = OrderedDict()
    for key, value in pairs:  # exactly two, or a ValueError: they could be the same huge list each time
        made[check_key(key)] = value
    return made


def _build_size(values: Sequence[Any] = ()) -> torch.Size:
    if not _has_only_counts(values):
        raise damage_error(f"a size: {describe(values)}", "non-negative integers")
    return torch.Size(values)


def _build_device(kind: Any, *number: Any) -> torch.device:
    if type(kind) is not str or len(kind) > 20 or not _has_only_counts(number[:1]):
        raise damage_error(f"a device {describe(kind)}", "its name")
    return torch.device(kind, *number[:1])


def _build_set(values: Sequence[Any] = ()) -> set[Any]:
    return {check_key(value) for value in values}


def _rebuild_tensor(storage: Any, *layout: Any) -> Tensor:
    """A view that lies entirely within its storage; requires_grad and hooks are dropped."""
    offset, size, stride, *rest = layout
    numbers = (offset, *size, *stride)
    if type(storage) is not Storage or len(size) > _MAX_DIMENSIONS or any(rest[2:]):
        raise damage_error("a tensor of an unknown layout", "a strided tensor on a storage")
    if not _has_only_counts(numbers):
        raise damage_error(
            f"a tensor with offset, size and stride: {describe(numbers)}", "non-negative integers"
        )
    held = storage.flat.numel()
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    beyond = held < offset if 0 in size else held <= last
    if beyond or math.prod(max(count, 1) for count in size) > max(held, _MAX_EXPANDED_ELEMENTS):
        raise damage_error(
            f"a tensor of size {tuple(size)} at {offset}", f"inside its storage of {held} elements"
        )
    return storage.flat.as_strided(tuple(size), tuple(stride), offset)


def _rebuild_parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise damage_error(f"a parameter that is a {type(data).__name__}", "a tensor")
    return data


def _rebuild_subclass(function: Any, _kind: Any, args: tuple[Any, ...], *_: Any) -> Any:
    """A tensor with Python attributes, which are dropped."""
    if not isinstance(function, Global) or function.module != "torch._utils":
        raise _refusal_error(describe(function))
    return _CALLABLES[function](*args)


def _encode_text(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _refusal_error(f"_codecs.encode to {_format_name(encoding)}")
    return text.encode("latin-1")


def _build_dtype(code: str, *_: Any) -> np.dtype[Any]:
    if type(code) is not str or not _NUMBER_TYPE.fullmatch(code):
        raise _refusal_error(f"numpy.dtype({describe(code)})")
    return np.dtype(code).newbyteorder("<")


def _build_scalar(kind: np.dtype[Any], raw: bytes | str) -> Any:
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(kind, np.dtype) or len(data) != kind.itemsize:
        raise damage_error(f"a number of {len(data)} bytes", describe(kind))
    return np.frombuffer(data, kind)[0]


def _empty_array(kind: Any, *_: Any) -> np.ndarray[Any, Any]:
    if kind != Global("numpy", "ndarray"):
        raise _refusal_error(describe(kind))
    return np.empty(0, np.int8)


_CALLABLES: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _build_ordered_dict,
    Global("builtins", "set"): _build_set,
    Global("__builtin__", "set"): _build_set,
    Global("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Global("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    Global("torch._tensor", "_rebuild_from_type_v2"): _rebuild_subclass,
    Global("torch", "Size"): _build_size,
    Global("torch", "device"): _build_device,
    Global("_codecs", "encode"): _encode_text,
    Global("numpy", "dtype"): _build_dtype,
    Global("numpy.core.multiarray", "scalar"): _build_scalar,
    Global("numpy._core.multiarray", "scalar"): _build_scalar,
    Global("numpy.core.multiarray", "_reconstruct"): _empty_array,
    Global("numpy._core.multiarray", "_reconstruct"): _empty_array,
}


def check_key(value: Any) -> Any:
    """The value if it hashes in bounded time: a tuple of tuples of the same tuples takes for ever."""
    if type(value) not in _KEY_TYPES:
        raise damage_error(f"a key that is a {type(value).__name__}", "a string or a number")
    return value


def _set_items(target: Any, values: Sequence[Any]) -> None:
    if not isinstance(target, dict) or len(values) % 2:
        raise damage_error(f"items for a {type(target).__name__}", "pairs for a dict")
    target.update(zip(map(check_key, values[::2]), values[1::2], strict=True))


def _check_byte_order(kind: np.dtype[Any], state: Sequence[Any]) -> None:
    if state[1] not in ("<", "|", "=") or any(value is not None for value in state[2:5]):
        raise damage_error(f"numbers stored as {describe(state[1])}, {kind}", "little-endian numbers")


def _fill_array(array: np.ndarray[Any, Any], state: Sequence[Any]) -> None:
    _, shape, kind, is_fortran, raw = state
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(kind, np.dtype) or not _has_only_counts(shape):
        raise damage_error("an array of an unknown layout", "an array of numbers")
    if len(shape) > _MAX_DIMENSIONS or math.prod(shape) * kind.itemsize != len(data):
        raise damage_error(f"an array of size {describe(shape)}", f"{len(data)} bytes of {kind}")
    # Safe now: only numbers, and exactly as many bytes as the shape needs.
    set_state: Any = array.__setstate__
    set_state((1, tuple(shape), kind, bool(is_fortran), data))


def _keep_state(record: Opaque, state: Any) -> None:
    record.state = state


def _drop_state(_made: Any, _state: Any) -> None:
    """Ignore Python attributes of a dict or a tensor: version metadata and hooks, not weights."""


_STATE_SETTERS: tuple[tuple[type, Callable[[Any, Any], None]], ...] = (
    (Opaque, _keep_state),
    (OrderedDict, _drop_state),
    (Tensor, _drop_state),
    (np.dtype, _check_byte_order),
    (np.ndarray, _fill_array),
)


class SafeUnpickler:
    """Runs one pickle and returns its value; `load` returns the storages that it names."""

    def __init__(self, load: StorageLoader) -> None:
        self.load = load
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        """The value left at the end; the file position is then just after the pickle."""
        for opcode, value, _ in pickletools.genops(file):
            action = _OPCODE_ACTIONS.get(opcode.name)
            if action is None:
                raise _refusal_error(
                    f"the pickle operation {opcode.name}" + (f" {describe(value)}" if value else "")
                )
            action(self, value)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def memoize(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def recall(self, number: int) -> None:
        self.push(self.memo[number])

    def pop_to_mark(self) -> list[Any]:
        """Pop the values above the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_last(self, count: int) -> list[Any]:
        """Pop the last `count` values."""
        if count > len(self.stack):
            raise damage_error("an operation without its operands", "a pickle")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise damage_error(f"elements for a {type(self.stack[-1]).__name__}", "elements for a list")
        self.stack[-1].extend(values)

    def add(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise damage_error(f"members for a {type(self.stack[-1]).__name__}", "members for a set")
        self.stack[-1].update(map(check_key, values))

    def set_items(self, values: list[Any]) -> None:
        _set_items(self.stack[-1], values)

    def make_dict(self, values: list[Any]) -> None:
        self.push({})
        _set_items(self.stack[-1], values)

    def name(self, module: Any, name: Any) -> None:
        """Push a permitted name: a dtype as itself, any other as a record."""
        self.push(_resolve_global(module, name))

    def call(self, function: Any, args: Any) -> None:
        if not isinstance(function, Global) or type(args) is not tuple:
            raise _refusal_error(f"a call of a {type(function).__name__}")
        own = _CALLABLES.get(function)
        if own is None and not _is_inert(function.module):
            raise _refusal_error(f"a call of {_format_name(*function)}")
        self.push(Opaque(function, args) if own is None else own(*args))

    def build(self, made: Any, state: Any) -> None:
        builds = [build for kind, build in _STATE_SETTERS if isinstance(made, kind)]
        if not builds:
            raise _refusal_error(f"attributes for a {type(made).__name__}")
        builds[0](made, state)
        self.push(made)

    def push_persistent(self, persistent_id: Any) -> None:
        """Push a storage, or a class that torch before 1.10 stored with its source code, which is ignored."""
        kind, *rest = persistent_id if type(persistent_id) is tuple and persistent_id else (persistent_id,)
        if kind == "module" and len(rest) == 3 and isinstance(rest[0], Global):
            return self.push(rest[0])
        if kind != "storage" or len(rest) not in (4, 5) or any(value is not None for value in rest[4:]):
            raise _refusal_error(f"an unknown persistent id {describe(persistent_id)}")
        return self.push(Storage(self.load(*_storage_args(rest[0], rest[1], rest[3]))))


def _storage_args(kind: Any, key: Any, elements: Any) -> tuple[str, torch.dtype, int]:
    known = isinstance(kind, Global) and kind.module in _STORAGE_MODULES and kind.name in _STORAGE_DTYPES
    if not known or type(key) is not str or not _has_only_counts([elements]):
        raise _refusal_error(f"a storage {describe(kind)} {describe(key)} {describe(elements)}")
    return key, _STORAGE_DTYPES[kind.name], elements


def _format_name(*parts: Any) -> str:
    """`module.name` as a message quotes it."""
    return ".".join(quote_text(part[:200]) if type(part) is str else describe(part) for part in parts)


def _is_inert(module: str) -> bool:
    return module.split(".")[0] in _INERT_MODULES or module == "torch.nn" or module.startswith("torch.nn.")


def _resolve_global(module: Any, name: Any) -> Any:
    if type(module) is not str or type(name) is not str or not name.isidentifier():
        raise _refusal_error(_format_name(module, name))
    if module == "torch" and name in _DTYPES:
        return _DTYPES[name]
    named = Global(module, name)
    storage = module in _STORAGE_MODULES and name in _STORAGE_DTYPES
    if not (storage or named in _CALLABLES or named in _PLAIN_GLOBALS or _is_inert(module)):
        raise _refusal_error(_format_name(module, name))
    return named


_VALUE_OPCODES = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8"
)
_OPCODE_ACTIONS: dict[str, Callable[[SafeUnpickler, Any], object]] = {
    **dict.fromkeys(_VALUE_OPCODES.split(), lambda machine, value: machine.push(value)),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, value: None),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, value: machine.recall(value)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, value: machine.memoize(value)),
    "MEMOIZE": lambda machine, _: machine.memoize(len(machine.memo)),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop_last(1),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop_last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop_last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop_last(3))),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.extend(machine.pop_last(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.make_dict(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop_last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, value: machine.name(*value.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.pop_last(2)),
    "REDUCE": lambda machine, _: machine.call(*machine.pop_last(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.pop_last(2)),
    "BUILD": lambda machine, _: machine.build(*machine.pop_last(2)),
    "BINPERSID": lambda machine, _: machine.push_persistent(*machine.pop_last(1)),
}
