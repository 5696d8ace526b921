"""Read images from files and bytes as RGB arrays, or say why one cannot be read."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from yolor_cfg.errors import DataError, count_of
from yolor_cfg.files import HEAD_BYTES, StrPath, find_file_kind, read_regular, reason_of
from yolor_cfg.images.declared import check_declared
from yolor_cfg.images.orientation import read_orientation, turn_pixels
from yolor_cfg.images.types import Image

IMAGE_SUFFIXES = (
    ".avif",
    ".bmp",
    ".dib",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


class StderrSilencer:
    """A context that silences standard error, to which codecs write regardless of OpenCV's log level.

    It counts its users, so several threads may be in it at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved = -1

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._saved = _redirect_stderr()

    def __exit__(self, *fault: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)


def _redirect_stderr() -> int:
    """Redirect standard error to the null device; return a copy of it, or -1 if there is none."""
    try:
        saved = os.dup(2)
    except OSError:
        return -1
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return saved


silence_stderr = StderrSilencer()


def read_image(path: StrPath, *, channels: int = 3) -> Image:
    """The image [H, W, C] uint8 in a file, upright: RGB (grey repeated, alpha dropped), or grey for 1
    channel.

    Any other number must be the file's own. Raises DataError if the file is missing, truncated or not an
    image.
    """
    try:
        return decode_image(bytes_of(Path(path)), channels=channels)
    except DataError as fault:
        where = os.fspath(path)
        raise DataError(fault.message, path=where, found=fault.found, allowed=fault.allowed) from None


def decode_image(data: bytes, *, channels: int = 3) -> Image:
    """The image [H, W, C] uint8 in the bytes of a file; like `read_image`."""
    if not data:
        raise DataError("the file is empty")
    if _is_truncated(data):
        raise DataError("the file is truncated: it ends before the image does")
    check_declared(data)
    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    try:
        with silence_stderr:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as fault:
        raise DataError(f"the image cannot be decoded: {fault.err}") from None
    if pixels is None:
        raise DataError(_describe_content(find_file_kind(data[:HEAD_BYTES])))
    return turn_pixels(
        to_rgb(to_uint8(pixels), channels), read_orientation(io.BytesIO(data), data[:HEAD_BYTES])
    )


def _describe_content(kind: str | None) -> str:
    return "not an image, or a damaged one" if kind in (None, "an image") else f"{kind}, not an image"


def bytes_of(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as fault:
        raise DataError(reason_of(fault), path=str(path)) from None


def _is_truncated(data: bytes) -> bool:
    """True if the bytes end before the format says the image does; OpenCV would fill the rest with grey."""
    if data.startswith(b"\xff\xd8"):
        return not _has_jpeg_end(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return not _has_png_end(data)
    if data.startswith(b"RIFF"):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return data.startswith(b"BM") and len(data) < int.from_bytes(data[2:6], "little")


def _has_jpeg_end(data: bytes) -> bool:
    """True if an end marker follows the first scan; one before it would belong to an embedded thumbnail."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        fill = data[at + 1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) >= 0


def _has_png_end(data: bytes) -> bool:
    """True if the chunks (length, name, content, checksum) lead to IEND."""
    at = 8
    while at + 8 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def to_uint8(pixels: MatLike) -> Image:
    """The pixels with 8 bits per value; of 16 bits the upper ones count."""
    if pixels.dtype == np.uint16:
        return (pixels // 256).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise DataError(f"the image has {pixels.dtype} values, not 8 or 16 bits")
    return np.asarray(pixels, np.uint8)


def to_rgb(pixels: MatLike, channels: int) -> Image:
    """[H, W, C] from OpenCV's [H, W], BGR or BGRA; two channels, or five and more, keep their order."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if channels == 1 and pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None], np.uint8)
    if pixels.shape[2] != channels:
        raise DataError(f"the image has {count_of(pixels.shape[2], 'channel')}, not {channels}")
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(channels)
    return np.asarray(pixels if order is None else cv2.cvtColor(pixels, order), np.uint8)
