"""The images of classifiers, in tests and in training, against C Darknet's functions written out in
Python."""

import math
from itertools import product

import numpy as np
import pytest

from yolor_cfg.data.augment.classifier import (
    ClassifierAugmentation,
    ClassifierTransform,
    TurnedView,
    crop_view,
    draw_view,
    read_classifier_augmentation,
    smooth_truth,
)
from yolor_cfg.data.augment.color import ColorJitter
from yolor_cfg.data.augment.darknet import CUTMIX, CUTMIX_AND_MOSAIC, MIXUP, MOSAIC
from yolor_cfg.data.augment.float_color import distort_colors
from yolor_cfg.data.types import LabeledImage
from yolor_cfg.graph import build_graph
from yolor_cfg.images.fit import default_preprocess
from yolor_cfg.images.preprocess import centre_crop, resize_darknet
from yolor_cfg.lang.syntax import parse

F32 = np.float32
STILL = ClassifierAugmentation((16, 16), flip=False)


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def item_of(source: np.ndarray, augmentation: ClassifierAugmentation, *, size=(16, 16), seed=0, classes=(1,)):
    images = [LabeledImage(np.roll(source, k, 0), None, None) for k in range(4)]
    has = [np.array(classes, np.int64), *(np.array([k % 3]) for k in range(1, 4))]
    transform = ClassifierTransform(augmentation, size, 4, 3, has.__getitem__)
    return transform(0, np.random.default_rng(seed), images.__getitem__)


@pytest.mark.parametrize(
    ("shape", "size"), [((30, 50), (16, 16)), ((50, 31), (16, 16)), ((9, 9), (16, 16)), ((20, 60), (24, 12))]
)
def test_a_test_image_is_resized_by_its_shorter_side_and_cut_in_the_middle(shape, size):
    """validate_classifier_single: resize_min(im, net.w), then crop_image((w - net.w)/2, (h - net.h)/2,
    net.w, net.h)."""
    image = picture(*shape)
    (h, w), (height, width) = shape, size
    inner = ((h * width) // w, width) if w < h else (width, (w * width) // h)
    resized = resize_darknet(image, inner)
    dy, dx = int((inner[0] - height) / 2), int((inner[1] - width) / 2)
    want = np.empty((3, *size), F32)
    for row, column in product(range(height), range(width)):  # crop_image: constrain_int(r, 0, im.h-1)
        y, x = min(max(row + dy, 0), inner[0] - 1), min(max(column + dx, 0), inner[1] - 1)
        want[:, row, column] = resized[:, y, x]
    found = centre_crop(image, size)
    assert np.array_equal(found.pixels, want)
    corner = found.placement.to_image(np.array([[0.0, 0, 0, 0]]))[0, :2]
    np.testing.assert_allclose(corner, (dx / inner[1] * w, dy / inner[0] * h))


def rotated_by_c(image: np.ndarray, view: TurnedView, side: int) -> np.ndarray:
    """rotate_crop_image, bilinear_interpolate and get_pixel_extend of image.c, pixel by pixel."""
    pixels = image.astype(F32) / F32(255)
    height, width, channels = image.shape
    (dx, dy), s, aspect, rad = view.shift_xy, view.scale, view.aspect, view.radians
    out = np.zeros((side, side, channels), F32)

    def pixel(x: int, y: int) -> np.ndarray:
        return pixels[y, x] if 0 <= x < width and 0 <= y < height else np.zeros(channels, F32)

    for y, x in product(range(side), range(side)):
        across, down = (x - side / 2.0) / s * aspect + dx / s * aspect, (y - side / 2.0) / s + dy / s
        rx = F32(math.cos(rad) * across - math.sin(rad) * down + width / 2.0)
        ry = F32(math.sin(rad) * across + math.cos(rad) * down + height / 2.0)
        ix, iy = math.floor(rx), math.floor(ry)
        px, py = rx - F32(ix), ry - F32(iy)
        out[y, x] = (
            (1 - py) * (1 - px) * pixel(ix, iy)
            + py * (1 - px) * pixel(ix, iy + 1)
            + (1 - py) * px * pixel(ix + 1, iy)
            + py * px * pixel(ix + 1, iy + 1)
        )
    return out


@pytest.mark.parametrize(
    "view",
    [TurnedView(0, 1, (0, 0), 1), TurnedView(0.3, 0.7, (3.2, -1.5), 1.3), TurnedView(-1, 2.1, (0, 9), 0.8)],
)
def test_a_training_image_is_turned_scaled_and_cut_as_in_c(view):
    image = picture(20, 27)
    np.testing.assert_allclose(crop_view(image, view, 12), rotated_by_c(image, view, 12), atol=3e-7)


def distorted_by_c(pixel: np.ndarray, hue: float, saturation: float, exposure: float) -> list[float]:
    """rgb_to_hsv, distort_image and hsv_to_rgb of image.c for one pixel."""
    r, g, b = map(float, pixel)
    v, delta = max(r, g, b), max(r, g, b) - min(r, g, b)
    s, h = (delta / v if v else 0), 0.0
    if delta:
        h = (g - b) / delta if r == v else 2 + (b - r) / delta if g == v else 4 + (r - g) / delta
    h = (h + 6 if h < 0 else h) / 6 + hue
    h, s, v = (h - 1 if h > 1 else h + 1 if h < 0 else h), s * saturation, v * exposure
    index = math.floor(6 * h)
    f = 6 * h - index
    p, q, t = v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))
    found = {0: (v, t, p), 1: (q, v, p), 2: (p, v, t), 3: (p, q, v), 4: (t, p, v)}.get(index, (v, p, q))
    return [min(max(value, 0), 1) for value in (found if s else (v, v, v))]


@pytest.mark.parametrize("shade", [ColorJitter(), ColorJitter(0.13, 1.6, 0.8), ColorJitter(-0.4, 0.5, 1.7)])
def test_colours_change_as_in_c(shade):
    image = np.concatenate([picture(6, 8), np.full((1, 8, 3), 77, np.uint8), np.zeros((1, 8, 3), np.uint8)])
    image = image.astype(F32) / F32(255)
    want = [[distorted_by_c(pixel, *shade) for pixel in row] for row in image]
    np.testing.assert_allclose(distort_colors(image, shade), want, atol=2e-6)


def test_the_view_is_drawn_between_the_bounds_of_random_augment_image():
    augmentation = ClassifierAugmentation((20, 40), angle=30, aspect=1.5)
    rng = np.random.default_rng(0)
    views = [draw_view((60, 80), 16, augmentation, rng=rng) for _ in range(300)]
    assert max(abs(view.radians) for view in views) <= math.radians(30)
    assert min(view.aspect for view in views) < 0.75 < 1.4 < max(view.aspect for view in views) <= 1.5
    for view in views:
        shorter = view.scale * int(min(60, 80 * view.aspect))
        spare = max(0, (80 * view.scale / view.aspect - 16) / 2), max(0, (60 * view.scale - 16) / 2)
        assert 19.99 <= shorter <= 40.01
        assert all(abs(shift) <= most for shift, most in zip(view.shift_xy, spare, strict=True))


def test_a_still_image_is_only_cut_and_has_its_class():
    image = picture(16, 16)
    item = item_of(image, STILL)
    np.testing.assert_allclose(item.image[1:, 1:], image[1:, 1:] / 255, atol=1e-6)
    assert item.truth.tolist() == [0, 1, 0] and item.image.dtype == F32 and not len(item.classes)


def test_labels_are_smoothed_as_fill_truth_smooth_does():
    np.testing.assert_allclose(smooth_truth(np.array([2]), 5, 0.1), [0.025, 0.025, 0.9, 0.025, 0.025])
    assert smooth_truth(np.array([0]), 1, 0.0).tolist() == [1]


@pytest.mark.parametrize(("mixing", "parts"), [(MIXUP, 2), (CUTMIX, 2), (MOSAIC, 4)])
def test_mixed_images_have_their_classes_by_area(mixing, parts):
    items = [item_of(picture(16, 16), STILL._replace(mixing=mixing), seed=seed) for seed in range(30)]
    assert all(item.truth.sum() == pytest.approx(1) for item in items)
    mixed = [item for item in items if item.truth[1] < 1]
    assert mixed and all(item.image.shape == (16, 16, 3) for item in items)
    if mixing == MIXUP:
        assert {tuple(item.truth.tolist()) for item in mixed} <= {(0.5, 0.5, 0), (0, 0.5, 0.5)}


def test_cutmix_pastes_what_it_counts():
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    images = [LabeledImage(black, None, None), LabeledImage(white, None, None)]
    still = ClassifierAugmentation((40, 40), flip=False, mixing=CUTMIX)
    transform = ClassifierTransform(still, (16, 16), 2, 2, lambda index: np.array([index]))
    for seed in range(20):
        item = transform(0, np.random.default_rng(seed), images.__getitem__)
        assert item.image.mean() == pytest.approx(item.truth[1], abs=1e-5)


def test_the_keys_of_net_are_read():
    keys = (
        "min_crop=20\nmax_crop=40\nangle=7\naspect=.75\nhue=.1\nsaturation=.75\nexposure=.6\nflip=0\nblur=3\n"
        "label_smooth_eps=.1\n"
    )
    text = f"[net]\nheight=16\nwidth=16\nchannels=3\n{keys}cutmix=1\nmosaic=1\n[avgpool]\n[softmax]\n"
    graph = build_graph(parse(text))
    assert read_classifier_augmentation(graph) == ClassifierAugmentation(
        (20, 40), 7, 0.75, ColorJitter(0.1, 0.75, 0.6), False, CUTMIX_AND_MOSAIC, 3, 0.1
    )
    assert default_preprocess(graph) == "crop" and graph.unused_keys() == []


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_number_of_channels_and_any_shape_go_through(channels):
    augmentation = ClassifierAugmentation(
        (10, 30), 40, 1.5, ColorJitter(0.1, 1.5, 1.5), mixing=CUTMIX_AND_MOSAIC, blur=3
    )
    for seed in range(12):
        item = item_of(picture(25, 18, channels), augmentation, size=(16, 24), seed=seed)
        assert item.image.shape == (16, 24, channels) and item.image.dtype == F32
        assert 0 <= item.image.min() <= item.image.max() <= 1.0001
        assert np.array_equal(
            item.image, item_of(picture(25, 18, channels), augmentation, size=(16, 24), seed=seed).image
        )
