"""The shared library of our C++ code (engines/native), by ctypes; it may not be there. Needs no torch."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

VERSION = 3
FOLDER = Path(__file__).parents[1] / "engines" / "native"


def kernels_path() -> Path | None:
    """The built library; None if the package was installed without a compiler."""
    found = sorted(FOLDER.glob("_kernels*.so")) + sorted(FOLDER.glob("_kernels*.pyd"))
    return found[0] if found else None


@cache
def find_library() -> ctypes.CDLL | None:
    """The library; None if it was not built or is of another version."""
    path = kernels_path()
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    return library if library.yc_version() == VERSION else None
