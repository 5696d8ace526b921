"""The size of an image from the first bytes of its file, and whether the file ends as its format requires.

Nothing is decoded, so a hundred thousand images take seconds. Sizes are those of the upright image, as it is
read. Formats not known here are decoded.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from yolor_cfg.errors import DataError
from yolor_cfg.files import reason_of
from yolor_cfg.images.orientation import read_at, read_orientation, turn_size
from yolor_cfg.images.read import decode_image
from yolor_cfg.images.stacks import read_array_size
from yolor_cfg.images.types import Size

HEAD_BYTES = 1024
"""Enough for the size of most images, so that one reading does."""
TAIL_BYTES = 12
JPEG_LIMIT = 2**24
"""Bytes of marker segments (thumbnails, colour profiles) that are searched for the size."""
# Start-of-frame markers: C4, C8 and CC lie in their range and mean something else (ITU T.81, table B.1).
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class ImageFileInfo(NamedTuple):
    """Size of the image in a file, the file's length, and when its content and its inode last changed."""

    size: Size
    file_bytes: int
    mtime_ns: int
    ctime_ns: int

    def is_unchanged(self, status: os.stat_result) -> bool:
        """True if the file has not changed since it was read."""
        return self[1:] == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_image_info(path: str, known: ImageFileInfo | None = None) -> ImageFileInfo:
    """The info of one file, or `known` if it has not changed. Raises DataError if it is no complete image."""
    try:
        if known is not None and known.is_unchanged(os.stat(path)):
            return known
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            size = read_image_size(file, status.st_size)
    except OSError as fault:
        raise DataError(reason_of(fault), path=path) from None
    return ImageFileInfo(size, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_image_size(file: BinaryIO, length: int) -> Size:
    """Height and width of the image in a file of `length` bytes."""
    head = file.read(HEAD_BYTES)
    if not head:
        raise DataError("the file is empty")
    for magic, read in READERS:
        if head.startswith(magic):
            try:
                size = read(file, head, length)
            except struct.error:  # the header ends too early
                size = None
            if size is None or min(size) <= 0:
                return _decode_size(file)
            return turn_size(size, read_orientation(file, head))
    return _decode_size(file)


def _decode_size(file: BinaryIO) -> Size:
    """The safe way for unusual files: decode them. Raises DataError for a truncated or damaged file."""
    file.seek(0)
    height, width, _ = decode_image(file.read(), channels=3).shape
    return height, width


def _has_end(file: BinaryIO, length: int, end: bytes) -> bool:
    file.seek(max(0, length - TAIL_BYTES))
    return end in file.read(TAIL_BYTES)


def _jpeg_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    """From the frame header that follows the other marker segments."""
    at = 2
    while at < min(length, JPEG_LIMIT):
        part = head[at : at + 9] if at + 9 <= len(head) else read_at(file, at, 9)
        if len(part) < 9 or part[0] != 0xFF:
            return None
        if part[1] in FRAMES:
            height, width = struct.unpack(">HH", part[5:9])
            return (height, width) if _has_end(file, length, b"\xff\xd9") else None
        fill = part[1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(part[2:4], "big")
    return None


def _png_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    if head[12:16] != b"IHDR" or not _has_end(file, length, b"IEND"):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _bmp_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    """A negative height means that the rows run from top to bottom."""
    if len(head) < 26 or length < int.from_bytes(head[2:6], "little"):
        return None
    width, height = struct.unpack("<ii", head[18:26])
    return abs(height), width


def _gif_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    width, height = struct.unpack("<HH", head[6:10])
    return (height, width) if _has_end(file, length, b"\x3b") else None


def _webp_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    """Only the lossy kind has its size at a fixed offset; the others are decoded."""
    whole = length >= 8 + int.from_bytes(head[4:8], "little")
    if head[8:16] != b"WEBPVP8 " or head[23:26] != b"\x9d\x01\x2a" or not whole:
        return None
    width, height = struct.unpack("<HH", head[26:30])
    return height & 0x3FFF, width & 0x3FFF


def _npy_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    file.seek(0)
    return read_array_size(file, length)


# The first bytes of a file and the function that reads the size; None means that the file must be decoded.
READERS: tuple[tuple[bytes, Callable[[BinaryIO, bytes, int], Size | None]], ...] = (
    (b"\xff\xd8", _jpeg_size),
    (b"\x89PNG\r\n\x1a\n", _png_size),
    (b"BM", _bmp_size),
    (b"GIF8", _gif_size),
    (b"RIFF", _webp_size),
    (b"\x93NUMPY", _npy_size),
)
