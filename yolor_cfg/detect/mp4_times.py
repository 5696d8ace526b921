"""The times of the frames of an mp4 file that was written at an even rate, set anew; nothing is decoded.

OpenCV writes even rates only. How long each frame stands is one table of the file (`stts`, ISO/IEC 14496-12),
which lies behind all pixels, so that its length is free.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

FOLDERS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})
"""Boxes that hold boxes."""
LONGEST = 2**32 - 1
"""Units of time that the tables can hold."""


class UnknownLayout(Exception):
    """The file is not laid out as FFmpeg lays out an mp4 of one track without reordered frames."""


def set_times(path: Path, seconds: Sequence[float], *, last: float) -> None:
    """Show frame k from `seconds[k]` to `seconds[k + 1]`, the first from 0, the last for `last` seconds.

    Raises UnknownLayout, before anything is changed, for a file that has another structure.
    """
    with open(path, "rb+") as file:
        at, moov = _find_last_box(file.read(16), path)
        file.seek(at)
        movie = file.read()
        if moov != b"moov" or len(movie) != path.stat().st_size - at:
            raise UnknownLayout("the index does not stand at the end")
        edited = _rewrite(movie, _make_clock(movie, [0.0, *seconds[1:]], last))
        file.seek(at)
        file.write(edited)
        file.truncate()


def _find_last_box(head: bytes, path: Path) -> tuple[int, bytes]:
    """Offset and kind of the last box of the file."""
    total, at, kind = path.stat().st_size, 0, b""
    if head[4:8] != b"ftyp":
        raise UnknownLayout("no mp4 file")
    with open(path, "rb") as file:
        following = 0
        while following + 8 <= total:
            at = following
            file.seek(at)
            length, kind, wide = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            following = at + (wide if length == 1 else length)
            if following <= at:
                break
    return at, kind


class _Clock(NamedTuple):
    """Units a second of the film and of its track, and how long each frame stands in those of the track."""

    film: int
    track: int
    durations: tuple[int, ...]

    def edit(self, kind: bytes, body: bytes) -> bytes:
        """The content of a box with the new times."""
        if kind == b"stts":
            runs = [(len(list(group)), length) for length, group in groupby(self.durations)]
            return (
                body[:4] + struct.pack(">I", len(runs)) + b"".join(struct.pack(">II", *run) for run in runs)
            )
        place = {b"mvhd": 16, b"tkhd": 20, b"mdhd": 16, b"elst": 8}.get(kind)
        if place is None:
            return body
        if body[0] != 0 or (kind == b"elst" and body[4:8] != b"\0\0\0\1"):
            raise UnknownLayout("another version of its tables")
        total = sum(self.durations)
        length = total if kind == b"mdhd" else round(total * self.film / self.track)
        return body[:place] + struct.pack(">I", min(length, LONGEST)) + body[place + 4 :]


def _make_clock(movie: bytes, seconds: Sequence[float], last: float) -> _Clock:
    film, track = (struct.unpack_from(">I", _find(movie, kind), 12)[0] for kind in (b"mvhd", b"mdhd"))
    ticks = [round(moment * track) for moment in (*seconds, seconds[-1] + last)]
    durations = tuple(after - before for before, after in pairwise(ticks))
    if min(durations) <= 0 or ticks[-1] > LONGEST or _find_all(movie, b"ctts"):
        raise UnknownLayout("times that do not fit")
    return _Clock(film, track, durations)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box in a row of them."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8 or at + length > len(data):
            raise UnknownLayout("a box of odd length")
        yield kind, data[at + 8 : at + length]
        at += length


def _rewrite(data: bytes, clock: _Clock) -> bytes:
    parts = []
    for kind, body in _boxes(data):
        body = _rewrite(body, clock) if kind in FOLDERS else clock.edit(kind, body)
        parts.append(struct.pack(">I4s", len(body) + 8, kind) + body)
    return b"".join(parts)


def _find_all(data: bytes, wanted: bytes) -> list[bytes]:
    found = []
    for kind, body in _boxes(data):
        if kind in FOLDERS:
            found += _find_all(body, wanted)
        elif kind == wanted:
            found.append(body)
    return found


def _find(movie: bytes, kind: bytes) -> bytes:
    found = _find_all(movie, kind)
    if len(found) != 1 or len(found[0]) < 20:
        raise UnknownLayout(f"not one {kind.decode()}")
    return found[0]
