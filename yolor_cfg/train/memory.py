"""Freed memory that stays with the process: every batch frees large tensors and takes as large ones again.

By default glibc gives such blocks back to the system, which has to clear their pages before it hands them out
once more. That took a fifth to a quarter of a training step.
"""

from __future__ import annotations

import ctypes

# The parameters of mallopt(3), with the values that malloc.h gives them.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER, NONE = -1, 0


def keep_freed_memory() -> bool:
    """From now on malloc keeps what is freed: no block has a mapping of its own, and the heap never shrinks.

    False, and nothing is changed, where the C library is not glibc.
    """
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows names no library "the process itself"
        return False
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    return all(library.mallopt(*pair) == 1 for pair in ((M_MMAP_MAX, NONE), (M_TRIM_THRESHOLD, NEVER)))
