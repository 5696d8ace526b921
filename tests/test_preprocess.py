"""Pictures made to fit: against C Darknet's tensors, YOLOR's geometry, and pixel by pixel."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.images.preprocess import (
    LetterboxOptions,
    Placement,
    letterbox,
    placement_from_sizes,
    resize_darknet,
    stretch,
    yolor_geometry,
    yolor_letterbox,
)

SIDE = st.integers(1, 9)


def picture(height: int, width: int, *, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("name", ["yolov3-tiny-on-person", "yolov4-tiny-on-dog"])
@pytest.mark.parametrize("prepare", [stretch, letterbox])
def test_the_input_is_what_c_darknet_makes_of_the_photograph(name: str, prepare, shared: Path) -> None:
    folder = shared / "golden/darknet/images"
    case = json.loads((folder / f"{name}-{prepare.__name__}.json").read_text())
    golden = np.load(folder / f"{name}-{prepare.__name__}.npz")
    image = cv2.cvtColor(cv2.imread(str(folder / case["image"])), cv2.COLOR_BGR2RGB)
    width, height = case["net_size_wh"]
    pixels, _ = prepare(image, (height, width))
    assert pixels.shape == (3, height, width)
    np.testing.assert_allclose(pixels.ravel()[golden["tensor_idx"]], golden["tensor_val"], atol=1e-5)
    assert pixels.mean(dtype=np.float64) == pytest.approx(float(golden["tensor_mean"]), abs=1e-5)
    assert pixels.std(dtype=np.float64) == pytest.approx(float(golden["tensor_std"]), abs=1e-5)


@given(SIDE, SIDE, SIDE, SIDE)
def test_resizing_puts_corner_on_corner_and_interpolates(h: int, w: int, height: int, width: int) -> None:
    image = picture(h, w, seed=h * 10 + w)
    found = resize_darknet(image, (height, width))
    for y in range(height):
        for x in range(width):
            row = h - 1 if y == height - 1 else y * (h - 1) / (height - 1)
            column = w - 1 if x == width - 1 else x * (w - 1) / (width - 1)
            top, left = int(row + 1e-6), int(column + 1e-6)
            down, right = min(top + 1, h - 1), min(left + 1, w - 1)
            dy, dx = row - top, column - left
            above = image[top, left] * (1 - dx) + image[top, right] * dx
            below = image[down, left] * (1 - dx) + image[down, right] * dx
            np.testing.assert_allclose(found[:, y, x], (above * (1 - dy) + below * dy) / 255, atol=2e-5)


def test_the_last_row_is_the_last_row_where_c_would_round_it_to_black() -> None:
    """16 rows on 416: in float32, 415 x (15 / 415) is less than 15."""
    step = np.float32(15) / np.float32(415)
    assert step * np.float32(415) < 15
    assert (resize_darknet(np.full((16, 16, 3), 255, np.uint8), (416, 416)) == 1).all()


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = picture(7, 5)
    np.testing.assert_array_equal(resize_darknet(image, (7, 5)), image.transpose(2, 0, 1) / np.float32(255))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("prepare", [stretch, letterbox, yolor_letterbox])
def test_any_number_of_channels_passes_each_as_it_would_alone(channels: int, prepare) -> None:
    image = picture(20, 31, channels=channels)
    pixels, _ = prepare(image, (16, 32))
    alone = [prepare(image[..., i], (16, 32)).pixels for i in range(channels)]
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, np.concatenate(alone))


def test_darknets_letterbox_is_grey_with_the_picture_at_whole_pixels() -> None:
    pixels, placement = letterbox(np.zeros((50, 100, 3), np.uint8), (64, 61))
    inside = (pixels == 0).all(axis=0)
    assert inside.sum() == 30 * 61
    assert inside[17:47].all()
    assert (pixels[:, ~inside] == 0.5).all()
    assert placement.padding_xy == (0, 17)


def test_darknets_boxes_come_back_by_the_unrounded_half_of_the_padding() -> None:
    _, placement = letterbox(np.zeros((424, 640, 3), np.uint8), (416, 416))
    whole = placement.to_image(np.array([[208.0, 208, 416, 275]]))
    np.testing.assert_allclose(whole, [[0, 0, 640, 424]], atol=1e-9)
    assert placement.padding_xy == (0, 70.5)


@pytest.mark.parametrize("prepare", [stretch, letterbox, yolor_letterbox])
@pytest.mark.parametrize("image_size", [(1, 1), (1, 5000), (5000, 1), (37, 53), (300, 200)])
def test_a_box_around_the_picture_in_the_input_is_the_picture(prepare, image_size: tuple[int, int]) -> None:
    placement = prepare(np.zeros((*image_size, 3), np.uint8), (64, 96)).placement
    (gain_x, gain_y), (left, top) = placement.gain_xy, placement.padding_xy
    width, height = image_size[1] * gain_x, image_size[0] * gain_y
    found = placement.to_image(np.array([[left + width / 2, top + height / 2, width, height]]))
    np.testing.assert_allclose(found, [[0, 0, image_size[1], image_size[0]]], atol=1e-6)


def test_darknets_boxes_may_leave_the_picture_and_yolors_are_clipped() -> None:
    box = np.array([[0.0, 0, 20, 20]], np.float32)
    image = np.zeros((100, 100, 3), np.uint8)
    assert stretch(image, (50, 50)).placement.to_image(box).tolist() == [[-20, -20, 20, 20]]
    assert yolor_letterbox(image, (50, 50)).placement.to_image(box).tolist() == [[0, 0, 20, 20]]


def geometry_cases(shared: Path) -> list[dict]:
    return json.loads((shared / "golden/yolor/geometry.json").read_text())["letterbox"]


def fit_of(case: dict) -> tuple[tuple[int, int], LetterboxOptions]:
    target = case["target"]
    size = tuple(target) if isinstance(target, list) else (target, target)
    multiple = case["auto_size"] if case["auto"] else None
    return size, LetterboxOptions(multiple, scaleup=case["scaleup"], scale_fill=case["scale_fill"])


def xywh(boxes_xyxy: list[list[float]]) -> np.ndarray:
    corners = np.array(boxes_xyxy)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def test_yolors_letterbox_has_the_golden_geometry(shared: Path) -> None:
    for case in geometry_cases(shared):
        size, fit = fit_of(case)
        inner, gain, padding = yolor_geometry(tuple(case["image_hw"]), size, fit=fit)
        assert list(inner[::-1]) == case["resized_wh"]
        assert gain == pytest.approx(case["ratio_wh"], rel=1e-6)
        assert list(padding) == case["half_pad_wh"]
        pixels, placement = yolor_letterbox(np.zeros((*case["image_hw"], 3), np.uint8), size, fit=fit)
        ys, xs = np.nonzero(pixels[0] == 0)
        assert list(pixels.shape[1:]) == list(placement.input_size) == case["output_hw"]
        assert (ys.min(), pixels.shape[1] - 1 - ys.max()) == (case["top"], case["bottom"])
        assert (xs.min(), pixels.shape[2] - 1 - xs.max()) == (case["left"], case["right"])
        assert np.unique(pixels[pixels != 0]) == pytest.approx(np.float32(114 / 255)) or (pixels == 0).all()


def test_yolors_boxes_come_back_as_in_the_golden_cases(shared: Path) -> None:
    for case in geometry_cases(shared):
        placement = placement_from_sizes(tuple(case["image_hw"]), tuple(case["output_hw"]))
        found = placement.to_image(xywh(case["boxes_in"]))
        np.testing.assert_allclose(found, case["boxes_scaled"], rtol=1e-6, atol=1e-6)


def test_the_letterbox_hands_over_the_placement_of_its_own_geometry(shared: Path) -> None:
    for case in geometry_cases(shared):
        size, fit = fit_of(case)
        placement = yolor_letterbox(np.zeros((*case["image_hw"], 3), np.uint8), size, fit=fit).placement
        expected = case["boxes_scaled" if fit.scaleup else "boxes_scaled_with_ratio_pad"]
        if fit.scale_fill:
            h, w = case["image_hw"]
            scale = np.array([w / 512, h / 512] * 2)
            expected = (np.array(case["boxes_in"]) * scale).clip(0, [w, h, w, h])
        np.testing.assert_allclose(placement.to_image(xywh(case["boxes_in"])), expected, rtol=1e-6, atol=1e-6)


def test_yolors_pixels_are_opencvs_linear_resize_or_its_area_mean() -> None:
    image = picture(40, 60)
    for averages, how in [(False, cv2.INTER_LINEAR), (True, cv2.INTER_AREA)]:
        pixels = yolor_letterbox(image, (30, 30), fit=LetterboxOptions(antialias=averages)).pixels
        expected = cv2.resize(image, (30, 20), interpolation=how).transpose(2, 0, 1) / np.float32(255)
        np.testing.assert_allclose(pixels[:, 5:25], expected, atol=1e-6)


def test_forty_megapixels_are_resized_from_a_few_rows_alone() -> None:
    """The huge picture is one row repeated by a stride of 0: it takes no memory unless it is copied."""
    row = picture(1, 8000)
    huge = np.broadcast_to(row, (5000, 8000, 3))
    pixels, _ = stretch(huge, (64, 64))
    np.testing.assert_allclose(pixels[:, 0], resize_darknet(row, (1, 64))[:, 0], atol=1e-6)


def test_a_placement_keeps_the_form_of_the_number() -> None:
    placement = Placement((10, 10), (20, 20), (2.0, 2.0), (0.0, 0.0))
    assert placement.to_image(np.zeros((0, 4), np.float32)).dtype == np.float32
