"""Where images come from: files, folders, globs, lists, videos, cameras and streams, as RGB arrays.

Images are turned upright as EXIF says, as YOLOR and C Darknet built with OpenCV do. JPEG leaves decoders some
freedom: OpenCV's and Darknet's (stb) differ by a few grey levels, so boxes may differ in the last digits; a
PNG gives the same pixels everywhere.
"""

from __future__ import annotations

import difflib
import glob
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

from yolor_cfg.errors import DataError
from yolor_cfg.files import StrPath, reason_of
from yolor_cfg.images.read import IMAGE_SUFFIXES, bytes_of, read_image, silence_stderr, to_rgb
from yolor_cfg.images.types import Image

VIDEO_SUFFIXES = (
    ".asf",
    ".avi",
    ".flv",
    ".m4v",
    ".mjpeg",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".ts",
    ".webm",
    ".wmv",
)
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


@dataclass(frozen=True)
class UnreadableSource:
    """A source that yielded no image, to be reported, counted and skipped."""

    source: str
    reason: str


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
            yield Frame(self.path, None, read_image(self.path, channels=reading.channels))
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

    def frames(self, reading: SourceOptions) -> Iterator[Frame | UnreadableSource]:
        """Its frames, or why there are none."""
        if reading.channels not in (1, 3):
            yield UnreadableSource(self.address, f"a video has 3 channels, not {reading.channels}")
            return
        capture = self._open_capture()
        try:
            fps = max(0.0, capture.get(cv2.CAP_PROP_FPS)) / reading.vid_stride
            index = -1
            for index, pixels in _iter_frames(capture, reading.vid_stride):
                yield Frame(self.address, index, to_rgb(pixels, reading.channels), fps)
            if index < 0:
                yield UnreadableSource(self.address, self._unreadable_reason(capture.isOpened()))
        finally:
            capture.release()

    def count_frames(self, reading: SourceOptions) -> int | None:
        """How many items `frames` yields according to the file; None if it does not say."""
        if self.is_live:
            return None
        capture = self._open_capture()
        known = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 1
        capture.release()
        return -(-int(known) // reading.vid_stride) if known > 0 else None

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

    def __iter__(self) -> Iterator[Frame | UnreadableSource]:
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
    return Video(path) if path.lower().endswith(VIDEO_SUFFIXES) else ImageFile(path)


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
    """The images and videos among the files, by suffix; hidden files are left out."""
    shown = [path for path in paths if not os.path.basename(path).startswith(".")]
    known = [path for path in shown if path.lower().endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES)]
    if not known:
        found = f"{len(shown)} files of other kinds" if shown else "no files"
        raise DataError(
            "no images or videos here", path=origin, found=found, allowed=IMAGE_SUFFIXES + VIDEO_SUFFIXES
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


def _iter_frames(capture: cv2.VideoCapture, stride: int) -> Iterator[tuple[int, MatLike]]:
    """Number and pixels (BGR) of every `stride`-th frame; those in between are not decoded."""
    index = 0
    while _grab_frame(capture):
        if index % stride == 0:
            there, pixels = capture.retrieve()
            if not there:
                return
            yield index, pixels
        index += 1


def _grab_frame(capture: cv2.VideoCapture) -> bool:
    with silence_stderr:
        return capture.grab()
