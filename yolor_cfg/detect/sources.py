"""Where images come from: files, folders, globs, lists, videos, cameras and streams, as RGB arrays.

Images are turned upright as EXIF says, as YOLOR and C Darknet built with OpenCV do. JPEG leaves decoders some
freedom: OpenCV's and Darknet's (stb) differ by a few grey levels, so boxes may differ in the last digits; a
PNG gives the same pixels everywhere.
"""

from __future__ import annotations

import difflib
import glob
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
from cv2.typing import MatLike

from yolor_cfg.errors import DataError, shorten
from yolor_cfg.files import HEAD_BYTES, StrPath, find_file_kind, reason_of
from yolor_cfg.images.read import bytes_of, silence_stderr, to_rgb
from yolor_cfg.images.stacks import READABLE_SUFFIXES, read_channels
from yolor_cfg.images.types import Image

VIDEO_SUFFIXES = (
    ".3gp",
    ".asf",
    ".avi",
    ".divx",
    ".flv",
    ".h264",
    ".m2ts",
    ".m2v",
    ".m4v",
    ".mjpeg",
    ".mjpg",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpe",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
)
OTHER_SUFFIXES = (".csv", ".data", ".json", ".jsonl", ".names", ".txt", ".xml", ".yaml", ".yml")
"""Files of these kinds are common beside images and are not opened to see whether they hold an image."""
EXACT_SUFFIXES = (".3gp", ".avi", ".m4v", ".mov", ".mp4")
"""Containers that hold the number of their frames; for others it is estimated from the duration."""
MIN_GAP_SECONDS, MIN_GAP_PART = 2.0, 0.05
"""By how much an estimated end may be missed: more than both of these is told."""
UNANNOUNCED_TRIES = 100
"""Failures in a row that end a video file which does not say how many frames it has."""
MAX_LOST = 3000
"""Frames in a row that may be damaged before the rest of a video is given up."""
SOURCE_KINDS = (
    "an image, a video, a folder, a glob, a list of paths (.txt), - for a list on standard input, "
    "a camera number, an rtsp:// or http:// URL"
)
STREAM_URL = re.compile(r"(rtsps?|rtmp|https?|udp|tcp)://", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Frame:
    """One image [H, W, C] uint8, RGB; `index` counts a video's frames from 0 and is None for a file."""

    source: str
    index: int | None
    image: Image
    fps: float = 0.0
    """Frames yielded per second of the video; 0 if unknown."""
    time_s: float | None = None
    """Seconds since the start of the video; None if unknown, and for a file."""


@dataclass(frozen=True)
class UnreadableSource:
    """A source that yielded no image, to be reported, counted and skipped."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{shorten(self.source)}: skipped: {self.reason}"


@dataclass(frozen=True)
class IncompleteVideo:
    """Told after the last frame of a video: how many of its frames are damaged or missing."""

    source: str
    lost: int
    announced: int

    def __str__(self) -> str:
        return f"{self.source}: incomplete: {self.lost} of {self.announced} frames are damaged or missing"


MediaItem = Frame | UnreadableSource | IncompleteVideo


class SourceOptions(NamedTuple):
    """How to read: every `vid_stride`-th frame of a video, as images with `channels` channels."""

    vid_stride: int = 1
    channels: int = 3


@dataclass(frozen=True)
class ImageFile:
    """A file with one image."""

    path: str

    def frames(self, reading: SourceOptions) -> Iterator[Frame | UnreadableSource]:
        """The image, or why there is none."""
        try:
            yield Frame(self.path, None, read_channels(self.path, reading.channels))
        except DataError as fault:
            yield UnreadableSource(self.path, fault.message)

    def count_frames(self, reading: SourceOptions) -> int | None:
        """How many items `frames` yields: always one."""
        return 1


@dataclass(frozen=True)
class Video:
    """A video file, a camera (its number as text) or a stream; a live one does not know its length."""

    address: str
    is_live: bool = False

    def frames(self, reading: SourceOptions) -> Iterator[MediaItem]:
        """Its frames, and how many of them are damaged; or why there are none."""
        if reading.channels not in (1, 3):
            yield UnreadableSource(self.address, f"a video has 3 channels, not {reading.channels}")
            return
        capture = self._open_capture()
        try:
            fps = max(0.0, capture.get(cv2.CAP_PROP_FPS)) / reading.vid_stride
            walk = FrameWalk(capture, self, reading.vid_stride)
            for index, seconds, pixels in walk:
                yield Frame(self.address, index, to_rgb(pixels, reading.channels), fps, seconds)
            if not walk.decoded:
                yield UnreadableSource(self.address, self._unreadable_reason(capture.isOpened()))
            elif walk.lost:
                yield IncompleteVideo(self.address, walk.lost, walk.grabbed + walk.lost)
        finally:
            capture.release()

    def count_frames(self, reading: SourceOptions) -> int | None:
        """How many items `frames` yields according to the file; None if it does not say."""
        if self.is_live:
            return None
        capture = self._open_capture()
        known = frame_count(capture) if capture.isOpened() else 1
        capture.release()
        return -(-known // reading.vid_stride) if known > 0 else None

    def _open_capture(self) -> cv2.VideoCapture:
        number = self.is_live and self.address.isdecimal()
        with silence_stderr:
            capture = cv2.VideoCapture(int(self.address) if number else self.address)
            if self.is_live:
                capture.set(
                    cv2.CAP_PROP_BUFFERSIZE, 1
                )  # else a slow network falls further and further behind
        return capture

    def _unreadable_reason(self, opened: bool) -> str:
        if opened:
            return "no frame could be read"
        if self.is_live:
            return "no such camera or stream, or no permission to use it"
        return "not a readable video" if os.path.exists(self.address) else "no such file"


MediaSource = ImageFile | Video


class MediaSources:
    """All frames of all items in order; can be iterated more than once, except for live sources."""

    def __init__(self, items: Sequence[MediaSource], reading: SourceOptions) -> None:
        self.items = tuple(items)
        self.reading = reading

    def __iter__(self) -> Iterator[MediaItem]:
        for item in self.items:
            yield from item.frames(self.reading)

    @cached_property
    def total(self) -> int | None:
        """How many frames there will be; None if a source does not say. Opens every video once."""
        counts = [item.count_frames(self.reading) for item in self.items]
        return None if None in counts else sum(filter(None, counts))


def open_sources(args: Sequence[StrPath], *, vid_stride: int = 1, channels: int = 3) -> MediaSources:
    """The images that the arguments name; raises DataError for an argument that matches nothing.

    An unreadable image raises nothing: it is yielded as an `UnreadableSource` in its turn.
    """
    if not args:
        raise DataError("no source given", allowed=SOURCE_KINDS)
    items = [item for arg in args for item in _find_sources(os.fspath(arg))]
    return MediaSources(items, SourceOptions(max(1, vid_stride), channels))


def _find_sources(text: str) -> list[MediaSource]:
    path = Path(text)
    if text == "-":
        return _parse_source_list(sys.stdin.buffer.read(), text, Path())
    if STREAM_URL.match(text):
        return [Video(text, is_live=True)]
    if path.is_dir():
        return _folder_sources(path)
    if path.is_file() and path.suffix.lower() == ".txt":
        return _parse_source_list(bytes_of(path), text, path.parent)
    if path.exists():
        return [_make_source(text)]
    if text.isdecimal():
        return [Video(text, is_live=True)]
    if glob.has_magic(text):
        return _glob_sources(text)
    raise DataError("no such file or folder", path=text, allowed=SOURCE_KINDS, hint=_suggest_path(path))


def _make_source(path: str) -> MediaSource:
    """By the suffix or, if that is unknown, by the content."""
    known = path.lower().endswith(READABLE_SUFFIXES + VIDEO_SUFFIXES)
    is_video = path.lower().endswith(VIDEO_SUFFIXES) if known else _content_kind(path) == "a video"
    return Video(path) if is_video else ImageFile(path)


def _is_media(path: str) -> bool:
    """By the suffix or, if that is unknown, by the content, so that no image or video is left out unsaid."""
    ending = path.lower()
    if ending.endswith(READABLE_SUFFIXES + VIDEO_SUFFIXES):
        return True
    return not ending.endswith(OTHER_SUFFIXES) and _content_kind(path) in ("an image", "a video")


def _content_kind(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return find_file_kind(file.read(HEAD_BYTES))
    except OSError:
        return None


def _folder_sources(folder: Path) -> list[MediaSource]:
    try:
        paths = sorted(str(path) for path in folder.iterdir() if path.is_file())
    except OSError as fault:
        raise DataError(f"the folder cannot be read: {reason_of(fault)}", path=str(folder)) from None
    return _filter_media(paths, str(folder))


def _glob_sources(pattern: str) -> list[MediaSource]:
    paths = sorted(glob.glob(pattern, recursive=True))
    return _filter_media([path for path in paths if os.path.isfile(path)], pattern)


def _filter_media(paths: Sequence[str], origin: str) -> list[MediaSource]:
    """The images and videos among the files; hidden files are left out."""
    shown = [path for path in paths if not os.path.basename(path).startswith(".")]
    known = [path for path in shown if _is_media(path)]
    if not known:
        found = f"{len(shown)} files of other kinds" if shown else "no files"
        raise DataError(
            "no images or videos here", path=origin, found=found, allowed=READABLE_SUFFIXES + VIDEO_SUFFIXES
        )
    return [_make_source(path) for path in known]


def _parse_source_list(data: bytes, origin: str, folder: Path) -> list[MediaSource]:
    """One path or URL per line; paths are relative to the list's folder or, failing that, the current one."""
    lines = [os.fsdecode(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    items = [_parse_source_line(line, folder) for line in lines if line]
    if not items:
        raise DataError("the list is empty", path=origin, allowed="one image or video path per line")
    return items


def _parse_source_line(line: str, folder: Path) -> MediaSource:
    if STREAM_URL.match(line):
        return Video(line, is_live=True)
    beside = str(folder / line)
    return _make_source(beside if os.path.exists(beside) else line)


def _suggest_path(path: Path) -> str:
    """What the user may have meant by a wrong path."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    near = difflib.get_close_matches(path.name, sorted(other.name for other in path.parent.iterdir()), n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


class FrameWalk:
    """Number, time and pixels (BGR) of every `stride`-th frame; those in between are not decoded.

    A damaged frame does not end the walk while the file announces more frames. `grabbed` counts the frames
    that were found, `decoded` those handed on, `lost` those that could not be read.
    """

    def __init__(self, capture: cv2.VideoCapture, video: Video, stride: int) -> None:
        self._capture = capture
        self._announced = 0 if video.is_live else frame_count(capture)
        self._patience = 0 if video.is_live or self._announced else UNANNOUNCED_TRIES
        self._is_exact = video.address.lower().endswith(EXACT_SUFFIXES)
        self._stride = stride
        self._clock = FrameClock(capture, is_absolute=video.is_live)
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
