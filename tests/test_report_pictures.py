"""The sheet of a batch: its layout, its frames, its pixels."""

import numpy as np
import pytest
import torch

from yolor_cfg.data.types import Batch
from yolor_cfg.images.draw import class_color
from yolor_cfg.report.batch_sheet import TILE_GAP, contact_sheet, to_pixels

NAMES = ("cat", "dog")


def batch_of(images: torch.Tensor, rows: list[list[float]] | None = None) -> Batch:
    return Batch(images, torch.tensor(rows or [], dtype=torch.float32).reshape(-1, 6), (), ())


def test_images_stand_in_reading_order_at_their_own_size_while_they_fit() -> None:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 40, 60) * 50
    sheet = contact_sheet(batch_of(images), NAMES)
    assert sheet.shape == (3 * (40 + TILE_GAP), 2 * (60 + TILE_GAP), 3)
    for number in range(5):
        top, left = number // 2 * (40 + TILE_GAP), number % 2 * (60 + TILE_GAP)
        assert (sheet[top : top + 40, left : left + 60] == 50 * number).all()
    assert (sheet[-1:, 60 + TILE_GAP :] == 255).all()


def test_large_images_are_made_smaller_and_only_sixteen_are_shown() -> None:
    sheet = contact_sheet(batch_of(torch.zeros(20, 3, 1000, 1000, dtype=torch.uint8)), NAMES)
    assert sheet.shape == (4 * (480 + TILE_GAP), 4 * (480 + TILE_GAP), 3)


@pytest.mark.parametrize("label", [0, 1, 7])
def test_a_box_has_a_frame_in_its_classs_colour(label: int) -> None:
    rows = [[0, label, 0.5, 0.5, 0.5, 0.4], [1, label, 0.5, 0.5, 0.2, 0.2]]
    sheet = contact_sheet(batch_of(torch.zeros(1, 3, 100, 200, dtype=torch.uint8), rows), NAMES)
    for y, x in ((70, 100), (50, 50), (50, 150), (70, 150)):
        assert tuple(sheet[y, x]) == class_color(label)
    assert (sheet[55:65, 60:140] == 0).all()


def test_floats_and_bytes_of_any_number_of_channels_become_rgb() -> None:
    pixels = torch.randint(0, 256, (3, 12, 20), dtype=torch.uint8)
    np.testing.assert_array_equal(to_pixels(pixels, (12, 20)), pixels.permute(1, 2, 0))
    np.testing.assert_array_equal(to_pixels(pixels / 255, (12, 20)), pixels.permute(1, 2, 0))
    for channels in (1, 4, 12):
        assert to_pixels(torch.zeros(channels, 8, 8), (8, 8)).shape == (8, 8, 3)
