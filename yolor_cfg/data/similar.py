"""Groups of images that are nearly the same: copies, re-encoded and resized ones, neighbouring frames.

Legend: N images, P pixels of a thumbnail.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Floats, Integers
from yolor_cfg.errors import DataError
from yolor_cfg.images.read import bytes_of
from yolor_cfg.images.stacks import read_channels

SIDE = 16
ALIKE = 0.97
"""Correlation of two grey thumbnails from which on images count as nearly the same."""
FLAT = 1.0
"""Standard deviation, in grey levels, below which a thumbnail shows nothing to compare."""
ROWS = 2048
JPEG = b"\xff\xd8"
AUGMENTED = re.compile(r"^(?P<source>.*)\.rf\.[0-9A-Za-z]{16,}$")
"""Roboflow's name of an augmented copy: the source, then a number of its own."""


def similar_groups(paths: Sequence[str]) -> Integers:
    """The number of the group [N] of each image; it is the index of the first image of the group."""
    with ThreadPoolExecutor(4) as pool:
        prints = list(pool.map(_read_print, paths))
    groups = _DisjointSets(len(paths))
    for keys in ([source_name(path) for path in paths], [one.digest for one in prints]):
        for one, other in equal_keys(keys):
            groups.join(one, other)
    for one, other in _alike_pairs(np.stack([one.thumbnail for one in prints])):
        groups.join(one, other)
    return np.array([groups.find(index) for index in range(len(paths))], np.int64)


def join_groups(some: Integers, others: Integers) -> Integers:
    """The groups [N] of images that are together in either; each is known by its first image again."""
    groups = _DisjointSets(len(some))
    for keys in (some.tolist(), others.tolist()):
        for one, other in equal_keys(keys):
            groups.join(one, other)
    return np.array([groups.find(index) for index in range(len(some))], np.int64)


class _ImagePrint(NamedTuple):
    """What images are compared by: a digest of the file, and a grey thumbnail [P] with mean 0 and length 1,
    zeros if it is flat or cannot be read."""

    digest: bytes
    thumbnail: Floats


class _DisjointSets:
    """Joined indices, each group known by its least index."""

    def __init__(self, count: int) -> None:
        self.above = list(range(count))

    def find(self, index: int) -> int:
        """The least index of the group."""
        while self.above[index] != index:
            self.above[index] = self.above[self.above[index]]
            index = self.above[index]
        return index

    def join(self, one: int, other: int) -> None:
        """Make the groups of both indices one."""
        low, high = sorted((self.find(one), self.find(other)))
        self.above[high] = low


def source_name(path: str) -> str:
    """The path of the image that this one is an augmented copy of; else its own."""
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    found = AUGMENTED.match(stem)
    return f"{folder}/{found['source']}" if found else path


def equal_keys(keys: Sequence[object]) -> Iterator[tuple[int, int]]:
    """For each key that came before, its first place and this one."""
    first: dict[object, int] = {}
    for index, key in enumerate(keys):
        if first.setdefault(key, index) != index:
            yield first[key], index


def _read_print(path: str) -> _ImagePrint:
    nothing = np.zeros(SIDE * SIDE, np.float32)
    try:
        data = bytes_of(Path(path))
        digest = hashlib.blake2b(data, digest_size=16).digest()
        return _ImagePrint(digest, _thumbnail(read_grey(data, path, least=SIDE)))
    except DataError:
        return _ImagePrint(os.fsencode(path), nothing)


def read_grey(data: bytes, path: str, *, least: int) -> NDArray[np.uint8]:
    """The grey image [H, W]; of a JPEG a quarter of it, which is quicker, where its sides have `least` pixels
    then. Raises DataError for what is no image."""
    if data.startswith(JPEG):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_4)
        if pixels is not None and min(pixels.shape) >= least:
            return np.asarray(pixels, np.uint8)
    return read_channels(path, 1)[..., 0]


def _thumbnail(pixels: NDArray[np.uint8]) -> Floats:
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > FLAT * SIDE else np.zeros_like(small)


def _alike_pairs(table: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Pairs of rows [N, P] whose correlation is at least `ALIKE`."""
    for start in range(0, len(table), ROWS):
        block = table[start : start + ROWS]
        found = np.argwhere(block @ table[start:].T >= ALIKE)
        yield from ((start + one, start + other) for one, other in found.tolist() if one < other)
