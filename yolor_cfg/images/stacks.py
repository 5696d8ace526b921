"""Images with any number of channels: what OpenCV reads, TIFF files with a page per channel, .npy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from yolor_cfg.errors import DataError
from yolor_cfg.images.read import IMAGE_SUFFIXES, read_image, silence_stderr
from yolor_cfg.images.types import Image, Size

ARRAY_SUFFIX = ".npy"
READABLE_SUFFIXES = (*IMAGE_SUFFIXES, ARRAY_SUFFIX)
PAGED_SUFFIXES = (".tif", ".tiff")
OPENCV_CHANNELS = (1, 3, 4)


def read_channels(path: str, channels: int) -> Image:
    """The image [H, W, C] uint8; like `read_image` for 1, 3 and 4 channels, else in the order of the file.

    A .npy array must be [H, W, C] or [H, W] uint8 with that number of channels.
    """
    ending = Path(path).suffix.lower()
    if ending == ARRAY_SUFFIX:
        return _check_channels(_read_array(path), channels, path)
    if ending in PAGED_SUFFIXES and channels not in OPENCV_CHANNELS:
        return _check_channels(_read_pages(path), channels, path)
    return read_image(path, channels=channels)


def read_array_size(file: BinaryIO) -> Size:
    """Height and width from the header of a .npy file."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, _ = read(file)
    except ValueError as fault:
        raise DataError(f"not a readable array: {fault}") from None
    if len(shape) not in (2, 3):
        raise DataError(f"an array of shape {shape}, not [H, W, C]")
    return shape[0], shape[1]


def _read_array(path: str) -> Image:
    """Load the array; objects are never unpickled."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as fault:
        raise DataError(f"not a readable array: {fault}", path=path) from None
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise DataError(f"an array of {array.dtype} and shape {array.shape}, not uint8 [H, W, C]", path=path)
    return np.ascontiguousarray(array.reshape(*array.shape[:2], -1))


def _read_pages(path: str) -> Image:
    with silence_stderr:
        done, pages = cv2.imreadmulti(path, flags=cv2.IMREAD_UNCHANGED)
    if not done or not pages:
        raise DataError("not an image, or a damaged one", path=path)
    if any(page.dtype != np.uint8 or page.shape[:2] != pages[0].shape[:2] for page in pages):
        raise DataError("the pages differ in size or do not have 8 bits per value", path=path)
    return np.concatenate([page.reshape(*page.shape[:2], -1) for page in pages], axis=2)


def _check_channels(image: Image, channels: int, path: str) -> Image:
    if image.shape[2] != channels:
        raise DataError(f"the image has {image.shape[2]} channels, not {channels}", path=path)
    return image
