"""The embeddings of detections, as they are written: in records, and all of a run in one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.detect.sources import Frame
from yolor_cfg.errors import YolorError
from yolor_cfg.files import replace_file
from yolor_cfg.images.draw import DetectionsLike

DIGITS = 6
NO_FRAME = -1
SIZES_OF_NONE = {"embeddings": (0, 0), "boxes_xyxy": (0, 4)}
"""Of what is written of no image."""


def embedded_records(records: Sequence[dict[str, Any]], detections: Any) -> Iterator[dict[str, Any]]:
    """The records of detections with their embeddings, rounded."""
    for record, vector in zip(records, np.asarray(detections.embeddings, np.float64), strict=True):
        yield {**record, "embedding": [round(number, DIGITS) for number in vector.tolist()]}


class VectorTable:
    """The embeddings of a run, in memory until it ends: a row for each detection."""

    def __init__(self) -> None:
        self._columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("embeddings", "boxes_xyxy", "scores", "classes", "sources", "frames")
        }

    def add(self, frame: Frame, detections: DetectionsLike) -> None:
        """Add the detections of an image."""
        found: Any = detections
        parts = {name: np.asarray(getattr(found, name)) for name in list(self._columns)[:4]}
        count = len(parts["scores"])
        parts["sources"] = np.full(count, frame.source)
        parts["frames"] = np.full(count, NO_FRAME if frame.index is None else frame.index, np.int64)
        for name, part in parts.items():
            self._columns[name].append(part)

    def add_record(self, record: dict[str, Any]) -> None:
        """Add the detections of a line of detections.jsonl with embeddings; its numbers are rounded."""
        found = record["detections"]
        if not found:
            return
        count = len(found)
        columns: dict[str, NDArray[Any]] = {
            "embeddings": np.array([one["embedding"] for one in found], np.float32),
            "boxes_xyxy": np.array([one["box_xyxy"] for one in found], np.float32),
            "scores": np.array([one["score"] for one in found], np.float32),
            "classes": np.array([one["class"] for one in found], np.int64),
            "sources": np.full(count, record["source"]),
            "frames": np.full(count, record.get("frame", NO_FRAME), np.int64),
        }
        for name, part in columns.items():
            self._columns[name].append(part)

    def save(self, path: Path) -> None:
        """Write them: `embeddings` [M, E] and `boxes_xyxy` [M, 4] float32, `scores`, `classes`, `sources` and
        `frames` (-1 for an image) [M]."""
        tables = {
            name: np.concatenate(parts) if parts else np.zeros(SIZES_OF_NONE.get(name, 0), np.float32)
            for name, parts in self._columns.items()
        }
        replace_file(
            path, lambda file: np.savez(file, allow_pickle=False, **tables), fault=YolorError, force=True
        )
