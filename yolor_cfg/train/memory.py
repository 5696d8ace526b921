"""What a training asks of memory: batches that fit, and freed blocks kept in the process.

Every batch frees large tensors and allocates new ones of the same size.

By default glibc returns such blocks to the system, which must clear their pages before handing them out
again. That took a fifth to a quarter of a training step.
"""

from __future__ import annotations

import ctypes
import os

from yolor_cfg.errors import CfgError, shorten
from yolor_cfg.shape import Shape

LARGEST_REPEATED = 4096
"""The largest batch with more images than the data set has; it repeats them."""
FLOAT_BYTES = 4
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


def check_batch(batch_size: int, *, image: Shape, image_count: int) -> None:
    """Raise CfgError if the inputs of one batch alone exceed the memory of this machine, or if the batch
    repeats a small data set more often than makes sense."""
    most = max(physical_memory() // (FLOAT_BYTES * max(image.size, 1)), 1)
    sensible = max(LARGEST_REPEATED, image_count)
    if batch_size > min(most, sensible):
        raise CfgError(
            "a batch of too many images",
            found=shorten(str(batch_size), 40),
            allowed=f"up to {min(most, sensible)} here, with {image_count} images in the data set",
            hint="give --batch-size, or more subdivisions in [net]",
        )


def physical_memory() -> int:
    """The bytes of this machine's memory; 2^63 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # on Windows
        return 2**63
