"""The number of channels of image files, from their headers where the format tells it there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from yolor_cfg.files import open_regular, read_regular
from yolor_cfg.images.declared import FRAMES
from yolor_cfg.images.read import silence_stderr
from yolor_cfg.images.stacks import ARRAY_SUFFIX, DAMAGED_ARRAY

FIRST_BYTES, HEAD_BYTES = 2048, 1 << 17
"""The first are enough for most files; a JPEG may have a thumbnail and a profile before its frame header."""
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
"""By colour type; a palette gives colours."""


def count_channels(paths: Sequence[str]) -> dict[int, int]:
    """How many images have how many channels, by the number of channels; 0: it cannot be told."""
    with ThreadPoolExecutor(4) as pool:
        return dict(sorted(Counter(pool.map(read_channel_count, paths, chunksize=64)).items()))


def read_channel_count(path: str) -> int:
    """The channels of one file, as stored, of several pages those of the first; 0 if it cannot be read."""
    try:
        with open_regular(path) as file:
            head = file.read(FIRST_BYTES)
            told = _declared_channels(head) or _declared_channels(head + file.read(HEAD_BYTES))
        return told or _decoded_channels(path)
    except (OSError, cv2.error, *DAMAGED_ARRAY):
        return 0


def _declared_channels(head: bytes) -> int:
    """From the header of a PNG or a JPEG; 0 for others."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) > 25:
        return PNG_CHANNELS.get(head[25], 0)
    if head.startswith(b"\xff\xd8"):
        return _jpeg_channels(head)
    return 0


def _jpeg_channels(head: bytes) -> int:
    """From the frame header, which stands behind other segments: marker, length, precision, height, width,
    number of components."""
    at = 2
    while at + 10 <= len(head) and head[at] == 0xFF:
        if head[at + 1] in FRAMES:
            return head[at + 9]
        at += 1 if head[at + 1] == 0xFF else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0


def _decoded_channels(path: str) -> int:
    if path.lower().endswith(ARRAY_SUFFIX):
        shape = np.lib.format.open_memmap(path, mode="r").shape
        return int(shape[2]) if len(shape) == 3 else 1
    with silence_stderr:
        pixels = cv2.imdecode(np.frombuffer(read_regular(path), np.uint8), cv2.IMREAD_UNCHANGED)
    return 0 if pixels is None else 1 if pixels.ndim == 2 else int(pixels.shape[2])
