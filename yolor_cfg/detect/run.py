"""One run over many pictures: read, detect in batches, hand each result on, skip what cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from yolor_cfg.detect.pipeline import Detections, Detector
from yolor_cfg.detect.sources import Frame, Unreadable
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import Prepared

Found = Callable[[Frame, Detections], None]
Skipped = Callable[[Unreadable], None]


def run(detector: Detector, frames: Iterable[Frame | Unreadable], *, found: Found, skipped: Skipped) -> int:
    """Call `found` for every picture in order and `skipped` for what gave none; the number of pictures.

    A recurrent network starts anew with each picture and each video.
    """
    waiting: list[tuple[Frame, Prepared]] = []
    done = 0
    for frame in frames:
        if isinstance(frame, Unreadable):
            done += _flush(detector, waiting, found)
            skipped(frame)
            continue
        item = detector.prepare(frame.image)
        if waiting and not _joins(item, waiting, detector.batch_size):
            done += _flush(detector, waiting, found)
        if not frame.index:
            detector.network.reset()
        waiting.append((frame, item))
    return done + _flush(detector, waiting, found)


def refuse_nothing_read(done: int, unreadable: Sequence[Unreadable]) -> None:
    """Raise DataError when not one picture could be read: an empty result would look like a good one."""
    if done == 0:
        count = f"{len(unreadable)} unreadable source" + ("s" if len(unreadable) > 1 else "")
        raise DataError("not one picture could be read", found=count)


def _joins(item: Prepared, waiting: list[tuple[Frame, Prepared]], most: int) -> bool:
    return len(waiting) < most and item.pixels.shape == waiting[0][1].pixels.shape


def _flush(detector: Detector, waiting: list[tuple[Frame, Prepared]], found: Found) -> int:
    count = len(waiting)
    if waiting:
        results = detector.detect([item for _, item in waiting])
        for (frame, _), detections in zip(waiting, results, strict=True):
            found(frame, detections)
        waiting.clear()
    return count
