"""Whether a network's activations fit into this machine: Linux kills a program that takes more, unsaid."""

from __future__ import annotations

import os
from pathlib import Path

from yolor_cfg.count import peak_activation
from yolor_cfg.errors import YolorError
from yolor_cfg.graph import Graph

FLOAT_BYTES = 4
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_memory(graph: Graph, images: int) -> None:
    """Raise YolorError if so many images in a batch need more memory than the machine has."""
    image = graph.image
    each = peak_activation(graph).bytes + FLOAT_BYTES * image.channels * image.height * image.width
    limit = memory_limit()
    if limit is None or each * images <= limit:
        return
    raise YolorError(
        "not enough memory for the network",
        found=f"{images} x {image.height}x{image.width} pixels need {_format_gigabytes(each * images)}",
        allowed=f"{_format_gigabytes(limit)}, which this machine has",
        hint="use a smaller --batch-size or --img-size",
    )


def memory_limit() -> int | None:
    """Bytes that the machine has, or that its container may use; None where the system does not say."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # not a Unix
        return None
    for path in CGROUP_LIMITS:
        try:
            sizes.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no such group, or no limit: "max"
            continue
    return min(sizes)


def _format_gigabytes(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"
