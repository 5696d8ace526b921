"""The size of an image from the first bytes of its file, and whether the file ends as its format requires.

Nothing is decoded, so a hundred thousand images take seconds. Sizes are those of the upright image, as it is
read. Formats not known here are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from yolor_cfg.errors import DataError
from yolor_cfg.files import open_regular, reason_of
from yolor_cfg.images.declared import check_pixels, declared_size
from yolor_cfg.images.orientation import read_orientation, turn_size
from yolor_cfg.images.read import decode_image
from yolor_cfg.images.stacks import read_array_size
from yolor_cfg.images.types import Size

HEAD_BYTES = 1024
"""Enough for the size of most images, so that one reading does."""
TAIL_BYTES = 12
ARRAY_MAGIC = b"\x93NUMPY"


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
            check_pixels(known.size)
            return known
        with open_regular(path) as file:
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
    if head.startswith(ARRAY_MAGIC):
        file.seek(0)
        return read_array_size(file, length)
    size = _quick_size(file, head, length)
    if size is None or min(size) <= 0:
        return _decode_size(file)
    check_pixels(size)
    return turn_size(size, read_orientation(file, head))


def _quick_size(file: BinaryIO, head: bytes, length: int) -> Size | None:
    """Height and width as stored; None for a file that must be decoded to see whether it is whole."""
    for magic, is_whole in WHOLE:
        if head.startswith(magic):
            size = declared_size(file, head)
            return size if size is not None and is_whole(file, head, length) else None
    return None


def _decode_size(file: BinaryIO) -> Size:
    """The safe way for unusual files: decode them. Raises DataError for a truncated or damaged file."""
    file.seek(0)
    height, width, _ = decode_image(file.read(), channels=3).shape
    return height, width


def _has_end(file: BinaryIO, length: int, end: bytes) -> bool:
    file.seek(max(0, length - TAIL_BYTES))
    return end in file.read(TAIL_BYTES)


def _has_jpeg_end(file: BinaryIO, head: bytes, length: int) -> bool:
    return _has_end(file, length, b"\xff\xd9")


def _has_png_end(file: BinaryIO, head: bytes, length: int) -> bool:
    return _has_end(file, length, b"IEND")


def _has_gif_end(file: BinaryIO, head: bytes, length: int) -> bool:
    return _has_end(file, length, b"\x3b")


def _is_bmp_whole(file: BinaryIO, head: bytes, length: int) -> bool:
    return length >= int.from_bytes(head[2:6], "little")


def _is_webp_whole(file: BinaryIO, head: bytes, length: int) -> bool:
    """Only the lossy kind is measured without decoding."""
    return head[8:16] == b"WEBPVP8 " and length >= 8 + int.from_bytes(head[4:8], "little")


# The first bytes of a file and whether it ends as it should; if not, or if it is not here, it is decoded.
WHOLE: tuple[tuple[bytes, Callable[[BinaryIO, bytes, int], bool]], ...] = (
    (b"\xff\xd8", _has_jpeg_end),
    (b"\x89PNG\r\n\x1a\n", _has_png_end),
    (b"BM", _is_bmp_whole),
    (b"GIF8", _has_gif_end),
    (b"RIFF", _is_webp_whole),
)
