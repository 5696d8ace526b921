"""One run over many images: read, detect in batches, hand on each result, skip unreadable sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from yolor_cfg.detect.base import ImageDetector
from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.sources import Frame, IncompleteVideo, MediaItem, UnreadableSource
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import NetworkInput

DetectionsCallback = Callable[[Frame, Detections], None]
UnreadableCallback = Callable[[UnreadableSource | IncompleteVideo], None]


def detect_frames(
    detector: ImageDetector,
    frames: Iterable[MediaItem],
    *,
    found: DetectionsCallback,
    skipped: UnreadableCallback,
) -> int:
    """Call `found` for every image in order and `skipped` for every unreadable source and incomplete
    video; return the number of images.

    The state of a recurrent network is reset for each image and each video.
    """
    waiting: list[tuple[Frame, NetworkInput]] = []
    done = 0
    for frame in frames:
        if not isinstance(frame, Frame):
            done += _detect_batch(detector, waiting, found)
            skipped(frame)
            continue
        item = detector.prepare(frame.image)
        if waiting and not _can_join(item, waiting, detector.batch_size):
            done += _detect_batch(detector, waiting, found)
        if not frame.index:
            detector.reset()
        waiting.append((frame, item))
    return done + _detect_batch(detector, waiting, found)


def check_any_read(done: int, unreadable: Sequence[UnreadableSource]) -> None:
    """Raise DataError if no image could be read: an empty result would look like a success."""
    if done == 0:
        count = f"{len(unreadable)} unreadable source" + ("s" if len(unreadable) > 1 else "")
        raise DataError("no image could be read", found=count)


def _can_join(item: NetworkInput, waiting: list[tuple[Frame, NetworkInput]], most: int) -> bool:
    return len(waiting) < most and item.pixels.shape == waiting[0][1].pixels.shape


def _detect_batch(
    detector: ImageDetector, waiting: list[tuple[Frame, NetworkInput]], found: DetectionsCallback
) -> int:
    count = len(waiting)
    if waiting:
        results = detector.detect([item for _, item in waiting])
        for (frame, _), detections in zip(waiting, results, strict=True):
            found(frame, detections)
        waiting.clear()
    return count
