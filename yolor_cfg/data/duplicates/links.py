"""Which images belong together, and why.

Legend: N images, P numbers of a description.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.duplicates.align import likeness
from yolor_cfg.data.duplicates.prints import ImagePrints, describe_windows, mirror_descriptions
from yolor_cfg.data.similar import equal_keys, source_name
from yolor_cfg.data.types import Floats, Integers
from yolor_cfg.errors import DataError
from yolor_cfg.images.stacks import read_channels
from yolor_cfg.images.types import Image

THRESHOLD = 0.9
"""Likeness from which on two images count as nearly the same."""
CANDIDATE = 0.8
"""Correlation of two descriptions from which on their images are compared closely."""
SAME = 0.99
"""Likeness from which on a search ends, and pixels may be the same."""
ROWS = 512

LinkKind = Literal["file", "augmented", "pixels", "near", "mirrored"]
LINK_KINDS: dict[LinkKind, str] = {
    "file": "the same bytes",
    "pixels": "the same pixels in another file",
    "augmented": "augmented from one image, by its name",
    "near": "nearly the same",
    "mirrored": "mirrored, else nearly the same",
}
"""The kinds with what they mean."""


class ImageLink(NamedTuple):
    """Two images that belong together, by their number, and their likeness from 0 to 1; 1 where their names
    tell it."""

    one: int
    other: int
    kind: LinkKind
    score: float


class _Group:
    """The number of the group [N] of each image: the least index of an image in it."""

    def __init__(self, count: int) -> None:
        self.of = np.arange(count)
        self.links: list[ImageLink] = []

    def join(self, link: ImageLink) -> None:
        """Make the groups of both images one, and keep why."""
        low, high = sorted((int(self.of[link.one]), int(self.of[link.other])))
        if low != high:
            self.of[self.of == high] = low
            self.links.append(link)

    def are_apart(self, pairs: Integers) -> NDArray[np.bool_]:
        """Whether the images of each pair [M, 2] are in different groups."""
        return np.asarray(self.of[pairs[:, 0]] != self.of[pairs[:, 1]])


class LinkedImages(NamedTuple):
    """The number of the group [N] of each image, that of its first image, and the links that made them: one
    fewer than a group has images."""

    groups: Integers
    links: list[ImageLink]

    def members(self) -> list[list[int]]:
        """The images of each group of several, in order."""
        order = np.argsort(self.groups, kind="stable")
        starts = np.flatnonzero(np.diff(self.groups[order], prepend=-1))
        parts = np.split(order, starts[1:])
        return sorted(part.tolist() for part in parts if len(part) > 1)


def link_images(
    paths: Sequence[str],
    prints: ImagePrints,
    *,
    threshold: float = THRESHOLD,
    mirrors: bool = True,
    progress: Callable[[], object] = lambda: None,
) -> LinkedImages:
    """The groups of images that belong together: files with the same bytes, copies that Roboflow made of one
    image, and images whose likeness is at least `threshold`; with `mirrors` also if one is mirrored.

    `progress` is called after each step of which there are `count_steps`. Images that are flat are only
    compared by their bytes.
    """
    group = _Group(len(paths))
    for one, other in equal_keys(prints.digests):
        group.join(ImageLink(one, other, "file", 1.0))
    comparison = _Comparison(paths, prints.thumbnails, threshold)
    wholes, *_ = windows = describe_windows(prints.thumbnails)
    _search(group, comparison, wholes, windows=windows, kind="near", progress=progress)
    for one, other in equal_keys([source_name(path) for path in paths]):
        group.join(ImageLink(one, other, "augmented", 1.0))
    if mirrors:
        mirrored = mirror_descriptions(wholes)
        _search(group, comparison, mirrored, windows=windows, kind="mirrored", progress=progress)
    return LinkedImages(group.of, group.links)


def _search(
    group: _Group,
    comparison: _Comparison,
    table: Floats,
    *,
    windows: Sequence[Floats],
    kind: LinkKind,
    progress: Callable[[], object],
) -> None:
    """Join the images that `table` describes with those that have a window alike."""
    for pairs, parts in _iter_candidates(table, windows, group):
        for (one, other), window in zip(pairs.tolist(), parts.tolist(), strict=True):
            link = None
            if group.of[one] != group.of[other]:
                link = comparison.link(one, other, window, kind=kind)
            if link is not None:
                group.join(link)
        progress()


def count_steps(count: int, *, mirrors: bool) -> int:
    """The number of steps of `link_images` for so many images."""
    return -(-count // ROWS) * (1 + mirrors)


def _iter_candidates(
    table: Floats, windows: Sequence[Floats], group: _Group
) -> Iterator[tuple[Integers, Integers]]:
    """Blocks of pairs [M, 2] in different groups whose descriptions are alike, the most alike first, with the
    window [M] of the second that is most like the first."""
    for start in range(0, len(table), ROWS):
        best, part = _compare_windows(table[start : start + ROWS], windows)
        pairs = np.argwhere(best >= CANDIDATE)
        scores, parts = best[pairs[:, 0], pairs[:, 1]], part[pairs[:, 0], pairs[:, 1]]
        pairs[:, 0] += start
        apart = group.are_apart(pairs)
        order = np.argsort(-scores[apart], kind="stable")
        yield pairs[apart][order], parts[apart][order].astype(np.int64)


def _compare_windows(block: Floats, windows: Sequence[Floats]) -> tuple[Floats, NDArray[np.int8]]:
    """[M, N] the correlation of each description with the window of each image that is most like it, and
    which one that is. Products of matrices compare all with all."""
    best = block @ windows[0].T
    part = np.zeros(best.shape, np.int8)
    for number in range(1, len(windows)):
        found = block @ windows[number].T
        part[found > best] = number
        np.maximum(best, found, out=best)
    return best, part


class _Comparison(NamedTuple):
    """All that two images are compared by."""

    paths: Sequence[str]
    thumbnails: Image
    threshold: float

    def link(self, one: int, other: int, window: int, *, kind: LinkKind) -> ImageLink | None:
        """The link of two images that are alike when looked at closely; None if they are not."""
        first = self.thumbnails[one]
        first = np.ascontiguousarray(first[:, ::-1]) if kind == "mirrored" else first
        score = likeness(first, self.thumbnails[other], window, enough=max(self.threshold, SAME))
        if score < self.threshold:
            return None
        low, high = sorted((one, other))
        if kind == "near" and score >= SAME and have_same_pixels(self.paths[one], self.paths[other]):
            return ImageLink(low, high, "pixels", 1.0)
        return ImageLink(low, high, kind, score)


def have_same_pixels(one: str, other: str) -> bool:
    """Whether both files hold the same image, pixel by pixel, as RGB."""
    try:
        return np.array_equal(read_channels(one, 3), read_channels(other, 3))
    except DataError:
        return False
