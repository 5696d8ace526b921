"""Labels worth a look: tiny ones, repeated ones, boxes around everything, one box of two classes.

Legend: N images, T boxes of all images.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from yolor_cfg.data.statistics.table import InputFit, LabelTable, image_gains
from yolor_cfg.data.types import Integers

TINY = 3.0
"""Pixels of the input: below that a side shows nothing that a network could find."""
WHOLE = 0.98
"""A box that covers this share of the width and of the height covers all of the image."""
SAME = 0.9
"""IoU from which on two boxes of an image count as one and the same."""
THIN = 20.0
"""The ratio of the sides from which on a box is thin."""
CROWDED = 2000
"""Boxes of an image up to which all pairs are compared; of more only neighbours from left to right are."""
KINDS = {
    "tiny": f"a side below {TINY:g} pixels",
    "thin": f"one side {THIN:g} times the other or more",
    "whole": "covers the whole image",
    "repeated": "the same line again in the label file",
    "duplicate": f"another box of its class, IoU {SAME:g} or more",
    "two classes": f"a box of another class, IoU {SAME:g} or more",
}
"""The kinds with what they mean."""


class Oddity(NamedTuple):
    """One label worth a look: its kind, its row in the table, and the row of the other box, -1 if none."""

    kind: str
    row: int
    other: int = -1


def find_oddities(table: LabelTable, fit: InputFit | None = None) -> list[Oddity]:
    """All oddities of the boxes that are no crowds, by kind in the order of `KINDS`; a side is measured in
    pixels of the input, or of the image without one."""
    found = [*_odd_shapes(table, fit), *_odd_pairs(table)]
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(found, key=lambda one: (order[one.kind], one.row))


def odd_counts(table: LabelTable, oddities: list[Oddity]) -> Integers:
    """How many odd labels each image [N] has."""
    rows = np.array(sorted({one.row for one in oddities}), np.int64)
    return np.bincount(table.owners[rows], minlength=len(table.paths))


def _odd_shapes(table: LabelTable, fit: InputFit | None) -> Iterator[Oddity]:
    sides = table.sides
    seen = sides * image_gains(table, fit)[table.owners]
    shares = sides / table.sizes[table.owners][:, ::-1]
    ratio = sides.max(axis=1, initial=0) / np.maximum(sides.min(axis=1, initial=np.inf), 1e-9)
    flags = {
        "tiny": (seen < TINY).any(axis=1),
        "thin": (ratio >= THIN) & (seen >= TINY).all(axis=1),
        "whole": (shares >= WHOLE).all(axis=1),
        "repeated": table.copies > 0,
    }
    for kind, flag in flags.items():
        yield from (Oddity(kind, row) for row in np.flatnonzero(flag & ~table.crowd).tolist())


def _odd_pairs(table: LabelTable) -> Iterator[Oddity]:
    """Each later box of a pair in one image that overlap by `SAME`."""
    rows = np.flatnonzero(~table.crowd)
    ends = [0, *(np.flatnonzero(np.diff(table.owners[rows])) + 1).tolist(), len(rows)]
    for start, end in pairwise(ends):
        if end - start > 1:
            yield from _image_pairs(table, rows[start:end])


def _image_pairs(table: LabelTable, rows: Integers) -> Iterator[Oddity]:
    if len(rows) > CROWDED:
        rows = rows[np.argsort(table.corners[rows, 0], kind="stable")]
        pairs = np.stack([np.arange(len(rows) - 1), np.arange(1, len(rows))], axis=1)
    else:
        pairs = np.stack(np.triu_indices(len(rows), 1), axis=1)
    corners = table.corners[rows]
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    one, other = pairs.T
    ends, starts = (
        np.minimum(corners[one, 2:], corners[other, 2:]),
        np.maximum(corners[one, :2], corners[other, :2]),
    )
    common = (ends - starts).clip(0).prod(axis=1)
    alike = common >= SAME * (areas[one] + areas[other] - common)
    for first, second in rows[pairs[alike]].tolist():
        kind = "duplicate" if table.classes[first] == table.classes[second] else "two classes"
        yield Oddity(kind, max(first, second), min(first, second))
