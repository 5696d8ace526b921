"""What a layer is and costs, in a few characters: `3x3/2`, `1.70 G`, `11.28 MiB`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolor_cfg.sections import Section


def format_geometry(section: Section, *, grows: bool) -> str:
    """`3x3/2` with groups and dilation where they are not 1; `x2` for what makes the map larger."""
    size, stride = _format_size(section), _format_stride(section)
    parts = [size + ("" if not stride else f"x{stride}" if grows else f"/{stride}")]
    for key, mark in (("groups", "g"), ("group_id", "id"), ("dilation", "d")):
        if key in section.values and section.values[key] != section.keys[key].default:
            parts.append(f"{mark}{section.values[key]}")
    return " ".join(part for part in parts if part)


def _format_size(section: Section) -> str:
    """`3x3`, or all sizes of a convolution that mixes kernels."""
    size = getattr(section, "size", "")
    sides = size if isinstance(size, tuple) else (size,)
    return f"{sides[0]}x{sides[0]}" if len(sides) == 1 and size else ",".join(map(str, sides))


def _format_stride(section: Section) -> str:
    """`2`, or down x across where they differ; a stride below 1 stands for `stride`."""
    steps = [getattr(section, name, 0) for name in ("stride_y", "stride_x", "stride")]
    down, across = (step if step >= 1 else steps[-1] for step in steps[:2])
    return f"{down}x{across}" if down != across else str(down or "")


def format_count(number: int) -> str:
    """`1.70 G`; nothing for 0."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number) if number else ""


def format_bytes(number: int) -> str:
    """`11.28 MiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number} B"
