"""The kernels in the shared library. The structures mirror src/ops.hpp field by field."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_int32, c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

from yolor_cfg.errors import YolorError
from yolor_cfg.ops.native_code import find_library, kernels_path

KINDS = ("conv", "winograd", "depthwise", "pool", "up", "add", "copy", "image")
ACTIVATIONS = ("linear", "relu", "leaky", "swish", "mish", "logistic", "relu6", "h_swish")
"""Names of operations and activations, each in the order of its C++ enumeration."""


class View(ctypes.Structure):
    """A map with its channels last; strides in elements."""

    _fields_ = [
        ("data", c_void_p),
        *((name, c_int64) for name in ("images", "height", "width", "channels")),
        *((name, c_int64) for name in ("image", "row", "pixel", "border")),
    ]


class Op(ctypes.Structure):
    """One operation."""

    _fields_ = [
        *((name, c_int32) for name in ("kind", "in_type", "out_type", "activation", "second")),
        *((name, c_int32) for name in ("kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x")),
        *((name, c_int32) for name in ("dilation", "depth", "channels", "tile")),
        *((name, View) for name in ("inp", "out", "extra")),
        ("weights", c_void_p),
        ("bias", c_void_p),
    ]


class InstructionSet(NamedTuple):
    """The kernels of one instruction set: channels by panel of weights, whether bfloat16 weights stay
    bfloat16 (in pairs) or become float32, and what their input channels are padded to."""

    name: str
    table: int
    panel: int
    has_pairs: bool
    depth_step: int


class NativeError(YolorError):
    """The native engine cannot run here."""


@cache
def load_library() -> ctypes.CDLL:
    """The library with the engine's functions declared; NativeError if it was not built or is of another
    version."""
    if kernels_path() is None:
        raise NativeError(
            "the native engine was not built: install a C++ compiler, then the package again "
            "(from a checkout: make native)"
        )
    library = find_library()
    if library is None or library.yc_op_size() != ctypes.sizeof(Op):
        raise NativeError("the native library is of another version: install the package again")
    _declare(library)
    return library


def _declare(library: ctypes.CDLL) -> None:
    library.yc_table.restype = c_void_p
    library.yc_table.argtypes = (c_int32, ctypes.POINTER(c_char_p))
    for name in ("yc_panel", "yc_pairs", "yc_depth_step"):
        getattr(library, name).argtypes = (c_void_p,)
    library.yc_pool.restype = c_void_p
    library.yc_pool.argtypes = (c_int32,)
    library.yc_free_pool.argtypes = (c_void_p,)
    library.yc_run.argtypes = (c_void_p, c_void_p, c_void_p, c_int32, ctypes.POINTER(c_double))


@cache
def instruction_sets() -> dict[str, InstructionSet]:
    """The instruction sets that this processor has, from the simplest to the best."""
    library = load_library()
    found = {}
    name = c_char_p()
    for i in range(64):
        table = library.yc_table(i, ctypes.byref(name))
        if name.value is None:
            break
        if table:
            text = name.value.decode()
            found[text] = InstructionSet(
                text,
                table,
                library.yc_panel(table),
                library.yc_pairs(table) == 2,
                library.yc_depth_step(table),
            )
    return found


class Threads:
    """A pool of threads of the library; freed with this object."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._library = load_library()
        self.handle: int | None = self._library.yc_pool(count)
        if not self.handle:
            raise NativeError(f"{count} threads cannot be started")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._library.yc_free_pool(self.handle)
            self.handle = None

    def run(self, kernels: InstructionSet, ops: Any, *, count: int, seconds: Any = None) -> None:
        """Run `count` operations from `ops` on; `seconds`, an array of doubles, gets the time of each."""
        if self._library.yc_run(kernels.table, self.handle, ops, count, seconds):
            raise MemoryError("the native engine ran out of memory")
