"""EXIF orientation: which way up an image is to be seen, from its file, and its pixels turned so.

YOLOR (cv2.imread, exif_size) and C Darknet built with OpenCV turn images; C Darknet with its own reader (stb)
does not, and `orientation_rule.ignores` has all images read as that does. Known are the formats that OpenCV
turns: JPEG, PNG and WebP.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.images.types import Size, read_at

UPRIGHT = 1
LAST = 8
ORIENTATION_TAG = 0x0112
IFD_ENTRY_BYTES = 12
EXIF_PREFIX = b"Exif\0\0"
SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that exchange height and width."""

Pixels = TypeVar("Pixels", bound=NDArray[Any])


class OrientationRule:
    """Whether EXIF orientation counts, for the whole process: each command sets it, threads share it."""

    ignores = False


orientation_rule = OrientationRule()


def read_orientation(file: BinaryIO, head: bytes) -> int:
    """1..8 as EXIF numbers them; 1, upright, where the file says nothing readable or nothing is wanted.

    `head` are the first bytes of the file, 12 or more.
    """
    if orientation_rule.ignores:
        return UPRIGHT
    if head.startswith(b"\xff\xd8"):
        return _parse_exif(_find_jpeg_exif(file, head))
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _parse_exif(_find_png_exif(file))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _parse_exif(_find_webp_exif(file))
    return UPRIGHT


def turn_size(size: Size, orientation: int) -> Size:
    """Height and width of the image as it is seen."""
    return (size[1], size[0]) if orientation in SIDEWAYS else size


def turn_pixels(pixels: Pixels, orientation: int) -> Pixels:
    """The image [H, W, C] as it is seen."""
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]  # type: ignore[assignment]  # a view of the same type
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]  # type: ignore[assignment]  # a view of the same type
    return np.ascontiguousarray(pixels)  # type: ignore[return-value]  # same type


def _find_jpeg_exif(file: BinaryIO, head: bytes) -> bytes:
    """The APP1 segment that is EXIF; it stands among the application segments and comments at the start."""
    at = 2
    while True:
        part = head[at : at + 4] if at + 4 <= len(head) else read_at(file, at, 4)
        if len(part) < 4 or part[0] != 0xFF or not (0xE0 <= part[1] <= 0xEF or part[1] in (0xFE, 0xFF)):
            return b""
        if part[1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(part[2:], "big")
        if part[1] == 0xE1:
            content = read_at(file, at + 4, max(0, length - 2))
            if content.startswith(EXIF_PREFIX):
                return content
        at += 2 + length


def _find_png_exif(file: BinaryIO) -> bytes:
    """The eXIf chunk before the pixels."""
    at = 8
    while True:
        head = read_at(file, at, 8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            return b""
        if head[4:] == b"eXIf":
            return file.read(length)
        at += 12 + length


def _find_webp_exif(file: BinaryIO) -> bytes:
    at = 12
    while True:
        head = read_at(file, at, 8)
        length = int.from_bytes(head[4:], "little")
        if len(head) < 8:
            return b""
        if head[:4] == b"EXIF":
            return file.read(length)
        at += 8 + length + length % 2


def _parse_exif(content: bytes) -> int:
    """The orientation in the first directory of EXIF's TIFF structure; 1 where it is absent or damaged."""
    tiff = content.removeprefix(EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    count = int.from_bytes(tiff[at : at + 2], "little" if order == "<" else "big")
    first = at + 2
    for entry in range(first, min(first + count * IFD_ENTRY_BYTES, len(tiff) - 11), IFD_ENTRY_BYTES):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == ORIENTATION_TAG:
            return value if UPRIGHT <= value <= LAST else UPRIGHT
    return UPRIGHT
