"""Where pictures come from: files, folders, globs, lists, videos, cameras and streams, as RGB arrays.

Pixels are those of the file as stored. An EXIF rotation is ignored, as C Darknet ignores it, so boxes equal
Darknet's and lie right on the stored pixels. JPEG leaves decoders some freedom: OpenCV's and Darknet's (stb)
differ by a few grey levels, so boxes may differ in the last digits; a PNG gives the same pixels everywhere.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from yolor_cfg.errors import DataError
from yolor_cfg.files import HEAD_BYTES, what_is

Image = NDArray[np.uint8]
StrPath = str | os.PathLike[str]

PICTURES = (
    ".avif", ".bmp", ".dib", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
)  # fmt: skip
VIDEOS = (
    ".asf", ".avi", ".flv", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv",
)  # fmt: skip
KINDS = (
    "a picture, a video, a folder, a glob, a list of paths (.txt), - for a list on standard input, "
    "a camera number, an rtsp:// or http:// address"
)
STREAM = re.compile(r"(rtsps?|rtmp|https?|udp|tcp)://", re.IGNORECASE)


class Quiet:
    """While it is entered nothing reaches standard error, where codecs write past OpenCV's log level.

    It counts its users, so that several threads may be in it at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved = -1

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._saved = _silenced()

    def __exit__(self, *fault: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)


def _silenced() -> int:
    """A copy of standard error, which now leads nowhere; -1 where there is none."""
    try:
        saved = os.dup(2)
    except OSError:
        return -1
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return saved


quiet = Quiet()


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture [H, W, C] uint8, RGB; `index` counts a video's frames from 0 and is None for a file."""

    source: str
    index: int | None
    image: Image
    fps: float = 0.0
    """Frames handed over per second of the video; 0 where that is unknown."""


@dataclass(frozen=True)
class Unreadable:
    """A source that gave no picture, to be named, counted and skipped."""

    source: str
    reason: str


class Reading(NamedTuple):
    """How to read: every `vid_stride`-th frame of a video, as images of so many channels."""

    vid_stride: int = 1
    channels: int = 3


@dataclass(frozen=True)
class Picture:
    """A file that holds one picture."""

    path: str

    def frames(self, reading: Reading) -> Iterator[Frame | Unreadable]:
        """The picture, or why there is none."""
        try:
            yield Frame(self.path, None, read_image(self.path, channels=reading.channels))
        except DataError as fault:
            yield Unreadable(self.path, fault.message)

    def length(self, reading: Reading) -> int | None:
        """How many items `frames` gives: always one."""
        return 1


@dataclass(frozen=True)
class Video:
    """A video file, a camera (its number as text) or a stream; a live one does not know its length."""

    address: str
    live: bool = False

    def frames(self, reading: Reading) -> Iterator[Frame | Unreadable]:
        """Its frames, or why there are none."""
        if reading.channels not in (1, 3):
            yield Unreadable(self.address, f"a video has 3 channels, not {reading.channels}")
            return
        capture = self._opened()
        try:
            fps = max(0.0, capture.get(cv2.CAP_PROP_FPS)) / reading.vid_stride
            index = -1
            for index, pixels in _every(capture, reading.vid_stride):
                yield Frame(self.address, index, _rgb(pixels, reading.channels), fps)
            if index < 0:
                yield Unreadable(self.address, self._fault(capture.isOpened()))
        finally:
            capture.release()

    def length(self, reading: Reading) -> int | None:
        """How many items `frames` gives, as far as the file tells; None when it does not."""
        if self.live:
            return None
        capture = self._opened()
        known = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 1
        capture.release()
        return -(-int(known) // reading.vid_stride) if known > 0 else None

    def _opened(self) -> cv2.VideoCapture:
        number = self.live and self.address.isdecimal()
        with quiet:
            capture = cv2.VideoCapture(int(self.address) if number else self.address)
            if self.live:
                capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # else a slow network falls ever further behind
        return capture

    def _fault(self, opened: bool) -> str:
        if opened:
            return "no frame could be read"
        if self.live:
            return "no such camera or stream, or no permission to use it"
        return "not a video that can be read" if os.path.exists(self.address) else "no such file"


Item = Picture | Video


class Sources:
    """All frames of all items in order; can be gone through more than once, except for live ones."""

    def __init__(self, items: Sequence[Item], reading: Reading) -> None:
        self.items = tuple(items)
        self.reading = reading

    def __iter__(self) -> Iterator[Frame | Unreadable]:
        for item in self.items:
            yield from item.frames(self.reading)

    @cached_property
    def total(self) -> int | None:
        """How many frames there will be; None if a source does not tell. Opens every video once."""
        counts = [item.length(self.reading) for item in self.items]
        return None if None in counts else sum(filter(None, counts))


def open_sources(args: Sequence[StrPath], *, vid_stride: int = 1, channels: int = 3) -> Sources:
    """The pictures behind the arguments; raises DataError for one that leads to nothing.

    A picture that cannot be read is no exception: it comes as `Unreadable` when its turn is there.
    """
    if not args:
        raise DataError("no source given", allowed=KINDS)
    items = [item for arg in args for item in _items(os.fspath(arg))]
    return Sources(items, Reading(max(1, vid_stride), channels))


def _items(text: str) -> list[Item]:
    path = Path(text)
    if text == "-":
        return _listed(sys.stdin.buffer.read(), text, Path())
    if STREAM.match(text):
        return [Video(text, live=True)]
    if path.is_dir():
        return _in_folder(path)
    if path.is_file() and path.suffix.lower() == ".txt":
        return _listed(_bytes_of(path), text, path.parent)
    if path.exists():
        return [_item(text)]
    if text.isdecimal():
        return [Video(text, live=True)]
    if glob.has_magic(text):
        return _matching(text)
    raise DataError("no such file or folder", path=text, allowed=KINDS, hint=_close(path))


def _item(path: str) -> Item:
    return Video(path) if path.lower().endswith(VIDEOS) else Picture(path)


def _in_folder(folder: Path) -> list[Item]:
    try:
        paths = sorted(str(path) for path in folder.iterdir() if path.is_file())
    except OSError as fault:
        raise DataError(f"the folder cannot be read: {_reason(fault)}", path=str(folder)) from None
    return _known(paths, str(folder))


def _matching(pattern: str) -> list[Item]:
    paths = sorted(glob.glob(pattern, recursive=True))
    return _known([path for path in paths if os.path.isfile(path)], pattern)


def _known(paths: Sequence[str], origin: str) -> list[Item]:
    """The pictures and videos among the files, by their suffix; hidden files are left out."""
    shown = [path for path in paths if not os.path.basename(path).startswith(".")]
    known = [path for path in shown if path.lower().endswith(PICTURES + VIDEOS)]
    if not known:
        found = f"{len(shown)} files of other kinds" if shown else "no file"
        raise DataError("no picture and no video here", path=origin, found=found, allowed=PICTURES + VIDEOS)
    return [_item(path) for path in known]


def _listed(data: bytes, origin: str, folder: Path) -> list[Item]:
    """One path or address a line; a path starts from the list's folder or, failing that, from here."""
    lines = [os.fsdecode(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    items = [_line_item(line, folder) for line in lines if line]
    if not items:
        raise DataError("the list is empty", path=origin, allowed="one path of a picture or a video a line")
    return items


def _line_item(line: str, folder: Path) -> Item:
    if STREAM.match(line):
        return Video(line, live=True)
    beside = str(folder / line)
    return _item(beside if os.path.exists(beside) else line)


def _close(path: Path) -> str:
    """What the author of a wrong path may have meant."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    near = difflib.get_close_matches(path.name, sorted(other.name for other in path.parent.iterdir()), n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def read_image(path: StrPath, *, channels: int = 3) -> Image:
    """The picture [H, W, C] uint8 in a file: RGB (grey repeated, alpha dropped), or grey for 1 channel.

    Any other number must be the file's own. Raises DataError when the file is missing, truncated, no picture.
    """
    try:
        return decode_image(_bytes_of(Path(path)), channels=channels)
    except DataError as fault:
        where = os.fspath(path)
        raise DataError(fault.message, path=where, found=fault.found, allowed=fault.allowed) from None


def decode_image(data: bytes, *, channels: int = 3) -> Image:
    """The picture [H, W, C] uint8 in the bytes of a file; as `read_image`."""
    if not data:
        raise DataError("the file is empty")
    if _is_truncated(data):
        raise DataError("the file is truncated: it ends before the picture does")
    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    try:
        with quiet:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as fault:
        raise DataError(f"the picture cannot be decoded: {fault.err}") from None
    if pixels is None:
        raise DataError(_instead(what_is(data[:HEAD_BYTES])))
    return _rgb(_eight_bits(pixels), channels)


def _instead(kind: str | None) -> str:
    return "not a picture, or a damaged one" if kind in (None, "a picture") else f"{kind}, not a picture"


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise DataError(_reason(fault), path=str(path)) from None


def _reason(fault: OSError) -> str:
    return (fault.strerror or str(fault)).lower()


def _is_truncated(data: bytes) -> bool:
    """True if the format says where the picture ends and the bytes end before; OpenCV would fill in grey."""
    if data.startswith(b"\xff\xd8"):
        return not _jpeg_ends(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return not _png_ends(data)
    if data.startswith(b"RIFF"):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return data.startswith(b"BM") and len(data) < int.from_bytes(data[2:6], "little")


def _jpeg_ends(data: bytes) -> bool:
    """True if an end marker follows the first scan; one before it would be that of an embedded thumbnail."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        fill = data[at + 1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) >= 0


def _png_ends(data: bytes) -> bool:
    """True if the chunks, each length, name, content, checksum, lead to IEND."""
    at = 8
    while at + 8 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _eight_bits(pixels: MatLike) -> Image:
    if pixels.dtype == np.uint16:
        return (pixels // 256).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise DataError(f"the picture has values of {pixels.dtype}, not of 8 or 16 bits")
    return np.asarray(pixels, np.uint8)


def _rgb(pixels: MatLike, channels: int) -> Image:
    """[H, W, C] from what OpenCV gives: [H, W], BGR or BGRA; five and more channels stay in their order."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if channels == 1 and pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None], np.uint8)
    if pixels.shape[2] != channels:
        raise DataError(f"the picture has {pixels.shape[2]} channels, not {channels}")
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(channels)
    return np.asarray(pixels if order is None else cv2.cvtColor(pixels, order), np.uint8)


def _every(capture: cv2.VideoCapture, stride: int) -> Iterator[tuple[int, MatLike]]:
    """Number and pixels (BGR) of every `stride`-th frame; those between are not decoded to pixels."""
    index = 0
    while _quietly_grabbed(capture):
        if index % stride == 0:
            there, pixels = capture.retrieve()
            if not there:
                return
            yield index, pixels
        index += 1


def _quietly_grabbed(capture: cv2.VideoCapture) -> bool:
    with quiet:
        return capture.grab()
