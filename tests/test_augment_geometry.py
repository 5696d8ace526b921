"""Pixels and boxes moved together, colours by lookup tables: against explicit formulas."""

import math

import cv2
import numpy as np
import pytest
from augmented import black, inked, marked, noise_image
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.data.augment.color import (
    ColorJitter,
    add_noise,
    apply_luts,
    blend_equally,
    blend_images,
    blur_background,
    blur_image,
    jitter_color,
    yolor_luts,
)
from yolor_cfg.data.augment.geometry import (
    apply_by_channels,
    crop_image,
    flip_scene,
    mean_color,
    resize_bilinear,
    to_scene,
    warp_boxes,
    warp_image,
)

GAIN = st.floats(0.3, 1.7)
ENTRY = st.floats(-2, 2)


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(st.lists(ENTRY, min_size=6, max_size=6), st.lists(st.floats(-1e-3, 1e-3), min_size=2, max_size=2))
def test_a_moved_box_is_the_upright_box_around_its_four_moved_corners(affine: list, tilt: list) -> None:
    matrix = np.array([affine[:3], affine[3:], [*tilt, 1]])
    boxes = np.array([[3.0, 5, 40, 17], [0, 0, 100, 80]])
    for box, found in zip(boxes, warp_boxes(boxes, matrix), strict=True):
        left, top, right, bottom = box
        places = []
        for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
            depth = tilt[0] * x + tilt[1] * y + 1
            places.append([(row[0] * x + row[1] * y + row[2]) / depth for row in matrix[:2]])
        (x0, y0), (x1, y1) = np.min(places, axis=0), np.max(places, axis=0)
        np.testing.assert_allclose(found, (x0, y0, x1, y1), atol=1e-9)


@pytest.mark.parametrize("tilt", [(0, 0), (4e-4, -3e-4)])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_pixels_and_boxes_move_together(turn: int, tilt: tuple[float, float]) -> None:
    scene = to_scene(marked(black(80, 120), (30, 20, 75, 50)))
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    matrix = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    matrix = np.array([[1, 0, 150], [0, 1, 150], [0, 0, 1]]) @ matrix
    matrix[2, :2] = tilt
    box = warp_boxes(scene.boxes_xyxy, matrix)[0]
    found = inked(warp_image(scene.image, matrix, (300, 300)))
    np.testing.assert_allclose(found, box, atol=1.1 if tilt == (0, 0) else 2)


def test_warping_leaves_an_image_that_stays_where_it_is_and_fills_the_rest_grey() -> None:
    image = pixels(1, 30, 40, 3)
    assert warp_image(image, np.eye(3), (30, 40)) is image
    shifted = warp_image(image, np.array([[1.0, 0, 5], [0, 1, 7], [0, 0, 1]]), (50, 60))
    np.testing.assert_array_equal(shifted[7:37, 5:45], image)
    shifted[7:37, 5:45] = 114
    assert (shifted == 114).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
def test_every_channel_is_treated_as_if_it_were_alone(channels: int) -> None:
    image = pixels(channels, 30, 40, channels)
    matrix = np.array([[0.9, 0.2, 3], [-0.1, 1.1, -4], [0, 0, 1]])
    upside_down = apply_by_channels(image, lambda part: cv2.flip(part, 0))
    whole = warp_image(image, matrix, (25, 35)), resize_bilinear(image, (17, 61)), upside_down
    for channel in range(channels):
        one = image[..., channel : channel + 1]
        alone = warp_image(one, matrix, (25, 35)), resize_bilinear(one, (17, 61)), one[::-1]
        for every, single in zip(whole, alone, strict=True):
            assert every.shape == (*single.shape[:2], channels)
            # OpenCV rounds places to 1/32 pixel for some counts of channels and not for others.
            difference = every[..., channel : channel + 1].astype(int) - single
            assert np.abs(difference).max() <= 2 * 255 / 32


@pytest.mark.parametrize("axis", [0, 1])
def test_flipping_twice_restores_the_image_and_once_moves_boxes_with_pixels(axis: int) -> None:
    scene = to_scene(marked(black(40, 60), (5, 10, 20, 18)))
    once = flip_scene(scene, axis=axis)
    assert inked(once.image) == tuple(once.boxes_xyxy[0].round(6))
    twice = flip_scene(once, axis=axis)
    np.testing.assert_array_equal(twice.image, scene.image)
    np.testing.assert_allclose(twice.boxes_xyxy, scene.boxes_xyxy)


@pytest.mark.parametrize("channels", [1, 3, 12])
def test_a_crop_beyond_the_image_is_filled_with_its_mean_colour(channels: int) -> None:
    image = pixels(5, 20, 30, channels)
    found = crop_image(image, (-4, 3, 37, 26))
    assert found.shape == (23, 41, channels)
    np.testing.assert_array_equal(found[:17, 4:34], image[3:])
    outside = np.concatenate([found[:, :4].reshape(-1, channels), found[17:].reshape(-1, channels)])
    expected = np.rint(image.reshape(-1, channels).mean(axis=0, dtype=np.float64))
    np.testing.assert_array_equal(outside, np.tile(expected, (len(outside), 1)))
    np.testing.assert_array_equal(mean_color(image), expected)


def test_a_crop_inside_the_image_copies_nothing_and_one_off_it_shows_no_pixel() -> None:
    image = pixels(6, 20, 30, 3)
    assert np.shares_memory(crop_image(image, (2, 3, 20, 15)), image)
    np.testing.assert_array_equal(crop_image(image, (2, 3, 20, 15)), image[3:15, 2:20])
    assert (crop_image(image, (40, 50, 45, 52)) == mean_color(image)).all()


@given(GAIN, GAIN, GAIN)
def test_yolors_tables_are_the_formula_for_every_pixel(hue: float, saturation: float, value: float) -> None:
    rgb = pixels(7, 16, 16, 3)
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV).astype(np.float64)
    wanted = np.stack(
        [
            np.floor(np.fmod(hsv[..., 0] * hue, 180)),
            np.floor(np.minimum(hsv[..., 1] * saturation, 255)),
            np.floor(np.minimum(hsv[..., 2] * value, 255)),
        ],
        axis=-1,
    ).astype(np.uint8)
    found = apply_luts(rgb, yolor_luts((hue, saturation, value)))
    np.testing.assert_array_equal(found, cv2.cvtColor(wanted, cv2.COLOR_HSV2RGB))


@given(st.floats(-0.5, 0.5), GAIN, GAIN)
def test_darknets_colours_are_the_formula_for_every_pixel(
    hue: float, saturation: float, value: float
) -> None:
    rgb = pixels(8, 8, 8, 3)
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    for pixel in hsv.reshape(-1, 3):
        changed = pixel[0] + 179 * hue, pixel[1] * saturation, pixel[2] * value
        pixel[:] = [min(max(round(float(np.float32(level))), 0), 255) for level in changed]
    found = jitter_color(rgb, ColorJitter(hue, saturation, value)).astype(int)
    assert np.abs(found - cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).max() <= 4  # a level that lies on .5


def test_a_hue_below_zero_becomes_zero_and_one_above_the_circle_wraps_around() -> None:
    assert ColorJitter(-0.1).luts.hue[:20].tolist() == [0] * 18 + [0, 1]  # 19 - 17.9 = 1.1
    red = np.array([[[200, 43, 43]]], np.uint8)  # hue 0
    pink = cv2.cvtColor(np.array([[[170, 200, 200]]], np.uint8), cv2.COLOR_HSV2RGB)
    assert jitter_color(red, ColorJitter(-0.3)).tolist() == red.tolist()
    assert (
        jitter_color(pink, ColorJitter(0.1)).tolist()
        == cv2.cvtColor(np.array([[[170 + 18 - 180, 200, 200]]], np.uint8), cv2.COLOR_HSV2RGB).tolist()
    )


def test_only_rgb_has_a_hue_and_grey_only_an_exposure() -> None:
    shade = ColorJitter(0.1, 1.4, 1.5)
    grey, four = pixels(9, 6, 6, 1), pixels(9, 6, 6, 4)
    np.testing.assert_array_equal(jitter_color(grey, shade), np.rint(np.minimum(grey * 1.5, 255)))
    assert jitter_color(four, shade) is four


def test_yolors_mixup_rounds_down_and_darknets_to_the_nearest() -> None:
    first, second = pixels(10, 9, 9, 3), pixels(11, 9, 9, 3)
    expected = np.floor(first.astype(float) * 0.3 + second.astype(float) * 0.7)
    np.testing.assert_array_equal(blend_images(first, second, 0.3), expected)
    error = blend_equally(first, second) - (first.astype(float) + second) / 2
    assert np.abs(error).max() == 0.5 and (
        blend_images(first[..., :1], second[..., :1], 0.3).shape == (9, 9, 1)
    )


def test_the_blur_behind_objects_spares_the_boxes_and_blurs_by_seventeen_pixels() -> None:
    image = pixels(12, 60, 60, 3)
    found = blur_background(image, np.array([[10, 20, 30, 40], [50, 50, 70, 80], [-5, -5, 3, 4]]))
    sharp = np.zeros((60, 60), bool)
    sharp[20:40, 10:30] = sharp[50:, 50:] = sharp[:4, :3] = True
    np.testing.assert_array_equal(found[sharp], image[sharp])
    np.testing.assert_array_equal(found[~sharp], cv2.GaussianBlur(image, (17, 17), 0)[~sharp])
    assert blur_image(image[..., :1], 5).shape == (60, 60, 1)


def test_noise_only_brightens_because_darknet_stores_it_in_bytes() -> None:
    image = np.full((100, 100, 3), 50, np.uint8)
    added = add_noise(image, 20, np.random.default_rng(0)).astype(float) - 50
    assert added.min() == 0 and abs((added == 0).mean() - 0.51) < 0.01  # below 0.5 of 20: 0.51
    assert abs(added.mean() - 20 / math.sqrt(2 * math.pi)) < 0.3  # mean of the positive half
    assert add_noise(noise_image(0).image, 500, np.random.default_rng(0)).max() == 255
