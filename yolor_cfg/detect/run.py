"""One run over many images: read, detect in batches, hand on each result, skip unreadable sources.

Other threads read and prepare the next images, run the network and draw, while the caller's writes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any, NamedTuple

from yolor_cfg.detect.ahead import Crew, Walk, take_ahead
from yolor_cfg.detect.base import ImageDetector
from yolor_cfg.detect.detections import Detections
from yolor_cfg.detect.live import StreamNote
from yolor_cfg.detect.sources import (
    Frame,
    ImageFile,
    IncompleteVideo,
    MediaItem,
    MediaSources,
    UnreadableSource,
)
from yolor_cfg.detect.tiles import Prepared, can_join
from yolor_cfg.errors import DataError

MOST_BYTES = 256 << 20
"""Of images that are read ahead: of large ones fewer are."""

SkippedCallback = Callable[[UnreadableSource | IncompleteVideo | StreamNote], None]


class RunOptions(NamedTuple):
    """`workers` threads read and draw (None: by the number of processors; 0: one thing after the other, all
    in this thread). `draw(frame, detections)` runs in one of them; `found` gets its result as a third
    argument."""

    workers: int | None = None
    draw: Callable[[Frame, Detections], Any] | None = None


DEFAULT_RUN = RunOptions()


class PreparedFrame(NamedTuple):
    """An image and the network's input for it."""

    frame: Frame
    input: Prepared


class FoundObjects(NamedTuple):
    """An image, what is in it, and what `draw` makes of both."""

    frame: Frame
    detections: Detections
    drawn: Future[Any] | None = None


def detect_frames(
    detector: ImageDetector,
    frames: Iterable[MediaItem],
    *,
    found: Callable[..., None],
    skipped: SkippedCallback,
    how: RunOptions = DEFAULT_RUN,
) -> int:
    """Call `found(frame, detections)` for every image in order and `skipped` for every unreadable source,
    incomplete video and note on a stream; return the number of images.

    The state of a recurrent network is reset for each image and each video.
    """
    done = 0
    with closing(_detect_ahead(detector, frames, how)) as results:
        for item in results:
            if isinstance(item, FoundObjects):
                drawn = () if item.drawn is None else (item.drawn.result(),)
                found(item.frame, item.detections, *drawn)
                done += 1
            else:
                skipped(item)
    return done


def check_any_read(done: int, unreadable: Sequence[UnreadableSource]) -> None:
    """Raise DataError if no image could be read: an empty result would look like a success."""
    if done == 0:
        count = f"{len(unreadable)} unreadable source" + ("s" if len(unreadable) > 1 else "")
        raise DataError("no image could be read", found=count)


class FrameReader:
    """The items of some sources, in order, images with their input: iterating reads ahead."""

    def __init__(self, frames: Iterable[MediaItem], detector: ImageDetector, crew: Crew) -> None:
        self._frames, self._detector, self._crew = frames, detector, crew
        self._most = crew.count_ahead(detector.batch_size)
        self._image_bytes = MOST_BYTES  # not known before the first is there: no other is read ahead of it
        self._walk: Walk[Any, Any] | None = None
        self._is_live = False

    def __iter__(self) -> Iterator[Any]:
        return take_ahead(self._begin(), lambda: 0 if self._is_live else self.room())

    def room(self) -> int:
        """How many images of the size at hand may be ready before they are asked for."""
        return min(self._most, max(1, MOST_BYTES // self._image_bytes))

    def stop(self) -> None:
        """Wait for no further frame of a live source."""
        if isinstance(self._frames, MediaSources):
            self._frames.stop()

    def close(self) -> None:
        """Close the video at hand."""
        if self._walk is not None:
            self._walk.close()

    def _begin(self) -> Iterator[Future[list[Any]]]:
        """Begin to read image after image: files side by side, frames of a video one after the other."""
        if not isinstance(self._frames, MediaSources):
            yield from self._begin_walk(self._frames)
            return
        for item in self._frames.items:
            self._is_live = not isinstance(item, ImageFile) and item.is_live
            items = item.frames(self._frames.reading)
            if isinstance(item, ImageFile):
                yield self._crew.many.submit(Walk(items, self._prepare).step)
            else:
                yield from self._begin_walk(items)

    def _begin_walk(self, items: Iterable[MediaItem]) -> Iterator[Future[list[Any]]]:
        self._walk = Walk(items, self._prepare)
        return self._walk.jobs(self._crew.reader)

    def _prepare(self, item: MediaItem) -> Any:
        if not isinstance(item, Frame):
            return item
        self._image_bytes = item.image.nbytes
        return PreparedFrame(item, self._detector.prepare(item.image))


def _detect_ahead(
    detector: ImageDetector, frames: Iterable[MediaItem], how: RunOptions
) -> Generator[Any, None, None]:
    """`FoundObjects` of every image, and the items that are no images, in order."""
    crew = Crew(how.workers)
    reader = FrameReader(frames, detector, crew)
    draw = how.draw

    def begin_drawing(item: Any) -> Any:
        if draw is None or not isinstance(item, FoundObjects):
            return item
        return item._replace(drawn=crew.many.submit(draw, item.frame, item.detections))

    results = Walk(_detect_batches(detector, reader), begin_drawing)
    try:
        yield from take_ahead(results.jobs(crew.runner), reader.room)
    finally:
        detector.is_stopped = True
        reader.stop()
        crew.stop()
        detector.is_stopped = False
        results.close()
        reader.close()


def _detect_batches(detector: ImageDetector, items: Iterable[Any]) -> Iterator[Any]:
    """The results one by one; a batch ends before an image of another size and before what is no image."""
    waiting: list[PreparedFrame] = []
    for item in items:
        if not isinstance(item, PreparedFrame):
            yield from _detect_batch(detector, waiting)
            yield item
            continue
        inputs = [other.input for other in waiting]
        if inputs and not can_join(item.input, inputs, detector.batch_size):
            yield from _detect_batch(detector, waiting)
        if not item.frame.index:
            detector.reset()
        waiting.append(item)
    yield from _detect_batch(detector, waiting)


def _detect_batch(detector: ImageDetector, waiting: list[PreparedFrame]) -> Iterator[FoundObjects]:
    if waiting:
        results = detector.detect([item.input for item in waiting])
        frames = [item.frame for item in waiting]
        waiting.clear()
        for frame, detections in zip(frames, results, strict=True):
            yield FoundObjects(frame, detections)
