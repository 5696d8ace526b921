"""C Darknet's resize in C++ (engines/native/src/resize.cpp), bit by bit that of images/preprocess.py."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int64, c_uint8
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.types import Image
from yolor_cfg.ops.native_code import find_library


class Taps(NamedTuple):
    """For each row (or column) of the result: the one before, the one after, and how far it is between."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    part: NDArray[np.float32]


@cache
def _load_function() -> Any:
    """The function; None where the library cannot be used."""
    library = find_library()
    if library is None:
        return None
    function = library.yc_resize_darknet
    taps = (ctypes.POINTER(c_int64), ctypes.POINTER(c_int64), ctypes.POINTER(c_float), c_int64)
    image = (ctypes.POINTER(c_uint8), c_int64, c_int64)
    function.argtypes = (*image, *taps, *taps, ctypes.POINTER(c_float), c_int64, c_int64)
    return function


def resize_natively(
    pixels: Image | NDArray[np.float32], *, rows: Taps, columns: Taps, out: NDArray[np.float32]
) -> bool:
    """Write the resized image [h, w, C] to `out` [C, H, W], whose pixels of a row have no gaps between them.
    False where the library is missing."""
    function = _load_function()
    if function is None or pixels.dtype != np.uint8:
        return False
    whole = np.ascontiguousarray(pixels)
    plane, pitch, _ = (stride // out.itemsize for stride in out.strides)
    failed = function(
        whole.ctypes.data_as(ctypes.POINTER(c_uint8)),
        *(whole.shape[1] * whole.shape[2], whole.shape[2]),
        *_point_to(rows),
        *_point_to(columns),
        *(out.ctypes.data_as(ctypes.POINTER(c_float)), plane, pitch),
    )
    if failed:
        raise MemoryError("not enough memory to resize an image")
    return True


def _point_to(taps: Taps) -> tuple[Any, Any, Any, int]:
    indices = ctypes.POINTER(c_int64)
    before, after = (part.ctypes.data_as(indices) for part in (taps.before, taps.after))
    return before, after, taps.part.ctypes.data_as(ctypes.POINTER(c_float)), len(taps.part)
