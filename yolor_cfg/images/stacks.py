"""The reader of image files for detect, test and train alike, with any number of channels: what OpenCV reads,
TIFF files with a page per channel, .npy arrays."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import cv2
import numpy as np
from cv2.typing import MatLike

from yolor_cfg.errors import DataError, count_of
from yolor_cfg.files import StrPath, open_regular, read_regular, reason_of
from yolor_cfg.images.declared import check_pixels, page_sizes
from yolor_cfg.images.read import IMAGE_SUFFIXES, read_image, silence_stderr, to_uint8
from yolor_cfg.images.types import Image, Size

ARRAY_SUFFIX = ".npy"
READABLE_SUFFIXES = (*IMAGE_SUFFIXES, ARRAY_SUFFIX)
PAGED_SUFFIXES = (".tif", ".tiff")
OPENCV_CHANNELS = (1, 3, 4)
# numpy reads a header with Python's own parser.
DAMAGED_ARRAY = (ValueError, EOFError, SyntaxError, TokenError, OverflowError, MemoryError, RecursionError)


def read_channels(path: StrPath, channels: int) -> Image:
    """The image [H, W, C] uint8 in a file: like `read_image`, and arrays and stacks in the order of the file.

    A .npy array must be [H, W, C] or [H, W] uint8; one channel is repeated for RGB, as a grey image is.
    The pages of a TIFF file are stacked if they have that number of channels together; else the first counts.
    """
    place = os.fspath(path)
    ending = Path(place).suffix.lower()
    if ending == ARRAY_SUFFIX:
        return _fit_channels(_read_array(place), channels, place)
    if ending in PAGED_SUFFIXES:
        pages = _read_pages(place, channels) if channels > 1 else ()
        if pages and (sum(page.shape[2] for page in pages) == channels or channels not in OPENCV_CHANNELS):
            return _fit_channels(_stack_pages(pages, place), channels, place)
    return read_image(place, channels=channels)


def read_array_size(file: BinaryIO, length: int) -> Size:
    """Height and width from the header of a .npy file of `length` bytes."""
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except DAMAGED_ARRAY as fault:
        raise DataError(f"not a readable array: {fault}") from None
    _check_array(dtype, shape)
    check_pixels((shape[0], shape[1]))
    if length - file.tell() < math.prod(shape):
        raise DataError("the file is truncated: it ends before the array does")
    return shape[0], shape[1]


def _read_array(path: str) -> Image:
    """Load the array; objects are never unpickled."""
    try:
        with open_regular(path) as raw, io.BufferedReader(raw) as file:
            read_array_size(file, os.fstat(raw.fileno()).st_size)
            file.seek(0)
            array = np.load(file, allow_pickle=False)
    except OSError as fault:
        raise DataError(reason_of(fault), path=path) from None
    except DAMAGED_ARRAY as fault:
        raise DataError(f"not a readable array: {fault}", path=path) from None
    except DataError as fault:
        raise DataError(fault.message, path=path) from None
    return np.ascontiguousarray(array.reshape(*array.shape[:2], -1))


def _check_array(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype != np.uint8 or len(shape) not in (2, 3) or min(shape) < 1:
        raise DataError(f"an array of {dtype} and shape {shape}, not uint8 [H, W, C]")


def _read_pages(path: str, channels: int) -> list[MatLike]:
    """The pages [H, W, C] of a TIFF file as stored; none if it has one, or more than are wanted.

    Raises DataError for more than are wanted where the first page alone is no answer.
    """
    try:
        data = read_regular(path)
    except OSError:
        return []
    sizes = list(page_sizes(io.BytesIO(data), data[:32])) if len(data) >= 16 else []
    if len(sizes) > channels and channels not in OPENCV_CHANNELS:
        many = count_of(len(sizes), "page")
        raise DataError(f"the image has {many}, not {count_of(channels, 'channel')}", path=path)
    if not 1 < len(sizes) <= channels:
        return []
    for size in sizes:
        check_pixels(size)
    with silence_stderr:
        done, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return [page.reshape(*page.shape[:2], -1) for page in pages] if done else []


def _stack_pages(pages: Sequence[MatLike], path: str) -> Image:
    if any(page.shape[:2] != pages[0].shape[:2] for page in pages):
        raise DataError("the pages differ in size", path=path)
    return to_uint8(np.concatenate(pages, axis=2))


def _fit_channels(image: Image, channels: int, path: str) -> Image:
    if image.shape[2] == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] != channels:
        raise DataError(f"the image has {count_of(image.shape[2], 'channel')}, not {channels}", path=path)
    return image
