"""Large images cut into areas that overlap, each of which a network sees by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.arguments import check_argument, parse_overlap, parse_tile
from yolor_cfg.images.preprocess import Placement
from yolor_cfg.images.types import Image, Size

CUT_MARGIN = 0.01
"""Of a tile's side: a box that ends nearer than this to the end of its tile counts as cut there."""


class TileRules(NamedTuple):
    """How large images are cut: into tiles of this height and width, of which neighbours share `overlap` of a
    side or more; with `has_whole` the network sees the whole image besides, fitted to its input."""

    size: Size
    overlap: float = 0.2
    has_whole: bool = True

    def describe(self) -> dict[str, Any]:
        """The rules as values of JSON."""
        return {"tile": list(self.size), "tile_overlap": self.overlap, "tile_whole": self.has_whole}


class TileArea(NamedTuple):
    """Rows and columns of an image, in pixels: from the first up to, but without, the last."""

    top: int
    left: int
    bottom: int
    right: int


class TiledImage(NamedTuple):
    """An image [h, w, C] uint8 and the areas of it that the network sees one by one."""

    pixels: Image
    areas: tuple[TileArea, ...]

    @property
    def placement(self) -> Placement:
        """Boxes in pixels of the image stay as they are."""
        size = self.pixels.shape[:2]
        return Placement(size, size, (1.0, 1.0), (0.0, 0.0))

    @property
    def tiles(self) -> tuple[TileArea, ...]:
        """The areas without that of the whole image."""
        whole = TileArea(0, 0, *self.pixels.shape[:2])
        return tuple(area for area in self.areas if area != whole)

    def cut(self, area: TileArea) -> Image:
        """A copy of the pixels of an area."""
        return np.ascontiguousarray(self.pixels[area.top : area.bottom, area.left : area.right])


class TileCall(TypedDict, total=False):
    """Options by which images are cut: `tile` a size in pixels, (height, width), or True for the network's
    own; `tile_overlap` (0.2) the part of a side that neighbours share at least; `tile_whole` (True) whether
    the network sees the whole image besides."""

    tile: bool | int | str | tuple[int, int] | None
    tile_overlap: float
    tile_whole: bool


def make_rules(call: Mapping[str, Any], own: Size) -> TileRules | None:
    """The rules that the options of a `TileCall` ask for, with the network's `own` size; None without `tile`.
    Raises CfgError for what is no size or no overlap."""
    tile = call.get("tile")
    if tile is None or tile is False:
        return None
    asked = check_argument("tile", parse_tile, tile)
    size = own if asked is True else asked if isinstance(asked, tuple) else (asked, asked)
    overlap = check_argument("tile_overlap", parse_overlap, call.get("tile_overlap", 0.2))
    return TileRules(size, overlap, call.get("tile_whole", True))


def tile_image(image: Image, rules: TileRules) -> TiledImage | None:
    """The image with its areas, the whole one first if it is wanted; None if it is no larger than a tile."""
    size = image.shape[:2]
    tiles = plan_tiles(size, rules)
    if len(tiles) == 1:
        return None
    whole = [TileArea(0, 0, *size)] if rules.has_whole else []
    return TiledImage(image, (*whole, *tiles))


def plan_tiles(size: Size, rules: TileRules) -> list[TileArea]:
    """The tiles of an image of this height and width, row by row. All are of one size, that of the rules or,
    where the image is smaller, its own; they lie at even distances and cover each pixel."""
    rows, columns = (_spans(side, tile, rules.overlap) for side, tile in zip(size, rules.size, strict=True))
    return [TileArea(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def shared_pixels(tile: int, overlap: float) -> int:
    """How many pixels of a side neighbours share at least: what is no longer than that is whole in one of
    them."""
    return min(tile - 1, math.ceil(tile * overlap))


def _spans(side: int, tile: int, overlap: float) -> list[tuple[int, int]]:
    """First and last of each tile along a side."""
    spare = side - tile
    if spare <= 0:
        return [(0, side)]
    steps = math.ceil(spare / (tile - shared_pixels(tile, overlap)))
    starts = [number * spare // steps for number in range(steps + 1)]
    return [(start, start + tile) for start in starts]


def are_whole(boxes_xyxy: NDArray[Any], areas: Sequence[TileArea], image_size: Size) -> NDArray[np.bool_]:
    """[M, T] which of the boxes [M, 4], in pixels of the image, end inside which of the areas, or where the
    image ends."""
    limits = np.array(areas).reshape(-1, 4)[:, [1, 0, 3, 2]]  # [T, 4] left, top, right, bottom
    height, width = image_size
    goes_on = limits != (0, 0, width, height)
    sides = np.tile(limits[:, 2:] - limits[:, :2], 2)
    spare = (boxes_xyxy[:, np.newaxis] - limits) * (1, 1, -1, -1)  # [M, T, 4]
    whole: NDArray[np.bool_] = ((spare >= sides * CUT_MARGIN) | ~goes_on).all(axis=2)
    return whole
