"""The shared library of our C++ code (engines/native), by ctypes; it may not be there. Needs no torch."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from yolor_cfg.errors import YolorError

VERSION = 2
FOLDER = Path(__file__).parents[1] / "engines" / "native"


class NativeError(YolorError):
    """Our C++ code cannot run here."""


def kernels_path() -> Path | None:
    """The built library; None if the package was installed without a compiler."""
    found = sorted(FOLDER.glob("_kernels*.so")) + sorted(FOLDER.glob("_kernels*.pyd"))
    return found[0] if found else None


@cache
def open_library() -> ctypes.CDLL:
    """The library; NativeError if it was not built or is of another version."""
    path = kernels_path()
    if path is None:
        raise NativeError(
            "the native engine was not built: install a C++ compiler, then the package again "
            "(from a checkout: make native)"
        )
    library = ctypes.CDLL(str(path))
    if library.yc_version() != VERSION:
        raise other_version()
    return library


def other_version() -> NativeError:
    """What is wrong where the library does not fit these files."""
    return NativeError("the native library is of another version: install the package again")


@cache
def find_library() -> ctypes.CDLL | None:
    """The library; None where it cannot be used."""
    try:
        return open_library()
    except (NativeError, OSError):
        return None
