"""Darknet's resize in C++ against the code in numpy: equal bits at every size."""

from __future__ import annotations

import numpy as np
import pytest
from native import BUILT
from numpy.typing import NDArray

from yolor_cfg.images import native_resize, preprocess
from yolor_cfg.images.preprocess import letterbox, resize_darknet
from yolor_cfg.images.types import Image, Size

pytestmark = pytest.mark.skipif(not BUILT, reason="the C++ code is not built (make native)")


def image_of(height: int, width: int, channels: int) -> Image:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(height * width).integers(0, 256, shape, np.uint8)


def resized_by_numpy(image: Image, size: Size) -> NDArray[np.float32]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_resize, "_load_function", lambda: None)
        return resize_darknet(image, size)


def check_bits(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found.view(np.int32), wanted.view(np.int32))


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4, 7])
def test_the_bits_are_those_of_numpy(channels: int) -> None:
    """Sides of one pixel, enlarged, shrunk and left alone."""
    sides = ((1, 1), (1, 9), (9, 1), (2, 3), (31, 17), (64, 65), (129, 200))
    for height, width in sides:
        image = image_of(height, width, channels)
        for size in (*sides, (416, 33), (5, 416)):
            check_bits(resize_darknet(image, size), resized_by_numpy(image, size))


@pytest.mark.parametrize("hw", [(576, 768), (51, 1280), (1280, 51), (333, 500)])
def test_the_bits_at_usual_sizes(hw: Size) -> None:
    """Also for heights whose last row C reads beyond its image."""
    image = image_of(*hw, 3)
    for size in ((416, 416), (608, 320)):
        check_bits(resize_darknet(image, size), resized_by_numpy(image, size))


def test_every_value_of_a_pixel() -> None:
    """The division by 255 of all 256 values, where nothing is mixed."""
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    wanted = np.arange(256, dtype=np.float32).reshape(1, 16, 16) / np.float32(255)
    check_bits(resize_darknet(image, (16, 16)), wanted)


def test_a_part_of_an_image_and_a_letterbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that do not lie one behind the other, and a result within a larger one."""
    whole = image_of(90, 120, 3)
    part = whole[10:70:2, ::-1]
    check_bits(resize_darknet(part, (20, 40)), resize_darknet(part.copy(), (20, 40)))
    found = letterbox(part, (64, 96)).pixels
    monkeypatch.setattr(native_resize, "_load_function", lambda: None)
    check_bits(found, letterbox(part, (64, 96)).pixels)
    assert preprocess.resize_natively is native_resize.resize_natively
