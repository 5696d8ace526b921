"""Keeps freed memory in the process: every batch frees large tensors and allocates new ones of the same size.

By default glibc returns such blocks to the system, which must clear their pages before handing them out
again. That took a fifth to a quarter of a training step.
"""

from __future__ import annotations

import ctypes

# The parameters of mallopt(3), with the values that malloc.h gives them.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER, NONE = -1, 0


def keep_freed_memory() -> bool:
    """Make malloc keep freed memory: no block gets its own mapping, and the heap never shrinks.

    Returns False and changes nothing if the C library is not glibc.
    """
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # on Windows no name stands for the process itself
        return False
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    return all(library.mallopt(*pair) == 1 for pair in ((M_MMAP_MAX, NONE), (M_TRIM_THRESHOLD, NEVER)))
