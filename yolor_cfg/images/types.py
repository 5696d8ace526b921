"""The types of images and sizes, and how their files are read, shared by all packages above."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Pixels [H, W, C], 0 to 255; RGB where C is 3."""
Size = tuple[int, int]
"""Height and width in pixels."""


def read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """Up to `count` bytes of a file of an image from that offset on."""
    file.seek(at)
    return file.read(count)
