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
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2

from yolor_cfg.detect.live import LiveStream, StreamNote, StreamState
from yolor_cfg.detect.walk import VIDEO_SUFFIXES, FrameWalk, frame_count
from yolor_cfg.errors import DataError, count_of, escape, shorten
from yolor_cfg.files import (
    HEAD_BYTES,
    MOST_LABEL_BYTES,
    StrPath,
    find_file_kind,
    open_regular,
    reason_of,
    walk_folders,
)
from yolor_cfg.images.read import bytes_of, silence_stderr, to_rgb
from yolor_cfg.images.stacks import READABLE_SUFFIXES, read_channels
from yolor_cfg.images.types import Image

LIST_SUFFIXES = (".txt", ".list")
"""Of lists of paths; the second is common in files of Darknet."""
OTHER_SUFFIXES = (".csv", ".data", ".json", ".jsonl", ".list", ".names", ".txt", ".xml", ".yaml", ".yml")
"""Files of these kinds are common beside images and are not opened to see whether they hold an image."""
FILE_SUFFIXES = tuple({*READABLE_SUFFIXES, *VIDEO_SUFFIXES} - {".mjpg", ".mjpeg"})
"""Of addresses that lead to a file; those of cameras often end with the others."""
MOST_NAMES = 5
"""Names of files that a note lists."""
MEDIA_KINDS = "images (.jpg, .png, .webp, .tif, .npy, ...), videos (.mp4, .avi, .mov, .mkv, ...)"
SOURCE_KINDS = (
    "an image, a video, a folder, a glob, a list of paths (.txt), - for a list on standard input, "
    "a camera number, an rtsp:// or http:// URL"
)
LISTED_KINDS = "files, http://, https:// and rtsp:// addresses"
LISTED_URL = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)
"""The only addresses that a list, which others may have written, can have opened."""
PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
"""FFmpeg knows many (ftp:, concat:, subfile, ...); one letter is a drive."""
DEEP_GLOB = re.compile(r"(?<![^/])\*\*(?![^/])")
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
    read_at: float = field(default_factory=time.monotonic, repr=False)


@dataclass(frozen=True)
class UnreadableSource:
    """A source that yielded no image, to be reported, counted and skipped."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{escape(shorten(self.source))}: skipped: {escape(self.reason)}"


@dataclass(frozen=True)
class IncompleteVideo:
    """Told after the last frame of a video: how many of its frames are damaged or missing."""

    source: str
    lost: int
    announced: int

    def __str__(self) -> str:
        verb = "is" if self.lost == 1 else "are"
        lost = f"{self.lost} of {count_of(self.announced, 'frame')} {verb} damaged or missing"
        return f"{escape(self.source)}: incomplete: {lost}"


MediaItem = Frame | UnreadableSource | IncompleteVideo | StreamNote


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
    """A video file, a camera (its number as text) or a stream; a live one does not know its length.

    Of a live one the newest frame is given when one is asked for; older ones are dropped and counted in
    `state`. It is connected again where its connection breaks.
    """

    address: str
    is_live: bool = False
    state: StreamState = field(default_factory=StreamState, compare=False, repr=False)

    def frames(self, reading: SourceOptions) -> Iterator[MediaItem]:
        """Its frames, and how many of them are damaged; or why there are none."""
        if reading.channels not in (1, 3):
            yield UnreadableSource(self.address, f"a video has 3 channels, not {reading.channels}")
            return
        capture = self._open_capture()
        if self.is_live and not self._is_file(capture) and capture.isOpened():
            yield from self._newest_frames(capture, reading)
            return
        try:
            fps = max(0.0, capture.get(cv2.CAP_PROP_FPS)) / reading.vid_stride
            walk = FrameWalk(capture, self.address, is_live=self.is_live, stride=reading.vid_stride)
            for index, seconds, pixels in walk:
                yield Frame(self.address, index, to_rgb(pixels, reading.channels), fps, seconds)
            if not walk.decoded:
                yield UnreadableSource(self.address, self._unreadable_reason(capture.isOpened()))
            elif walk.lost:
                yield IncompleteVideo(self.address, walk.lost, walk.grabbed + walk.lost)
        finally:
            capture.release()

    def _newest_frames(self, capture: cv2.VideoCapture, reading: SourceOptions) -> Iterator[MediaItem]:
        fps = max(0.0, capture.get(cv2.CAP_PROP_FPS)) / reading.vid_stride
        stream = LiveStream(capture, self._open_capture, state=self.state, stride=reading.vid_stride)
        for item in stream:
            if isinstance(item, str):
                yield StreamNote(self.address, item)
            else:
                index, seconds, pixels = item
                yield Frame(self.address, index, to_rgb(pixels, reading.channels), fps, seconds)
        if not self.state.taken and not self.state.is_over.is_set():
            yield UnreadableSource(self.address, self._unreadable_reason(opened=True))

    def _is_file(self, capture: cv2.VideoCapture) -> bool:
        """Whether an address leads to a file, all of whose frames count."""
        address = urlsplit(self.address)
        return frame_count(capture) > 0 or (
            address.scheme.startswith("http") and address.path.lower().endswith(FILE_SUFFIXES)
        )

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
            # An absolute path is never one of FFmpeg's protocols, whatever the file is called.
            place = self.address if self.is_live else os.path.abspath(self.address)
            if not self.is_live and not os.path.isfile(place):
                return cv2.VideoCapture()  # OpenCV would wait for a pipe
            capture = cv2.VideoCapture(int(place) if number else place)
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
        if os.path.exists(self.address):
            return "not a readable video"
        scheme = PROTOCOL.match(self.address)
        return f"{scheme[1]}: is not read from a list, {LISTED_KINDS} are" if scheme else "no such file"


MediaSource = ImageFile | Video


class MediaSources:
    """All frames of all items in order; can be iterated more than once, except for live sources.

    `notes` tell what the folders among the arguments hold besides.
    """

    def __init__(
        self, items: Sequence[MediaSource], reading: SourceOptions, *, notes: Sequence[str] = ()
    ) -> None:
        self.items = tuple(items)
        self.reading = reading
        self.notes = tuple(notes)

    def __iter__(self) -> Iterator[MediaItem]:
        for item in self.items:
            yield from item.frames(self.reading)

    def stop(self) -> None:
        """Let live sources end at once."""
        for item in self.items:
            if isinstance(item, Video):
                item.state.is_over.set()

    def drop_notes(self) -> list[str]:
        """How many frames of live sources were dropped."""
        videos = (item for item in self.items if isinstance(item, Video))
        return [note for one in videos for note in one.state.notes(escape(shorten(one.address)))]

    def select(self, block: slice) -> MediaSources:
        """Some of the items, without the notes."""
        return MediaSources(self.items[block], self.reading)

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
    notes = [note for arg in args if os.path.isdir(arg) for note in _describe_rest(Path(arg))]
    return MediaSources(items, SourceOptions(max(1, vid_stride), channels), notes=notes)


def _find_sources(text: str) -> list[MediaSource]:
    path = Path(text)
    if text == "-":
        return _parse_source_list(_read_stdin(), text, Path())
    if STREAM_URL.match(text):
        return [Video(text, is_live=True)]
    if path.is_dir():
        return _folder_sources(path)
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        return _parse_source_list(bytes_of(path), text, path.parent)
    if path.exists():
        return [_make_source(text)]
    if text.isdecimal():
        return [Video(text, is_live=True)]
    if glob.has_magic(text):
        return _glob_sources(text)
    raise DataError("no such file or folder", path=text, allowed=SOURCE_KINDS, hint=_suggest_path(path))


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(MOST_LABEL_BYTES + 1)
    if len(data) > MOST_LABEL_BYTES:
        raise DataError("the list on standard input does not end", allowed=f"{MOST_LABEL_BYTES >> 20} MiB")
    return data


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
        with open_regular(path) as file:
            return find_file_kind(file.read(HEAD_BYTES))
    except OSError:
        return None


def _folder_sources(folder: Path) -> list[MediaSource]:
    try:
        paths = sorted(str(path) for path in folder.iterdir())
    except OSError as fault:
        raise DataError(f"the folder cannot be read: {reason_of(fault)}", path=str(folder)) from None
    return _filter_media(paths, str(folder))


def _glob_sources(pattern: str) -> list[MediaSource]:
    try:
        return _filter_media(sorted(set(_expand_glob(pattern))), pattern)
    except OSError as fault:
        raise DataError(f"the folder cannot be read: {reason_of(fault)}", path=str(fault.filename)) from None


def _expand_glob(pattern: str) -> Iterator[str]:
    """What the pattern matches; unlike Python's, its `**` does not follow links round in circles."""
    deep = DEEP_GLOB.search(pattern)
    if deep is None:
        yield from glob.glob(pattern)
        return
    above, below = pattern[: deep.start()], pattern[deep.end() :].lstrip("/")
    for top in glob.glob(above) if above else ["."]:
        for folder, _ in walk_folders(top):
            place = glob.escape(folder if above else folder[2:])
            yield from _expand_glob(os.path.join(place, below or "*"))


def _filter_media(paths: Sequence[str], origin: str) -> list[MediaSource]:
    """The images and videos among the paths, whether they can be read or not; hidden files are left out."""
    shown = [path for path in paths if not os.path.basename(path).startswith(".") and not os.path.isdir(path)]
    known = [path for path in shown if _is_media(path)]
    if not known:
        found = f"{count_of(len(shown), 'file')} of other kinds" if shown else "no files"
        raise DataError("no images or videos here", path=origin, found=found, allowed=MEDIA_KINDS)
    return [_make_source(path) for path in known]


def _describe_rest(folder: Path) -> Iterator[str]:
    """What is left out of a folder that its user may have meant: folders, and files of unknown kinds."""
    shown = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path.name for path in shown if path.is_dir()]
    files = [path.name for path in shown if not path.is_dir() and not _is_media(str(path))]
    strange = [name for name in files if not name.lower().endswith(OTHER_SUFFIXES)]
    if folders:
        yield f"{folder}: its folders are left out: {_format_some(folders)}; to go into them: '{folder}/**/*'"
    if strange:
        yield f"{folder}: neither image nor video, and left out: {_format_some(strange)}"


def _format_some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _parse_source_list(data: bytes, origin: str, folder: Path) -> list[MediaSource]:
    """One path or URL per line; paths are relative to the list's folder or, failing that, the current one."""
    lines = [os.fsdecode(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    items = [_parse_source_line(line, folder) for line in lines if line]
    if not items:
        raise DataError("the list is empty", path=origin, allowed="one image or video path per line")
    return items


def _parse_source_line(line: str, folder: Path) -> MediaSource:
    beside = str(folder / line)
    if os.path.exists(beside):
        return _make_source(beside)
    if LISTED_URL.match(line):
        return Video(line, is_live=True)
    return Video(line) if PROTOCOL.match(line) and not os.path.exists(line) else _make_source(line)


def _suggest_path(path: Path) -> str:
    """What the user may have meant by a wrong path."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    near = difflib.get_close_matches(path.name, sorted(other.name for other in path.parent.iterdir()), n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""
