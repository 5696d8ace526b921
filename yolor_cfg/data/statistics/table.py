"""All labels of a data set as columns, in pixels of its images.

Legend: N images, T boxes of all images, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.overlap import image_paths
from yolor_cfg.data.types import BoxColumns, Dataset, Floats, Integers, Sample, Samples
from yolor_cfg.images.types import Size

Numbers = NDArray[np.float64]
BoxFlags = NDArray[np.bool_]


class LabelTable(NamedTuple):
    """The labels of N images: `owners` [T] is the image of each box; `corners` [T, 4] are left, top, right,
    bottom in pixels of that image, of `sizes` [N, 2], height and width."""

    names: tuple[str, ...]
    paths: list[str]
    sizes: Integers
    owners: Integers
    classes: Integers
    corners: Numbers
    areas: Numbers
    crowd: BoxFlags
    difficult: BoxFlags
    copies: Integers

    @property
    def sides(self) -> Numbers:
        """Width and height [T, 2] of each box in pixels."""
        return self.corners[:, 2:] - self.corners[:, :2]

    @property
    def counts(self) -> Integers:
        """Boxes [N] of each image, crowds included."""
        return np.bincount(self.owners, minlength=len(self.paths))

    def select_boxes(self, chosen: BoxFlags) -> LabelTable:
        """The same images with the chosen boxes alone."""
        columns = {
            key: getattr(self, key)[chosen]
            for key in ("owners", "classes", "corners", "areas", "crowd", "difficult", "copies")
        }
        return self._replace(**columns)

    def select_classes(self, classes: Collection[int]) -> LabelTable:
        """The same images with the boxes of these classes alone."""
        return self.select_boxes(np.isin(self.classes, sorted(classes)))


class InputFit(NamedTuple):
    """The size of a network's input, and whether images are stretched to it or scaled alike both ways."""

    size: Size
    is_stretched: bool = False


def label_table(data: Dataset) -> LabelTable:
    """The labels of a data set."""
    samples = data.samples if isinstance(data.samples, Samples) else _join_samples(data.samples)
    columns, sizes = samples.columns, samples.sizes.astype(np.int64)
    owners = np.repeat(np.arange(len(samples)), np.diff(samples.starts))
    return LabelTable(
        data.names,
        image_paths(samples),
        sizes,
        owners,
        columns.classes,
        _pixel_corners(columns.boxes_xywh, sizes[owners]),
        columns.areas.astype(np.float64),
        columns.crowd,
        columns.difficult,
        columns.copies,
    )


def _pixel_corners(boxes_xywh: Floats, sizes: Integers) -> Numbers:
    """Left, top, right and bottom [T, 4] in pixels of images of these sizes [T, 2]."""
    boxes, whole = boxes_xywh.astype(np.float64), np.tile(sizes[:, ::-1], 2).astype(np.float64)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1) * whole


def _join_samples(samples: Sequence[Sample]) -> Samples:
    """Single samples as columns."""
    fields = ("boxes_xywh", "classes", "identities", "crowd", "areas", "difficult", "copies")
    columns = BoxColumns(*(np.concatenate([getattr(one, field) for one in samples]) for field in fields))
    return Samples(
        [one.image for one in samples],
        [one.image_id for one in samples],
        np.array([one.size for one in samples], np.int32).reshape(-1, 2),
        starts=np.cumsum([0, *(len(one.classes) for one in samples)]),
        columns=columns,
    )


def join_tables(tables: Sequence[LabelTable]) -> LabelTable:
    """The images of all tables, which have the same classes; one that stands in two counts once."""
    if len(tables) == 1:
        return tables[0]
    starts = np.cumsum([0, *(len(table.paths) for table in tables)])
    moved = [
        table._replace(owners=table.owners + start) for table, start in zip(tables, starts, strict=False)
    ]
    columns = {
        key: np.concatenate([getattr(table, key) for table in moved])
        for key in LabelTable._fields
        if key not in ("names", "paths")
    }
    whole = LabelTable(tables[0].names, [path for table in tables for path in table.paths], **columns)
    return _drop_repeats(whole)


def _drop_repeats(table: LabelTable) -> LabelTable:
    """Each image once."""
    first: dict[str, int] = {}
    kept = np.array([first.setdefault(path, number) == number for number, path in enumerate(table.paths)])
    if kept.all():
        return table
    fewer = table.select_boxes(kept[table.owners])
    paths = [path for path, stays in zip(table.paths, kept, strict=True) if stays]
    return fewer._replace(paths=paths, sizes=table.sizes[kept], owners=(np.cumsum(kept) - 1)[fewer.owners])


def image_gains(table: LabelTable, fit: InputFit | None) -> Numbers:
    """By how much the width and the height of each image [N, 2] are scaled for the input; 1 without one."""
    if fit is None:
        return np.ones((len(table.paths), 2))
    gains = np.array(fit.size[::-1], np.float64) / table.sizes[:, ::-1]
    return gains if fit.is_stretched else np.repeat(gains.min(axis=1, keepdims=True), 2, axis=1)
