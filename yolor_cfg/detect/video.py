"""The drawn copy of a video: as many frames, at their times, complete or absent.

With the extra `video` it is VP9 with the sound of the source (`detect.sound_video`), else what OpenCV writes:
MPEG-4 part 2 without sound, which browsers do not play.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from yolor_cfg.detect.mp4_times import UnknownLayout, set_times
from yolor_cfg.detect.sound_video import MOST_PIXELS_A_SIDE, SoundVideo
from yolor_cfg.detect.sources import Frame
from yolor_cfg.errors import MissingExtra, YolorError, count_of
from yolor_cfg.files import reason_of
from yolor_cfg.images.read import silence_stderr
from yolor_cfg.images.types import Image
from yolor_cfg.runs import ELSEWHERE, new_file

DEFAULT_FPS = 25.0
"""For a video that states no rate, or an absurd one."""
SMALLEST_FPS, LARGEST_FPS = 1 / 86_400, 1000.0
"""Rates beyond them are absurd: a frame a day is one of the slowest time lapses."""
OPENCV_PIXELS_A_SIDE = 8190
"""The most that MPEG-4 part 2 can hold."""
EVEN_SECONDS = 0.0015
"""By how much a time may differ from that of an even rate: containers round to milliseconds."""
LONGEST_GAP = 86_400.0
"""Seconds between two frames; a longer one is a fault of the file and not kept."""
PROBE_BYTES = 1 << 20
FRAMES_A_PROBE, GROWTH_BYTES = 8, 1 << 16
"""How often it is tried whether a file of OpenCV's can grow, and by how much."""
NO_EXTRA = (
    "drawn videos are MPEG-4 without sound, which browsers do not play; for VP9 with sound: "
    f"{MissingExtra('video').message}"
)


class Timing(NamedTuple):
    """The rate of a drawn video; that of its source may be absurd, as its times then are."""

    fps: float
    is_absurd: bool

    def next_time(self, times: list[float], seconds: float | None) -> float:
        """The time of the next frame: its own if that can be, else one frame after the last."""
        if not times:
            return 0.0 if self.is_absurd or seconds is None else max(0.0, min(seconds, LONGEST_GAP))
        gap = math.nan if self.is_absurd or seconds is None else seconds - times[-1]
        return times[-1] + (gap if 0 < gap <= LONGEST_GAP else 1 / self.fps)


def _choose_timing(fps: float) -> Timing:
    """From the rate that a source states, which may be anything."""
    if SMALLEST_FPS <= fps <= LARGEST_FPS:
        return Timing(fps, is_absurd=False)
    return Timing(DEFAULT_FPS, is_absurd=fps != 0)


class Encoder(Protocol):
    """What writes a video file. Raises OSError where that fails."""

    def write(self, image: Image, seconds: float) -> None:
        """Append an RGB image of the size of the video, to be shown from this time on."""

    def finish(self, until: float | None) -> None:
        """Complete the file; of the sound up to this time, or all of it."""

    def abandon(self) -> None:
        """Close the file as it is, so that it can be removed and its space is free."""


class OpenCvVideo:
    """OpenCV's writer, which knows even rates only and does not tell whether it could write: every so many
    frames it is tried whether the file can still grow."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self._path, self._fps = path, fps
        self._times: list[float] = []
        with silence_stderr:
            code, even = cv2.VideoWriter.fourcc(*"mp4v"), fps if fps >= 1 else DEFAULT_FPS
            self._video = cv2.VideoWriter(str(path), code, even, size)
        self._even = even
        if not self._video.isOpened():
            raise OSError(f"OpenCV writes no such video: {size[0]}x{size[1]} pixels, {fps:g} frames a second")

    def write(self, image: Image, seconds: float) -> None:
        """Append an RGB image."""
        self._times.append(seconds)
        with silence_stderr:
            self._video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if len(self._times) % FRAMES_A_PROBE == 0:
            _try_to_grow(self._path)

    def finish(self, until: float | None) -> None:
        """Complete the file, and set the times where they are not even."""
        with silence_stderr:
            self._video.release()
        away = max(abs(seconds - k / self._even) for k, seconds in enumerate(self._times))
        if away > EVEN_SECONDS:
            set_times(self._path, self._times, last=1 / self._fps)

    def abandon(self) -> None:
        """Close the file."""
        with silence_stderr:
            self._video.release()


class VideoClip:
    """A drawn video, written under a hidden name until it is closed and reads back."""

    def __init__(self, path: Path, first: Frame) -> None:
        self.path = path
        self.index = -1
        self.notes: list[str] = []
        self._first = first
        self._timing = _choose_timing(first.fps)
        self._times: list[float] = []
        self._encoder: Encoder | None = None
        self._partial = path
        self._open = ExitStack()

    def can_append(self, frame: Frame) -> bool:
        """True if the frame is a later one of the same video."""
        return frame.source == self._first.source and frame.index is not None and frame.index > self.index

    def write(self, image: Image, seconds: float | None) -> None:
        """Append an RGB image; one of another size, as a stream may send, is resized to the first."""
        self._times.append(self._timing.next_time(self._times, seconds))
        try:
            if self._encoder is None:
                self._encoder = self._start()
            self._encoder.write(_resize(image, self._size), self._times[-1])
        except OSError as fault:
            self._fail(fault)

    def close(self, *, is_whole: bool = True) -> None:
        """Finish the video and give it its final name; raises YolorError if it cannot be read back.

        A video that is not whole, as of a run that was interrupted, has sound up to its last frame, in the
        midst of which the run may have ended.
        """
        if self._encoder is None:
            return
        try:
            self._encoder.finish(None if is_whole else self._times[-1])
            _check_readable(self._partial, len(self._times), unsure=0 if is_whole else 1)
        except UnknownLayout:
            self.notes.append(f"{self.path}: its frames are evenly spaced, unlike those of the source")
        except OSError as fault:
            self._fail(fault)
        if isinstance(self._encoder, SoundVideo) and self._encoder.sound_fault:
            self.notes.append(f"{self.path}: without sound: {self._encoder.sound_fault}")
        self._encoder = None
        self._open.close()

    def _start(self) -> Encoder:
        self._partial = self._open.enter_context(new_file(self.path))
        if self._timing.is_absurd:
            found = f"{self._first.source}: it states {self._first.fps:g} frames a second"
            self.notes.append(f"{found}; its drawn copy has {DEFAULT_FPS:g}")
        height, width = self._first.image.shape[:2]
        try:
            self._size = _fit_size(width, height, MOST_PIXELS_A_SIDE)
            source = None if self._timing.is_absurd else self._first.source
            return SoundVideo(self._partial, self._size, source, fps=self._timing.fps)
        except MissingExtra:
            self.notes.append(NO_EXTRA)
        self._size = _fit_size(width, height, OPENCV_PIXELS_A_SIDE)
        return OpenCvVideo(self._partial, self._size, self._timing.fps)

    def _fail(self, fault: OSError) -> None:
        """Give the video up: nothing is left of it, and the error says why."""
        reason = _find_write_fault(self._partial) or reason_of(fault)
        if self._encoder is not None:
            self._encoder.abandon()
        self._encoder = None
        error = YolorError("the video cannot be written", path=str(self.path), found=reason, hint=ELSEWHERE)
        with self._open:
            raise error from fault


def _fit_size(width: int, height: int, most: int) -> tuple[int, int]:
    """Width and height, even, as all codecs want them, and small enough."""
    scale = min(1.0, most / max(width, height))
    fitted = (int(side * scale) // 2 * 2 for side in (width, height))
    return max(2, next(fitted)), max(2, next(fitted))


def _resize(image: Image, size: tuple[int, int]) -> Image:
    """The image at this width and height; of an odd size the last row or column is left out."""
    width, height = size
    if image.shape[1] // 2 * 2 == width and image.shape[0] // 2 * 2 == height:
        return image[:height, :width].copy()
    return np.asarray(cv2.resize(image, size), np.uint8)


def _check_readable(path: Path, count: int, *, unsure: int) -> None:
    """Raise OSError unless the file gives that many frames, or up to `unsure` fewer; each is decoded."""
    found = 0
    with silence_stderr:
        capture = cv2.VideoCapture(str(path))
        while capture.grab():
            found += 1
        capture.release()
    if not max(count - unsure, 1) <= found <= count:
        raise OSError(f"of {count_of(count, 'frame')} written {found} can be read back")


def _try_to_grow(path: Path) -> None:
    """Raise OSError where no more can be written to the file, which stays as it is."""
    with open(path, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(bytes(GROWTH_BYTES)) < GROWTH_BYTES:
                file.write(bytes(GROWTH_BYTES))  # of a write in part only the next one says why
        finally:
            file.truncate(size)


def _find_write_fault(path: Path) -> str:
    """What the system says when more is written there, which OpenCV keeps to itself; empty if that works."""
    try:
        with open(path, "ab") as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as fault:
        return reason_of(fault)
    return ""
