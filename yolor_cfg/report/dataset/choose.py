"""Which images and objects of a data set a sheet shows.

Legend: N images, T boxes of all images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.statistics.oddities import Oddity, find_oddities, odd_counts
from yolor_cfg.data.statistics.table import InputFit, LabelTable, Numbers
from yolor_cfg.data.types import Integers
from yolor_cfg.errors import count_of
from yolor_cfg.report.dataset.sheet import SheetPart
from yolor_cfg.report.dataset.tiles import Thumbnail, crop_tile, image_tile


class SheetChoice(NamedTuple):
    """How many images or objects are shown, in which order (random, largest, smallest, most or oddest), and
    the seed of a random order; for the oddest ones the input that sides are measured in. With `bare` images
    without boxes are shown too."""

    most: int
    order: str = "random"
    seed: int = 0
    fit: InputFit | None = None
    bare: bool = False


def image_part(table: LabelTable, choice: SheetChoice) -> SheetPart:
    """The chosen images with all of their boxes."""
    is_odd = choice.order == "oddest"
    counts = odd_counts(table, find_oddities(table, choice.fit)) if is_odd else table.counts
    images = np.flatnonzero((counts > 0) | (choice.bare and not is_odd))
    ranks = _image_ranks(table, choice, counts)[images]
    chosen = images[np.argsort(ranks, kind="stable")][: choice.most]
    word = "odd label" if is_odd else "box"
    captions = (f"{os.path.basename(table.paths[i])}  {count_of(int(counts[i]), word)}" for i in chosen)
    return SheetPart("", [image_tile(table, *one) for one in zip(chosen.tolist(), captions, strict=True)])


def _image_ranks(table: LabelTable, choice: SheetChoice, counts: Integers) -> Numbers:
    """A number [N] for each image, the least first; equal ones stay in the order of the data set. `counts`
    are of its boxes, or of its odd labels."""
    if choice.order in ("most", "oddest"):
        return -counts.astype(np.float64)
    if choice.order == "random":
        return np.random.default_rng(choice.seed).permutation(len(table.paths)).astype(np.float64)
    shares = _shares(table)
    ranks = np.full(len(table.paths), np.inf)
    np.minimum.at(ranks, table.owners, -shares if choice.order == "largest" else shares)
    return ranks


def _shares(table: LabelTable) -> Numbers:
    """The share of its image that each box [T] covers."""
    return np.asarray(table.sides.prod(axis=1) / table.sizes[table.owners].prod(axis=1))


def crop_parts(table: LabelTable, choice: SheetChoice, classes: Sequence[int]) -> list[SheetPart]:
    """A part for each class that has boxes: single objects of it, in the chosen order; of odd ones what is
    odd, with the box that they are compared with."""
    found = find_oddities(table, choice.fit) if choice.order == "oddest" else []
    odd = {one.row: one for one in reversed(found)}
    ranks = _object_ranks(table, choice, list(odd))
    parts = []
    for label in classes:
        rows = np.flatnonzero((table.classes == label) & np.isfinite(ranks))
        shown = rows[np.argsort(ranks[rows], kind="stable")][: choice.most].tolist()
        tiles = [_object_tile(table, row, odd.get(row)) for row in shown]
        if tiles:
            total = count_of(int((table.classes == label).sum()), "box", spec=",")
            parts.append(SheetPart(f"{table.names[label]}: {total}", tiles))
    return parts


def _object_tile(table: LabelTable, row: int, oddity: Oddity | None) -> Thumbnail:
    caption = _describe_box(table, row)
    if oddity is None:
        return crop_tile(table, row, caption)
    others = [oddity.other] if oddity.other >= 0 else []
    return crop_tile(table, row, f"{oddity.kind}: {caption}", others=others)


def _object_ranks(table: LabelTable, choice: SheetChoice, odd: Sequence[int]) -> Numbers:
    """A number [T] for each box, the least first; infinite for one that is not shown."""
    if choice.order == "oddest":
        ranks = np.full(len(table.classes), np.inf)
        ranks[odd] = 0.0
        return ranks
    if choice.order == "random":
        return np.random.default_rng(choice.seed).permutation(len(table.classes)).astype(np.float64)
    if choice.order == "most":
        return -table.counts[table.owners].astype(np.float64)
    shares = _shares(table)
    return -shares if choice.order == "largest" else shares


def _describe_box(table: LabelTable, row: int) -> str:
    width, height = table.sides[row].tolist()
    return f"{os.path.basename(table.paths[table.owners[row]])}  {width:.0f}x{height:.0f}"
