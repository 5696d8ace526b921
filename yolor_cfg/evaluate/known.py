"""Data sets and networks of different classes, and images of which not all classes are labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolor_cfg.data.types import Dataset
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.ground_truth import Doubles


def refuse_other_classes(dataset: Dataset, count: int, *, path: str) -> None:
    """Raise DataError unless the data set has as many classes as the network of this path."""
    if count != len(dataset.names):
        raise DataError(
            "the data set and the network differ in the number of classes",
            path=dataset.origin,
            found=f"{len(dataset.names)} in the data set",
            allowed=f"{count}, as in {path}",
        )


def sort_by_image(parts: Sequence[Doubles]) -> Doubles:
    """The rows sorted by image, so that equal scores rank as in a single process."""
    rows = np.concatenate(parts)
    return rows[np.argsort(rows[:, 0], kind="stable")]


def keep_known(parts: Sequence[Doubles], dataset: Dataset) -> Doubles:
    """All detections [D, 7] by image; of a data set that does not label all classes those of the others,
    which count from 0 then, as in its ground truth."""
    detections = sort_by_image(parts)
    if not dataset.annotated:
        return detections
    mine = detections[np.isin(detections[:, 6], dataset.known)]
    mine[:, 6] = np.searchsorted(dataset.known, mine[:, 6])
    return mine
