"""YOLOR's augmentation: mosaics, the affine map and its box filter, mixup, flips, probabilities."""

import math

import cv2
import numpy as np
import pytest
import yaml
from augmented import black, corners, equal, fetching, inked, marked, noise_image, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from yolor_cfg.data.augment.geometry import to_scene
from yolor_cfg.data.augment.yolor import (
    HYP_BOUNDS,
    HYP_PRESETS,
    YolorHyperparameters,
    YolorTransform,
    affine_matrix,
    augment_hsv,
    box_candidates,
    fit_scene,
    letterbox_scene,
    mixup_scenes,
    mosaic4,
    mosaic9,
    mosaic9_origins,
    parse_hyperparameters,
    random_affine,
    random_flip,
)
from yolor_cfg.errors import DataError
from yolor_cfg.images.preprocess import yolor_letterbox

STILL = YolorHyperparameters(hsv_h=0, hsv_s=0, hsv_v=0, translate=0, scale=0, fliplr=0)
WILD = HYP_PRESETS["finetune1280"]._replace(
    degrees=30, shear=10, perspective=0.001, mosaic=0.5, mixup=0.5, flipud=0.5
)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_built_in_presets_are_those_of_the_hyp_files() -> None:
    scratch = HYP_PRESETS["scratch1280"]
    assert (scratch.hsv_h, scratch.hsv_s, scratch.hsv_v) == (0.015, 0.7, 0.4)
    assert (scratch.translate, scratch.scale, scratch.fliplr, scratch.mosaic, scratch.mixup) == (
        0.5,
        0.5,
        0.5,
        1,
        0,
    )
    assert (scratch.lr0, scratch.lrf, scratch.momentum, scratch.weight_decay) == (0.01, 0.2, 0.937, 5e-4)
    assert (scratch.box, scratch.cls, scratch.obj) == (0.05, 0.5, 1.0)
    changes = {
        name: {key: value for key, value in recipe._asdict().items() if value != getattr(scratch, key)}
        for name, recipe in HYP_PRESETS.items()
    }
    assert changes == {
        "scratch640": {"cls": 0.3, "obj": 0.7, "translate": 0.1, "scale": 0.9},
        "scratch1280": {},
        "finetune1280": {"scale": 0.8, "mixup": 0.2},
        "paper": {"translate": 0.1},
        "jde": {
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "hsv_h": 0,
            "hsv_s": 0.5,
            "hsv_v": 0.5,
            "degrees": 5,
            "translate": 0.1,
            "scale": 0.35,
            "shear": 2,
            "mosaic": 0,
        },
        "small": {
            "lr0": 0.003,
            "lrf": 0.02,
            "warmup_epochs": 1,
            "warmup_bias_lr": 0.003,
            "weight_decay": 0.05,
            "box": 0.1,
            "cls": 4.0,
            "translate": 0.1,
            "scale": 0.3,
            "mosaic": 0.5,
            "hsv_s": 0.4,
            "hsv_v": 0.3,
        },
        "task": {
            "lr0": 0.1,
            "lrf": 0.02,
            "warmup_epochs": 0,
            "weight_decay": 0,
            "box": 0.1,
            "cls": 4.0,
            "translate": 0.1,
            "scale": 0.3,
            "mosaic": 0,
            "hsv_s": 0.4,
            "hsv_v": 0.3,
        },
    }


@pytest.mark.parametrize(("text", "rate"), [("1e-3", 0.001), ("5E-2", 0.05), (".01", 0.01), ("1", None)])
def test_a_rate_without_a_point_is_a_number_though_yaml_1_1_reads_it_as_text(
    text: str, rate: float | None
) -> None:
    values = yaml.safe_load(f"lr0: {text}")
    if rate is not None:
        assert parse_hyperparameters(values).lr0 == rate
    else:
        with pytest.raises(DataError, match="lr0: out of bounds"):
            parse_hyperparameters(values)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("lr0", -5, "0 to 1, without both"),
        ("lr0", 0, "0 to 1, without both"),
        ("momentum", 5, "0 to 0.9999"),
        ("mosaic", 5, "0 to 1"),
        ("anchor_t", 0, "more than 1"),
        ("box", -0.1, "0 or more"),
        ("perspective", 1, "0 to 0.01"),
    ],
)
def test_every_hyperparameter_has_bounds(name: str, value: float, allowed: str) -> None:
    with pytest.raises(DataError, match=f"{name}: out of bounds") as caught:
        parse_hyperparameters({name: value}, "h.yaml")
    assert caught.value.allowed == allowed


def test_the_presets_are_within_the_bounds_of_every_hyperparameter() -> None:
    assert HYP_BOUNDS.keys() == set(YolorHyperparameters._fields)
    for recipe in HYP_PRESETS.values():
        assert parse_hyperparameters(recipe._asdict()) == recipe


@pytest.mark.parametrize("value", [True, None, "nan", float("inf"), "1_0", [], 10**400, "ten"])
def test_what_is_no_number_is_told_as_such(value: object) -> None:
    with pytest.raises(DataError, match="lrf: not a number"):
        parse_hyperparameters({"lrf": value})


def test_a_hyp_file_changes_what_it_names_and_a_misspelt_name_is_an_error() -> None:
    assert parse_hyperparameters({"scale": 0.9, "mixup": 1}) == YolorHyperparameters(scale=0.9, mixup=1)
    with pytest.raises(
        DataError, match=r"h\.yaml: unknown hyperparameter\n  found:   scal\n  allowed: anchor_t"
    ):
        parse_hyperparameters({"scal": 0.9}, "h.yaml")
    with pytest.raises(DataError, match="scale: not a number\n  found:   'wide'"):
        parse_hyperparameters({"scale": "wide"})


@pytest.mark.parametrize("seed", range(8))
def test_four_images_meet_at_a_point_in_the_middle_half(seed: int) -> None:
    side, levels = 64, (10, 60, 180, 240)
    sizes = ((64, 64), (32, 48), (100, 200), (128, 50))
    sources = [plain(level, *size) for level, size in zip(levels, sizes, strict=True)]
    canvas = mosaic4(sources, (side, side), generator(seed)).image[..., 0]
    assert canvas.shape == (128, 128)
    rng = generator(seed)
    y, x = int(rng.uniform(32, 96)), int(rng.uniform(32, 96))
    expected = np.full((128, 128), 114)
    for place, (level, (height, width)) in enumerate(zip(levels, sizes, strict=True)):
        ratio = side / max(height, width)
        h, w = int(height * ratio), int(width * ratio)
        rows = slice(max(y - h, 0), y) if place < 2 else slice(y, y + h)
        columns = slice(max(x - w, 0), x) if place in (0, 2) else slice(x, x + w)
        expected[rows, columns] = level
    np.testing.assert_array_equal(canvas, expected)
    assert (
        canvas[y - 1, x - 1] == 10
        and canvas[y - 1, x] == 60
        and canvas[y, x - 1] == 180
        and canvas[y, x] == 240
    )


def test_the_point_where_four_images_meet_is_uniform_in_the_middle_half() -> None:
    sources = [plain(level, 40, 40) for level in (10, 60, 180, 240)]
    points = []
    for seed in range(400):
        canvas = mosaic4(sources, (40, 40), generator(seed)).image[..., 0]
        points.append((np.argmax((canvas == 240).any(axis=0)), np.argmax((canvas == 240).any(axis=1))))
    points = np.array(points)
    assert points.min() >= 20 and points.max() <= 59
    np.testing.assert_allclose(points.mean(axis=0), 39.5, atol=2.5)
    np.testing.assert_allclose(points.std(axis=0), 40 / math.sqrt(12), atol=1)


@pytest.mark.parametrize("make, tiles", [(mosaic4, 4), (mosaic9, 9)])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_of_a_mosaic_lie_where_their_pixels_lie(make, tiles: int, seed: int) -> None:
    for place in range(tiles):
        sources = [plain(0, 50, 80) for _ in range(tiles)]
        sources[place] = marked(black(100, 160), (40, 30, 90, 80))
        scene = make(sources, (80, 80), generator(seed))
        assert scene.image.shape == (160, 160, 3)
        left, top, right, bottom = scene.boxes_xyxy[0]
        if right > left and bottom > top:
            np.testing.assert_allclose(inked(scene.image), (left, top, right, bottom), atol=1)
        else:
            assert scene.image.max() < 128


def test_nine_equal_images_lie_clockwise_around_the_first_and_a_random_part_of_them_is_shown() -> None:
    sources = [plain(20 * place + 5, 30, 30) for place in range(9)]
    canvas = mosaic9(sources, (30, 30), generator(3)).image[..., 0]
    rng = generator(3)
    y, x = int(rng.uniform(0, 30)), int(rng.uniform(0, 30))
    order = np.array([[8, 1, 2], [7, 0, 3], [6, 5, 4]])
    expected = np.kron(20 * order + 5, np.ones((30, 30), int))[y : y + 60, x : x + 60]
    np.testing.assert_array_equal(canvas, expected)


def test_each_of_nine_images_is_placed_next_to_the_one_before() -> None:
    sizes = [(20, 30), (10, 12), (13, 30), (30, 9), (30, 11), (8, 30), (30, 30), (22, 14), (30, 17)]
    scenes = [to_scene(plain(0, *size)) for size in sizes]
    places = list(mosaic9_origins(scenes, (30, 30)))
    edges = [(x, y, x + w, y + h) for (x, y), (h, w) in zip(places, sizes, strict=True)]
    centre, top, top_right, right, low_right, low, low_left, left, top_left = edges
    assert centre == (30, 30, 60, 50)
    assert top[0] == centre[0] and top[3] == centre[1]  # above the first, flush left
    assert top_right[0] == top[2] and top_right[3] == centre[1]  # right of the top
    assert right[:2] == (centre[2], centre[1])
    assert low_right[:2] == (centre[2], right[3])
    assert low[2] == centre[2] and low[1] == centre[3]
    assert low_left[2] == low[0] and low_left[1] == centre[3]
    assert left[2] == centre[0] and left[3] == centre[3]
    assert top_left[2] == centre[0] and top_left[3] == left[1]


@pytest.mark.parametrize("seed", range(20))
def test_the_middle_of_the_canvas_lands_within_the_range_of_translate(seed: int) -> None:
    recipe = WILD._replace(translate=0.3, perspective=0)
    matrix, scale = affine_matrix((200, 300), (90, 120), recipe, rng=generator(seed))
    x, y, depth = matrix @ (150, 100, 1)
    assert depth == 1 and 0.2 * 120 <= x <= 0.8 * 120 and 0.2 * 90 <= y <= 0.8 * 90
    assert 0.2 <= scale <= 1.8


def test_rotation_scale_and_shear_are_uniform_in_their_ranges() -> None:
    turned = YolorHyperparameters(degrees=20, scale=0.4)
    drawn = [affine_matrix((100, 100), (50, 50), turned, rng=generator(seed)) for seed in range(600)]
    angles = np.array([math.degrees(math.atan2(matrix[0, 1], matrix[0, 0])) for matrix, _ in drawn])
    scales = np.array([math.hypot(matrix[0, 0], matrix[0, 1]) for matrix, _ in drawn])
    np.testing.assert_allclose(scales, [scale for _, scale in drawn])
    for values, middle, reach in ((angles, 0, 20), (scales, 1, 0.4)):
        assert np.abs(values - middle).max() <= reach
        assert abs(values.mean() - middle) < reach / 8
        assert abs(values.std() / (reach / math.sqrt(3)) - 1) < 0.1
    sheared = [
        affine_matrix((9, 9), (9, 9), STILL._replace(shear=10), rng=generator(seed))[0] for seed in range(300)
    ]
    slopes = np.array([(matrix[0, 1], matrix[1, 0]) for matrix in sheared])
    assert np.abs(np.degrees(np.arctan(slopes))).max() <= 10 and slopes.std() > 0.08


def test_rotation_is_counter_clockwise_as_in_opencvs_matrix() -> None:
    matrix, scale = affine_matrix((0, 0), (0, 0), STILL._replace(degrees=25, scale=0.3), rng=generator(4))
    angle = generator(4).uniform(-25, 25, 3)[2]  # after the two numbers of the perspective
    np.testing.assert_allclose(matrix[:2], cv2.getRotationMatrix2D((0, 0), angle, scale), atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_affine_map_moves_boxes_with_their_pixels(seed: int) -> None:
    scene = to_scene(marked(black(160, 160), (60, 50, 110, 100)))
    recipe = STILL._replace(translate=0.05, scale=0.3, perspective=0.0005)
    moved = random_affine(scene, recipe, size=(160, 160), rng=generator(seed))
    np.testing.assert_allclose(inked(moved.image), moved.boxes_xyxy[0], atol=2)


def test_boxes_are_kept_above_two_pixels_a_tenth_of_the_area_and_below_twenty_to_one() -> None:
    def kept(width: float, height: float, area: float) -> bool:
        before = np.array([[0, 0, area, 1.0]])
        return bool(box_candidates(before, np.array([[7, 9, 7 + width, 9 + height]]))[0])

    assert kept(2.1, 2.1, 4) and not kept(2, 9, 18) and not kept(9, 2, 18)
    assert kept(5, 5, 249) and not kept(5, 5, 250)
    assert kept(3, 59, 177) and not kept(3, 60, 180) and not kept(60, 3, 180)
    assert not kept(0, 0, 0)


def test_the_area_before_counts_in_the_size_after_scaling() -> None:
    scene = to_scene(marked(black(100, 100), (30, 30, 70, 70)))
    recipe = STILL._replace(scale=0.8)
    scales = [affine_matrix((100, 100), (100, 100), recipe, rng=generator(seed))[1] for seed in range(20)]
    assert min(scales) ** 2 < 0.1  # a tenth of the area, if scaling counted
    for seed in range(20):  # wholly visible at any scale
        assert len(random_affine(scene, recipe, size=(100, 100), rng=generator(seed)).classes) == 1


def test_a_letterboxed_image_is_that_of_detection() -> None:
    for height, width in ((40, 64), (64, 33), (25, 64)):
        source = marked(
            noise_image(1).image[:1, :1].repeat(height, 0).repeat(width, 1), (3, 4, 20, 15), ink=9
        )
        scene = letterbox_scene(source, (64, 64))
        prepared = yolor_letterbox(source.image, (64, 64))
        np.testing.assert_allclose(scene.image / 255, prepared.pixels.transpose(1, 2, 0), atol=1e-6)
        back = prepared.placement.to_image(source.boxes_xywh[0] * np.array([width, height] * 2))
        assert back.shape == (4,)
        np.testing.assert_allclose(
            scene.boxes_xyxy[0] - np.tile(prepared.placement.padding_xy, 2), (3, 4, 20, 15), atol=1e-4
        )


def test_an_image_is_loaded_so_that_its_long_side_fits_rounded_down() -> None:
    for height, width, side in ((480, 640, 416), (333, 500, 640), (49, 49, 640), (1000, 3, 64)):
        ratio = side / max(height, width)
        assert fit_scene(plain(0, height, width), (side, side)).size == (
            int(height * ratio),
            max(1, int(width * ratio)),
        )


def test_without_mosaic_and_ranges_an_item_is_the_letterboxed_image() -> None:
    source = marked(black(50, 100), (10, 10, 60, 40))
    made = YolorTransform(STILL._replace(mosaic=0), (100, 100), 1)(0, generator(0), lambda _: source)
    np.testing.assert_array_equal(made.image, letterbox_scene(source, (100, 100)).image)
    np.testing.assert_allclose(made.boxes_xywh, [[0.35, 0.5, 0.5, 0.3]], atol=1e-6)


def test_flips_have_their_probabilities_and_move_boxes() -> None:
    scene = to_scene(marked(black(30, 40), (2, 3, 12, 9)))
    recipe = YolorHyperparameters(flipud=0.25, fliplr=0.5)
    found = [inked(random_flip(scene, recipe, generator(seed)).image) for seed in range(800)]
    assert {box[0] for box in found} == {2, 28} and {box[1] for box in found} == {3, 21}
    assert abs(np.mean([box[0] == 28 for box in found]) - 0.5) < 0.05
    assert abs(np.mean([box[1] == 21 for box in found]) - 0.25) < 0.05
    both = random_flip(scene, YolorHyperparameters(flipud=1, fliplr=1), generator(0))
    np.testing.assert_allclose(both.boxes_xyxy, [[28, 21, 38, 27]], atol=1e-5)


def test_values_are_changed_evenly_within_their_range() -> None:
    scene = to_scene(plain(100, 4, 4))
    levels = [
        augment_hsv(scene, YolorHyperparameters(hsv_v=0.4), generator(seed)).image[0, 0, 0]
        for seed in range(1000)
    ]
    assert min(levels) >= 60 and max(levels) <= 140
    assert abs(np.mean(levels) - 99.5) < 2 and abs(np.std(levels) - 80 / math.sqrt(12)) < 1


def test_mixup_has_the_boxes_of_both_and_weights_of_beta_eight_eight() -> None:
    first, second = (to_scene(noise_image(seed)) for seed in (1, 2))
    second = second._replace(image=np.resize(second.image, first.image.shape))
    both = mixup_scenes(first, second, ratio=0.4)
    assert both.classes.tolist() == [*first.classes, *second.classes]
    weights = []
    training = YolorTransform(STILL._replace(mixup=1), (20, 20), 5)
    for seed in range(500):
        levels = iter([0, 0, 0, 0, 250, 250, 250, 250])
        made = training(0, generator(seed), lambda _, levels=levels: plain(next(levels), 20, 20))
        assert np.ptp(made.image) == 0  # the middle of a canvas is covered by images wherever they meet
        weights.append(1 - made.image[0, 0, 0] / 250)
    assert abs(np.mean(weights) - 0.5) < 0.02
    assert abs(np.std(weights) - math.sqrt(1 / (4 * 17))) < 0.01


@pytest.mark.parametrize(
    ("tiles", "mosaic", "mixup", "fetches"), [(4, 1, 0, 4), (9, 1, 0, 9), (4, 1, 1, 8), (4, 0, 1, 1)]
)
def test_an_item_fetches_as_many_images_as_its_settings_require(
    tiles: int, mosaic: int, mixup: int, fetches: int
) -> None:
    asked: list[int] = []
    training = YolorTransform(WILD._replace(mosaic=mosaic, mixup=mixup), (32, 32), 50, tiles=tiles)
    training(7, generator(0), lambda index: (asked.append(index), noise_image(index))[1])
    assert len(asked) == fetches and asked[0] == 7 and all(0 <= index < 50 for index in asked)
    assert mixup == 0 or mosaic == 0 or len(set(asked)) > 4


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 4, 12]),
    st.sampled_from([4, 9]),
    st.sampled_from([(64, 64), (48, 80)]),
)
def test_every_item_is_whole(seed: int, channels: int, tiles: int, size: tuple[int, int]) -> None:
    made = YolorTransform(WILD, (32, 32), 20, tiles=tiles).replace_size(size)(
        seed % 20, generator(seed), fetching(channels)
    )
    assert made.image.shape == (*size, channels) and made.image.dtype == np.uint8
    assert made.image.flags.c_contiguous
    assert made.boxes_xywh.dtype == np.float32 and made.boxes_xywh.shape == (len(made.classes), 4)
    assert (corners(made) >= -1e-4).all() and (corners(made) <= np.array([*size[::-1]] * 2) + 1e-4).all()
    assert (made.boxes_xywh[:, 2:] * np.array(size[::-1]) > 1.99).all()


def test_equal_generators_give_equal_items() -> None:
    training = YolorTransform(WILD, (64, 64), 20)
    items = [training(3, generator(seed), fetching()) for seed in (5, 5, 6)]
    assert equal(items[0], items[1]) and not equal(items[0], items[2])


def test_images_without_boxes_are_kept() -> None:
    made = YolorTransform(WILD, (64, 64), 3)(0, generator(1), lambda index: plain(40 * index, 30, 50))
    assert made.boxes_xywh.shape == (0, 4) and made.classes.shape == (0,)
