"""What images are compared by.

Legend: N images, S = SIDE pixels of a thumbnail both ways, P numbers of a description.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yolor_cfg.data.similar import read_grey
from yolor_cfg.data.types import Floats
from yolor_cfg.errors import DataError
from yolor_cfg.images.read import bytes_of
from yolor_cfg.images.types import Image

SIDE = 64
FLAT = 1.5
"""Standard deviation, in grey levels, below which a thumbnail shows nothing to compare."""
FAINT = 0.3
"""The same of a description, below which it is that of a plain ground."""
COARSE = 10
"""Numbers both ways of a description."""
BAND = (2.0, 12.0)
"""Radii in pixels of a thumbnail: a description holds what is coarser than the first and finer than the
second, so that neither grain nor a shade over the whole image makes two images alike."""
CUT = 4
"""Pixels of a thumbnail that a window leaves out: an image that lost as much of its border is found by it."""
WINDOWS = ((0, 0, SIDE), *((x, y, SIDE - CUT) for x, y in ((0, 0), (CUT, 0), (0, CUT), (CUT, CUT), (2, 2))))
"""Left, top and side of the parts of a thumbnail that others are compared with."""


class ImagePrints(NamedTuple):
    """A digest of each file and a grey thumbnail [N, S, S] of its image, 0 where it is flat or unreadable;
    `faults` says why the unreadable ones are."""

    digests: list[bytes]
    thumbnails: Image
    faults: tuple[str, ...] = ()


def read_prints(paths: Sequence[str], progress: Callable[[], object] = lambda: None) -> ImagePrints:
    """The prints of images; `progress` is called after each."""
    digests: list[bytes] = []
    faults: list[str] = []
    thumbnails = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for number, (digest, thumbnail, fault) in enumerate(pool.map(_read_print, paths)):
            digests.append(digest)
            thumbnails[number] = thumbnail
            faults += [fault] if fault else []
            progress()
    return ImagePrints(digests, thumbnails, tuple(faults))


def _read_print(path: str) -> tuple[bytes, Image, str]:
    try:
        data = bytes_of(Path(path))
        digest = hashlib.blake2b(data, digest_size=16).digest()
        return digest, make_thumbnail(read_grey(data, path, least=SIDE)), ""
    except DataError as fault:
        return os.fsencode(path), np.zeros((SIDE, SIDE), np.uint8), f"{path}: {fault.message}"


def make_thumbnail(grey: Image) -> Image:
    """A grey image [H, W] as [S, S]; zeros if it is flat."""
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small if small.std() >= FLAT else np.zeros_like(small), np.uint8)


def filter_band(image: Image, radii: tuple[float, float] = BAND) -> Floats:
    """What of a grey image is coarser than the first radius and finer than the second, in grey levels."""
    pixels = image.astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(pixels, (0, 0), radius) for radius in radii)
    return np.asarray(fine - coarse, np.float32)


def describe_windows(thumbnails: Image) -> list[Floats]:
    """For each of `WINDOWS` a description [N, P] of that part of each thumbnail, with mean 0 and length 1;
    the first one is that of the whole."""
    parts = [np.empty((len(thumbnails), COARSE * COARSE), np.float32) for _ in WINDOWS]
    for number, image in enumerate(thumbnails):
        band = filter_band(image)
        for part, (left, top, side) in zip(parts, WINDOWS, strict=True):
            window = band[top : top + side, left : left + side]
            part[number] = cv2.resize(window, (COARSE, COARSE), interpolation=cv2.INTER_AREA).reshape(-1)
    for part in parts:
        part -= part.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        part[lengths[:, 0] < FAINT * COARSE] = 0
        np.divide(part, lengths, out=part, where=lengths >= FAINT * COARSE)
    return parts


def mirror_descriptions(table: Floats) -> Floats:
    """The descriptions [N, P] of the images mirrored left to right."""
    return np.ascontiguousarray(table.reshape(-1, COARSE, COARSE)[:, :, ::-1]).reshape(table.shape)
