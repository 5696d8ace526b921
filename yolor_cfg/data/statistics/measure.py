"""The figures of a data set or of one of its splits.

Legend: N images, T boxes of all images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from yolor_cfg.data.statistics.table import BoxFlags, InputFit, LabelTable, Numbers, image_gains
from yolor_cfg.data.types import Integers

SMALL, MEDIUM = 32**2, 96**2
"""COCO's areas in pixels^2: below the first a box is small, from the second on large (COCO counts a border
to both sides)."""
BORDER = 1.0
"""Pixels: a box that comes nearer to the border of the image is counted as truncated."""
GRID = 24
"""Cells of the map of centres both ways."""
SIZE_NAMES = ("small", "medium", "large")
MOST_PAIRS = 100
"""How many pairs of classes that occur together are listed."""


class SizeFigures(NamedTuple):
    """The least, the median and the largest of something."""

    least: float
    median: float
    most: float


class ClassFigures(NamedTuple):
    """One class: in how many images it is, its boxes without crowds, those by COCO's sizes, the median side
    (the root of the area) and the median aspect (width / height) with 5 % and 95 % quantiles, boxes in an
    image that has the class, boxes at the border of their image, crowds, difficult objects."""

    name: str
    images: int
    boxes: int
    small: int
    medium: int
    large: int
    side: float
    aspect: tuple[float, float, float]
    per_image: float
    truncated: int
    crowds: int
    difficult: int

    @property
    def occurs(self) -> bool:
        """Whether any label has it: a box, a crowd, a difficult object."""
        return self.boxes + self.crowds + self.difficult > 0


class DataFigures(NamedTuple):
    """The figures of N images: `side_bins` counts boxes by the root of their area, bin i from 2^(i/2) pixels
    on; `objects` counts images by their number of boxes, the last entry those with as many or more;
    `together` [K, K] counts images with both classes; `centres` [GRID, GRID] boxes by their centre, from the
    top left on. `size` is the input (height, width) that boxes are measured in; None: that of each image."""

    images: int
    empty: int
    boxes: int
    crowds: int
    difficult: int
    truncated: int
    size: tuple[int, int] | None
    widths: SizeFigures
    heights: SizeFigures
    aspects: SizeFigures
    common_sizes: list[tuple[int, int, int]]
    per_image: SizeFigures
    objects: list[int]
    sizes: tuple[int, int, int]
    side_bins: list[int]
    classes: list[ClassFigures]
    together: Integers
    centres: Integers

    @property
    def imbalance(self) -> float | None:
        """The boxes of the most frequent class for each one of the rarest that occurs; None for no box."""
        counts = [one.boxes for one in self.classes if one.boxes]
        return max(counts) / min(counts) if counts else None

    @property
    def balance(self) -> str:
        """The same for people, as 2.5 : 1."""
        return "-" if self.imbalance is None else f"{self.imbalance:,.1f} : 1"

    @property
    def absent(self) -> list[str]:
        """The names of the classes that no label has."""
        return [one.name for one in self.classes if not one.occurs]

    def to_json(self) -> dict[str, Any]:
        """As plain values; of classes that occur together the pairs with most images."""
        document = self._asdict()
        for key in ("widths", "heights", "aspects", "per_image"):
            document[key] = document[key]._asdict()
        document["common_sizes"] = [
            {"width": width, "height": height, "images": images}
            for width, height, images in self.common_sizes
        ]
        document["sizes"] = dict(zip(SIZE_NAMES, self.sizes, strict=True))
        document["classes"] = [one._asdict() for one in self.classes]
        document["together"] = list_pairs(self)
        document["centres"] = self.centres.tolist()
        return {**document, "imbalance": self.imbalance, "absent": self.absent}


def list_pairs(figures: DataFigures, most: int = MOST_PAIRS) -> list[dict[str, Any]]:
    """The pairs of classes that stand together in most images, with how often more than by chance (lift)."""
    rows, columns = np.nonzero(np.triu(figures.together, 1))
    counts = figures.together[rows, columns]
    order = np.lexsort((columns, rows, -counts))[:most]
    single = np.diag(figures.together)
    return [
        {
            "classes": [figures.classes[one].name, figures.classes[other].name],
            "images": int(figures.together[one, other]),
            "lift": float(figures.together[one, other] * figures.images / (single[one] * single[other])),
        }
        for one, other in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]


def measure_data(table: LabelTable, fit: InputFit | None = None) -> DataFigures:
    """The figures of a table; with `fit` boxes are measured as the input shows them."""
    single = table.select_boxes(~table.crowd)
    areas, aspects = _scaled_areas(single, fit), _scaled_aspects(single, fit)
    heights, widths = table.sizes.T
    truncated = is_truncated(single)
    return DataFigures(
        images=len(table.paths),
        empty=int((table.counts == 0).sum()),
        boxes=len(single.classes),
        crowds=int((table.crowd & ~table.difficult).sum()),
        difficult=int(table.difficult.sum()),
        truncated=int(truncated.sum()),
        size=None if fit is None else fit.size,
        widths=_spread(widths),
        heights=_spread(heights),
        aspects=_spread(widths / heights),
        common_sizes=_common_sizes(table.sizes),
        per_image=_spread(single.counts),
        objects=_count_objects(single.counts),
        sizes=count_sizes(areas),
        side_bins=_bin_sides(np.sqrt(areas)),
        classes=list(_list_classes(table, single, areas=areas, aspects=aspects, truncated=truncated)),
        together=_count_together(single),
        centres=_map_centres(single),
    )


def size_kinds(areas: Numbers) -> Integers:
    """0 for small, 1 for medium, 2 for large boxes [T], by COCO's areas in pixels^2."""
    return np.searchsorted([SMALL, MEDIUM], areas, side="right")


def count_sizes(areas: Numbers) -> tuple[int, int, int]:
    """How many boxes [T] are small, medium and large by COCO's areas in pixels^2."""
    small, medium, large = np.bincount(size_kinds(areas), minlength=3).tolist()
    return small, medium, large


def is_truncated(table: LabelTable) -> BoxFlags:
    """Whether each box [T] reaches the border of its image, as one of an object that goes on outside does."""
    ends = table.sizes[table.owners][:, ::-1]
    near = (table.corners[:, :2] < BORDER).any(axis=1) | (table.corners[:, 2:] > ends - BORDER).any(axis=1)
    return np.asarray(near)


def _scaled_areas(table: LabelTable, fit: InputFit | None) -> Numbers:
    """The annotated areas [T] in pixels^2 of the input."""
    return np.asarray(table.areas * image_gains(table, fit)[table.owners].prod(axis=1))


def _scaled_aspects(table: LabelTable, fit: InputFit | None) -> Numbers:
    """Width / height [T] of the boxes in the input."""
    sides = table.sides * image_gains(table, fit)[table.owners]
    return np.asarray(sides[:, 0] / np.maximum(sides[:, 1], 1e-9))


def _list_classes(
    table: LabelTable, single: LabelTable, *, areas: Numbers, aspects: Numbers, truncated: BoxFlags
) -> Iterator[ClassFigures]:
    """The figures of each class. Boxes are sorted by class once: there may be thousands of classes."""
    count = len(table.names)
    order = np.argsort(single.classes, kind="stable")
    ends = np.searchsorted(single.classes[order], np.arange(count + 1)).tolist()
    crowds = np.bincount(table.classes[table.crowd & ~table.difficult], minlength=count).tolist()
    difficult = np.bincount(table.classes[table.difficult], minlength=count).tolist()
    for number, (start, end) in enumerate(pairwise(ends)):
        own = order[start:end]
        images, (small, medium, large) = len(np.unique(single.owners[own])), count_sizes(areas[own])
        yield ClassFigures(
            *(table.names[number], images, end - start, small, medium, large),
            side=float(np.median(np.sqrt(areas[own]))) if len(own) else 0.0,
            aspect=_spread_aspects(aspects[own]),
            per_image=len(own) / images if images else 0.0,
            truncated=int(truncated[own].sum()),
            crowds=crowds[number],
            difficult=difficult[number],
        )


def _spread_aspects(aspects: Numbers) -> tuple[float, float, float]:
    """The 5 %, 50 % and 95 % quantiles."""
    low, middle, high = np.quantile(aspects, (0.05, 0.5, 0.95)).tolist() if len(aspects) else (0.0,) * 3
    return low, middle, high


def _spread(values: Integers | Numbers) -> SizeFigures:
    if not len(values):
        return SizeFigures(0.0, 0.0, 0.0)
    return SizeFigures(float(values.min()), float(np.median(values)), float(values.max()))


def _common_sizes(sizes: Integers, most: int = 5) -> list[tuple[int, int, int]]:
    """Width, height and number of images of the most frequent sizes."""
    different, counts = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(different[i, 1]), int(different[i, 0]), int(counts[i])) for i in order]


def _count_objects(counts: Integers, most: int = 20) -> list[int]:
    found: list[int] = np.bincount(np.minimum(counts, most), minlength=1).tolist()
    return found


def _bin_sides(sides: Numbers) -> list[int]:
    """Counts by half powers of two."""
    bins = np.floor(2 * np.log2(np.maximum(sides, 1))).astype(np.int64)
    found: list[int] = np.bincount(bins, minlength=1).tolist()
    return found


def _count_together(table: LabelTable) -> Integers:
    """[K, K]: in how many images both classes are; the diagonal has the images of each."""
    shown = np.unique(np.stack([table.owners, table.classes], axis=1), axis=0)
    together = np.zeros((len(table.names), len(table.names)), np.int64)
    starts = np.flatnonzero(np.diff(shown[:, 0], prepend=-1)).tolist()
    for start, end in pairwise([*starts, len(shown)]):
        classes = shown[start:end, 1]
        together[np.ix_(classes, classes)] += 1
    return together


def _map_centres(table: LabelTable) -> Integers:
    """[GRID, GRID] boxes by the place of their centre in the image, rows from the top."""
    centres = (table.corners[:, :2] + table.corners[:, 2:]) / 2 / table.sizes[table.owners][:, ::-1]
    cells = np.clip((centres * GRID).astype(np.int64), 0, GRID - 1)
    found = np.zeros((GRID, GRID), np.int64)
    np.add.at(found, (cells[:, 1], cells[:, 0]), 1)
    return found
