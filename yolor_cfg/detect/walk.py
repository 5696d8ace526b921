"""The frames of an open video one by one, with their times; damaged ones are passed over and counted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
from cv2.typing import MatLike

from yolor_cfg.images.read import silence_stderr

VIDEO_SUFFIXES = (
    ".264",
    ".265",
    ".3g2",
    ".3gp",
    ".asf",
    ".avi",
    ".divx",
    ".dv",
    ".f4v",
    ".flv",
    ".gxf",
    ".h264",
    ".h265",
    ".hevc",
    ".ivf",
    ".m1v",
    ".m2p",
    ".m2ts",
    ".m2v",
    ".m4v",
    ".mjpeg",
    ".mjpg",
    ".mkv",
    ".mod",
    ".mov",
    ".mp4",
    ".mpe",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".nut",
    ".ogv",
    ".qt",
    ".rm",
    ".rmvb",
    ".tod",
    ".trp",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
    ".y4m",
)
EXACT_SUFFIXES = (".3gp", ".avi", ".m4v", ".mov", ".mp4")
"""Containers that hold the number of their frames; for others it is estimated from the duration."""
MIN_GAP_SECONDS, MIN_GAP_PART = 2.0, 0.05
"""By how much an estimated end may be missed: more than both of these is told."""
UNANNOUNCED_TRIES = 100
"""Failures in a row that end a video file which does not say how many frames it has."""
MAX_LOST = 3000
"""Frames in a row that may be damaged before the rest of a video is given up."""


class FrameWalk:
    """Number, time and pixels (BGR) of every `stride`-th frame; those in between are not decoded.

    A damaged frame does not end the walk while the file announces more frames. `grabbed` counts the frames
    that were found, `decoded` those handed on, `lost` those that could not be read.
    """

    def __init__(self, capture: cv2.VideoCapture, address: str, *, is_live: bool, stride: int) -> None:
        self._capture = capture
        self._announced = 0 if is_live else frame_count(capture)
        self._patience = 0 if is_live or self._announced else UNANNOUNCED_TRIES
        self._is_exact = address.lower().endswith(EXACT_SUFFIXES)
        self._stride = stride
        self._clock = FrameClock(capture, is_absolute=is_live)
        self.grabbed = self.decoded = self.lost = 0

    def __iter__(self) -> Iterator[tuple[int, float | None, MatLike]]:
        index = missed = 0
        while missed < MAX_LOST:
            found = _grab_frame(self._capture)
            if not found and index >= self._announced and missed >= self._patience:
                break
            wanted = found and index % self._stride == 0
            there, pixels = self._capture.retrieve() if wanted else (found, None)
            if there:
                self.grabbed, self.lost, missed = self.grabbed + 1, self.lost + missed, 0
                self._clock.move_to(index)
            else:
                missed += 1
            if there and pixels is not None:
                self.decoded += 1
                yield index, self._clock.seconds, pixels
            index += 1
        if self._is_exact or self._ends_early(self._clock.seconds or 0.0):
            self.lost = max(self.lost, self._announced - self.grabbed)

    def _ends_early(self, seconds: float) -> bool:
        """Whether the last frame, at this time, comes clearly before the end that the file announces."""
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        length = self._announced / rate if rate > 0 else 0.0
        return seconds > 0 and length - seconds > max(MIN_GAP_SECONDS, length * MIN_GAP_PART)


class FrameClock:
    """The time of the newest frame in seconds: what the file says, which a container may leave out.

    Without times, the number of the frame and the rate give one; None if both are unknown. A camera counts
    from anywhere (`is_absolute`), so its first frame is at 0.
    """

    def __init__(self, capture: cv2.VideoCapture, *, is_absolute: bool) -> None:
        self._capture, self._is_absolute = capture, is_absolute
        self._zero: float | None = None
        self.seconds: float | None = None

    def move_to(self, index: int) -> None:
        """Read the time of the frame that was just found."""
        told = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._zero is None:
            self._zero = told if self._is_absolute else 0.0
        moment = told - self._zero
        if index == 0 or (moment > (self.seconds or 0.0) and math.isfinite(moment)):
            self.seconds = max(0.0, moment)
            return
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.seconds = max(self.seconds or 0.0, index / rate) if rate > 0 else None


def frame_count(capture: cv2.VideoCapture) -> int:
    """How many frames the file announces; 0 if it does not say."""
    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def _grab_frame(capture: cv2.VideoCapture) -> bool:
    with silence_stderr:
        return capture.grab()
