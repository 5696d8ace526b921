"""What programs that descend from ultralytics tell a [yolo] head by its place among the heads of its file.

Facts: ultralytics/yolov3, SpursLipu/YOLOv3v4-ModelCompression and CaptainEven/YOLOV4_MCMOT, models.py each.
"""

from __future__ import annotations

from collections.abc import Sequence

from yolor_cfg.lang.dialect import Dialect
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape


def find_place(head: Section) -> int:
    """How many sections of the same kind stand before it."""
    return sum(one.type == head.type and one.index < head.index for one in head.place.others)


def stride_by_place(head: Section) -> int:
    """Its stride in pixels, whatever the sizes are; 0 where the sizes tell it.

    The path of the cfg, as it was given, decides about the order.
    """
    dialect, place = head.dialect, find_place(head)
    strides = order_strides(dialect.head_strides, dialect, head.path)
    return strides[place] if place < len(strides) else 0


def order_strides(strides: tuple[int, ...], dialect: Dialect, path: str) -> tuple[int, ...]:
    """The strides by place, turned round where the path of the cfg says so."""
    turned = any(word in path for word in dialect.reversing_words)
    kept = any(word in path for word in dialect.keeping_words)
    return strides[2::-1] if turned and not kept else strides


def warn_of_stride(head: Section, x: Shape) -> None:
    """Warn of a stride that is not that of the sizes: the boxes are then of another scale than the image."""
    told, image = stride_by_place(head), head.place.image
    assert image is not None
    real = image.height / x.height, image.width / x.width
    if told and real != (told, told):
        words = ", ".join(head.dialect.reversing_words)
        head.warn(
            "",
            "its stride follows from its place among the heads, not from the sizes",
            found=f"stride {told}, where the map has {real[1]:g} x {real[0]:g} pixels per cell",
            hint=f"boxes come out as {head.dialect.program} gives them; the order of the strides turns round "
            f"with one of these in the path of the cfg: {words}",
        )


def fused_sources(head: Section, references: Sequence[int]) -> tuple[int, ...]:
    """The sections whose maps the head fuses: that of its own place first, then the others in order."""
    found, place = head.resolve_refs(references, "from"), find_place(head)
    if place >= len(found):
        raise head.error(
            "from",
            "fewer sections than heads",
            found=f"{len(found)}, for head number {place + 1}",
            hint="each head takes the section at its own place in the list",
        )
    return (found[place], *found[:place], *found[place + 1 :])


def check_fused_channels(head: Section, own: Shape, others: Sequence[Shape]) -> None:
    """Raise CfgError unless the other maps have as many channels as its own."""
    for other in others:
        if other.channels != own.channels:
            raise head.error(
                "from",
                "the maps to fuse differ in their channels",
                found=f"{own.channels} and {other.channels}",
                allowed="the same number of filters in all",
            )
