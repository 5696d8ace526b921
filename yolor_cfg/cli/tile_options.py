"""--tile and what belongs to it: large images cut into tiles."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.arguments import OWN_SIZE, parse_overlap, parse_tile
from yolor_cfg.cli.options import TextParam

OVERLAP, WHOLE = 0.2, True
"""What counts if nothing else is said."""


class TileParam(TextParam):
    """A size of tiles, or `own` for that of the network."""

    name = "size"

    def parse(self, text: str) -> int | tuple[int, int] | bool:
        """True for the network's own size, an int for a square, else (height, width)."""
        try:
            return parse_tile(text)
        except ValueError as fault:
            raise ValueError(f"{fault}; tiles of the network's own size: --tile own") from None


class OverlapParam(TextParam):
    """A fraction of a side."""

    name = "float"

    def parse(self, text: str) -> float:
        """The number."""
        return parse_overlap(text)


TILE_OPTIONS = (
    click.option(
        "--tile",
        is_flag=False,
        flag_value=OWN_SIZE,
        type=TileParam(),
        metavar="[N|HxW]",
        help="Cut images that are larger than this into tiles which overlap, and find objects in each tile; "
        "every object is told once. Without a value (or with `own`): tiles of the network's own size.",
    ),
    click.option(
        "--tile-overlap",
        type=OverlapParam(),
        metavar="0..0.9",
        help="The part of a tile's side that neighbours share at least; objects up to that size are whole in "
        f"a tile; default: {OVERLAP}.",
    ),
    click.option(
        "--tile-whole/--no-tile-whole",
        default=None,
        help="With --tile: look at the whole image besides, which finds what is larger than a tile; default: "
        "on.",
    ),
)


def complete_tiling(options: dict[str, Any]) -> None:
    """Set what is not said; raise UsageError for a detail of tiles where there are none."""
    for name, option, usual in (
        ("tile_overlap", "--tile-overlap", OVERLAP),
        ("tile_whole", "--tile-whole", WHOLE),
    ):
        if options[name] is not None and options["tile"] is None:
            raise click.UsageError(f"{option} goes with --tile")
        options[name] = usual if options[name] is None else options[name]
