"""The size that an image file declares, from its first bytes, and the limit that it is held to.

A few bytes can declare an image of any size, for which a decoder would reserve memory.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from yolor_cfg.errors import DataError
from yolor_cfg.images.types import Size, read_at

MAX_PIXELS = 200_000_000
"""The limit unless another is asked for: 600 MB as RGB, and more while it is decoded."""
SCAN_BYTES = 1 << 16
"""Bytes at the start of a file that are searched for the size, where it has no fixed place."""
JPEG_LIMIT = 2**24
"""Bytes of marker segments (thumbnails, colour profiles) that are searched for the size."""
# Start-of-frame markers: C4, C8 and CC lie in their range and mean something else (ITU T.81, table B.1).
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
WIDTH_TAG, HEIGHT_TAG = 256, 257
MOST_PAGES = 65_536
PNM_HEAD = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,10})(?:\s|#[^\n]*\n)+(\d{1,10})\s")
PAM_HEAD = re.compile(rb"P7\n.*?WIDTH (\d{1,10})\n.*?HEIGHT (\d{1,10})\n", re.DOTALL)


class PixelLimit:
    """The most pixels an image may have, for the whole process: each command sets it, threads share it."""

    most = MAX_PIXELS


pixel_limit = PixelLimit()


class PageLayout(NamedTuple):
    """How TIFF writes a directory: byte order, codes of a count and of an offset, bytes an entry."""

    order: str
    counts: str
    offsets: str
    entry_bytes: int


def check_pixels(size: Size) -> None:
    """Raise DataError for an image beyond the limit."""
    height, width = size
    if height * width > pixel_limit.most:
        raise DataError(
            f"{width}x{height} pixels are more than the limit of {pixel_limit.most} (--max-pixels raises it)"
        )


def check_declared(data: bytes) -> None:
    """Raise DataError if the bytes of a file declare an image beyond the limit."""
    size = declared_size(io.BytesIO(data), data[:32])
    if size is not None:
        check_pixels(size)


def declared_size(file: BinaryIO, head: bytes) -> Size | None:
    """Height and width as stored; None if the format is unknown or the header is cut off.

    `head` are the first bytes of the file, 32 or all of them.
    """
    for magic, read in READERS:
        if head.startswith(magic):
            try:
                return read(file, head)
            except (struct.error, OverflowError):
                return None
    return _boxed_size(file) if head[4:8] in (b"ftyp", b"jP  ") else None


def _jpeg_size(file: BinaryIO, head: bytes) -> Size | None:
    """From the frame header that follows the other marker segments."""
    at = 2
    while at < JPEG_LIMIT:
        part = head[at : at + 9] if at + 9 <= len(head) else read_at(file, at, 9)
        if len(part) < 9 or part[0] != 0xFF:
            return None
        if part[1] in FRAMES:
            height, width = struct.unpack(">HH", part[5:9])
            return height, width
        fill = part[1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(part[2:4], "big")
    return None


def _png_size(file: BinaryIO, head: bytes) -> Size | None:
    width, height = struct.unpack_from(">II", head, 16)
    return (height, width) if head[12:16] == b"IHDR" else None


def _bmp_size(file: BinaryIO, head: bytes) -> Size | None:
    """A negative height means that the rows run from top to bottom."""
    width, height = struct.unpack_from("<ii", head, 18)
    return abs(height), width


def _gif_size(file: BinaryIO, head: bytes) -> Size | None:
    width, height = struct.unpack_from("<HH", head, 6)
    return height, width


def _webp_size(file: BinaryIO, head: bytes) -> Size | None:
    """Of the lossy, the lossless and the extended kind."""
    if head[8:16] == b"WEBPVP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return height & 0x3FFF, width & 0x3FFF
    if head[8:16] == b"WEBPVP8L" and head[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if head[8:16] == b"WEBPVP8X" and len(head) >= 30:
        sides = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (27, 24))
        return next(sides), next(sides)
    return None


def _pnm_size(file: BinaryIO, head: bytes) -> Size | None:
    text = read_at(file, 0, SCAN_BYTES)
    found = PNM_HEAD.match(text) or PAM_HEAD.match(text)
    return (int(found[2]), int(found[1])) if found else None


def _codestream_size(file: BinaryIO, head: bytes) -> Size | None:
    """Of a JPEG 2000 codestream: the area less its offset."""
    width, height, left, top = struct.unpack_from(">IIII", head, 8)
    return height - top, width - left


def _boxed_size(file: BinaryIO) -> Size | None:
    """The largest of the sizes in the boxes of an AVIF (`ispe`) or JPEG 2000 file (`ihdr`)."""
    data = read_at(file, 0, SCAN_BYTES)
    sizes = []
    for place in re.finditer(rb"ispe\0\0\0\0|ihdr", data):
        sides = data[place.end() : place.end() + 8]
        if len(sides) == 8:
            first, second = struct.unpack(">II", sides)
            sizes.append((first, second) if place[0] == b"ihdr" else (second, first))
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _tiff_size(file: BinaryIO, head: bytes) -> Size | None:
    """The largest of its pages."""
    return max(page_sizes(file, head), key=lambda size: size[0] * size[1], default=None)


def page_sizes(file: BinaryIO, head: bytes) -> Iterator[Size]:
    """The size of each page of a TIFF or BigTIFF file, as far as its chain of pages can be followed."""
    order = "<" if head.startswith(b"II") else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    layout = PageLayout(order, "Q", "Q", 20) if is_big else PageLayout(order, "H", "I", 12)
    (at,) = struct.unpack_from(order + layout.offsets, head, 8 if is_big else 4)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < MOST_PAGES:
        seen.add(at)
        try:
            entries, at = _read_page(file, at, layout)
        except (struct.error, OverflowError):
            return
        sides = _read_sides(entries, layout)
        if sides is not None:
            yield sides


def _read_page(file: BinaryIO, at: int, layout: PageLayout) -> tuple[bytes, int]:
    """The entries of the page's directory at an offset, and the offset of the next one; 0 at the end."""
    width = struct.calcsize(layout.counts)
    (count,) = struct.unpack(layout.order + layout.counts, read_at(file, at, width))
    entries = file.read(min(count, MOST_PAGES) * layout.entry_bytes)
    following = read_at(file, at + width + count * layout.entry_bytes, struct.calcsize(layout.offsets))
    return entries, struct.unpack(layout.order + layout.offsets, following)[0]


def _read_sides(entries: bytes, layout: PageLayout) -> Size | None:
    sides: dict[int, int] = {}
    step, width = layout.entry_bytes, struct.calcsize(layout.offsets)
    for start in range(0, len(entries) - step + 1, step):
        tag, kind = struct.unpack_from(layout.order + "HH", entries, start)
        if tag in (WIDTH_TAG, HEIGHT_TAG):
            code = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            (sides[tag],) = struct.unpack_from(layout.order + code, entries, start + step - width)
    return (sides[HEIGHT_TAG], sides[WIDTH_TAG]) if len(sides) == 2 else None


# The first bytes of a file and the function that reads the size.
READERS: tuple[tuple[bytes, Callable[[BinaryIO, bytes], Size | None]], ...] = (
    (b"\xff\xd8", _jpeg_size),
    (b"\x89PNG\r\n\x1a\n", _png_size),
    (b"BM", _bmp_size),
    (b"GIF8", _gif_size),
    (b"RIFF", _webp_size),
    (b"II*\0", _tiff_size),
    (b"MM\0*", _tiff_size),
    (b"II+\0", _tiff_size),
    (b"MM\0+", _tiff_size),
    (b"\xff\x4f\xff\x51", _codestream_size),
    *((b"P%d" % number, _pnm_size) for number in range(1, 8)),
)
