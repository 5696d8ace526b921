"""Where maps lie: all in one block of memory, in which maps that are never needed at the same time overlap.

A map has its channels last and a border of zeros as wide as the padding of its readers. Maps are placed from
the largest to the smallest, each at the lowest address that is free during its life.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from yolor_cfg.engines.native.packing import round_up
from yolor_cfg.engines.native.steps import Map, Step

ALIGNMENT = 64  # bytes
BEYOND = 64  # positions that a tile may read after the end of a map
NUMBERS = {torch.float32: 16, torch.bfloat16: 32}  # channels of a pixel are padded to a multiple of these


@dataclass(eq=False)
class MapArea:
    """The memory of a map with its parts: `offset` in bytes, `pixel` in numbers; wide maps lie outside of the
    block."""

    root: Map
    dtype: torch.dtype
    pixel: int
    images: int
    first: int  # the step that writes it first
    last: int  # the step that reads it last
    offset: int = 0

    @property
    def row(self) -> int:
        """Numbers by row."""
        return (self.root.width + 2 * self.root.border) * self.pixel

    @property
    def image(self) -> int:
        """Numbers by image."""
        return (self.root.height + 2 * self.root.border) * self.row

    @property
    def size(self) -> int:
        """Bytes, without the border before and after for aligned placement."""
        return round_up(self.images * self.image * self.dtype.itemsize, ALIGNMENT)

    @property
    def start(self) -> int:
        """The number at which its first pixel lies, within the area."""
        return self.root.border * (self.row + self.pixel)

    def overlaps(self, other: MapArea) -> bool:
        """True if both are needed at the same time."""
        return self.first <= other.last and other.first <= self.last


class Layout:
    """The areas of all maps of some steps, and the block that holds them."""

    def __init__(self, steps: list[Step], results: Iterable[Map], *, dtype: torch.dtype, images: int) -> None:
        self.dtype, self.images = dtype, images
        self.areas: dict[Map, MapArea] = {}
        _widen_borders(steps)
        for number, step in enumerate(steps):
            for one in (*step.reads, step.out):
                self._extend(one.root, number)
        for one in results:
            self._extend(one.root, len(steps))
        held = [area for area in self.areas.values() if not area.root.wide]
        self.bytes = _place_areas(held)
        longest = max((area.pixel * area.dtype.itemsize for area in held), default=0)
        self.block = torch.zeros(self.bytes + BEYOND * 8 * longest + 4096, dtype=torch.uint8)

    def _extend(self, root: Map, number: int) -> None:
        area = self.areas.get(root)
        if area is None:
            dtype = torch.float32 if root.wide else self.dtype
            step = 4 if root.is_image else 1 if root.wide else NUMBERS[dtype]
            pixel = round_up(root.channels, step)
            self.areas[root] = MapArea(root, dtype, pixel, self.images, number, number)
        else:
            area.last = max(area.last, number)

    def view(self, one: Map) -> Tensor:
        """A map of the block as a tensor [N, C, H, W], without its border."""
        area = self.areas[one.root]
        numbers = self.block[: self.bytes].view(area.dtype)
        start = area.offset // area.dtype.itemsize + area.start + one.offset
        size = (self.images, one.channels, one.height, one.width)
        return numbers.as_strided(size, (area.image, 1, area.row, area.pixel), start)


def _widen_borders(steps: list[Step]) -> None:
    for step in steps:
        if step.kind == "conv":
            root = step.sources[0].root
            root.border = max(root.border, *step.window.padding)


def _place_areas(areas: list[MapArea]) -> int:
    """Give each area its offset; returns the bytes of all together."""
    placed: list[MapArea] = []
    for area in sorted(areas, key=lambda one: -one.size):
        offset = 0
        for other in sorted((one for one in placed if one.overlaps(area)), key=lambda one: one.offset):
            if offset + area.size <= other.offset:
                break
            offset = max(offset, other.offset + other.size)
        area.offset = offset
        placed.append(area)
    return max((one.offset + one.size for one in areas), default=0)
