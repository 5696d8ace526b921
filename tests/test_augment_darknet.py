"""C Darknet's augmentation: crops, mosaics, mixup, blur, noise and random sizes against explicit formulas."""

import math

import cv2
import numpy as np
import pytest
from augmented import black, corners, equal, fetching, inked, marked, noise_image, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from yolor_cfg.data.augment.color import ColorJitter, blur_background
from yolor_cfg.data.augment.darknet import (
    DarknetAugmentation,
    DarknetTransform,
    blur_tile,
    draw_params,
    finish_tile,
    random_factor,
    read_augmentation,
    read_random_sizes,
)
from yolor_cfg.data.augment.darknet_boxes import (
    BoxLabels,
    CropView,
    crop_labels,
    least_side,
    mosaic_labels,
    shuffle_labels,
)
from yolor_cfg.data.augment.darknet_crop import (
    Chances,
    CropRules,
    Margins,
    Quarter,
    compute_margins,
    find_quarter,
    mosaic_padding,
)
from yolor_cfg.data.augment.sizes import RandomSizes
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import parse

NONE, ALL, HALF = 0.0, 1.0, 0.5
STILL = DarknetAugmentation(CropRules(0, 1), flip=False)
WILD = DarknetAugmentation(CropRules(0.3, 1.5), ColorJitter(0.1, 1.5, 1.5), blur=9, gaussian_noise=20)
CHANCE = st.floats(0, 1, width=32)
PLACES = (0, 1, 2, 3)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def graph_of(net: str = "", yolo: str = "") -> Graph:
    return build_graph(
        parse(
            f"""[net]\nwidth=64\nheight=32\nchannels=3\n{net}
[convolutional]\nfilters=18\nactivation=linear\n[yolo]\nmask=0\nnum=1\nanchors=9,9\nclasses=13\njitter=.9
[convolutional]\nfilters=18\nactivation=linear\n[yolo]\nmask=0\nnum=1\nanchors=9,9\nclasses=13\n{yolo}
""",
            "x.cfg",
        )
    )


def test_the_augmentation_is_read_from_net_and_from_the_last_head() -> None:
    net = "hue=.1\nsaturation=1.5\nexposure=0\nflip=0\nblur=5\ngaussian_noise=7\nletter_box=1\nmosaic_bound=1"
    assert read_augmentation(graph_of(net, "jitter=.3\nresize=1.5\nmax=90")) == DarknetAugmentation(
        CropRules(0.3, 1.5, True), ColorJitter(0.1, 1.5, 1.0), False, 5, 7, 0, True, 90
    )
    assert read_augmentation(graph_of()) == DarknetAugmentation()
    with pytest.raises(CfgError, match=r"resize: must be above 0\n  found:   0"):
        read_augmentation(graph_of("", "resize=0"))


@pytest.mark.parametrize(
    ("keys", "mixing"),
    [
        ("", 0),
        ("mixup=1", 1),
        ("mixup=3", 3),
        ("mosaic=1", 3),
        ("mixup=1\nmosaic=1", 3),
        ("cutmix=1", 0),
        ("mixup=1\ncutmix=1", 0),
        ("mixup=2", 0),
        ("mosaic=1\ncutmix=1", 3),
        ("mixup=4", 3),
    ],
)
def test_mosaic_overrides_mixup_and_cutmix_has_no_effect(keys: str, mixing: int) -> None:
    assert read_augmentation(graph_of(keys)).mixing == mixing


def test_jitter_moves_each_side_by_its_own_random_number() -> None:
    def cut(*sides: float) -> Margins:
        return compute_margins((50, 100), (64, 64), CropRules(0.2), chances=Chances(sides, (HALF, HALF)))

    assert cut(NONE, ALL, HALF, ALL) == Margins(left=-20, right=20, top=0, bottom=10)
    assert cut(0.26, 0.74, NONE, NONE) == Margins(left=-9, right=9, top=-10, bottom=-10)  # 9.6 towards 0


@pytest.mark.parametrize(
    ("resize", "farthest", "closest"),
    [
        (1.0, 0, 0),
        (1.5, -25, 16),  # 100 (1 - 1.5) / 2 and 100 (1 - 1 / 1.5) / 2
        (0.5, -50, 0),  # only smaller: 100 (1 - 2) / 2
    ],
)
def test_resize_shares_one_random_number_for_left_and_top_one_for_right_and_bottom(
    resize: float, farthest: int, closest: int
) -> None:
    def cut(first: float, last: float) -> Margins:
        return compute_margins(
            (200, 100), (64, 64), CropRules(0, resize), chances=Chances((HALF,) * 4, (first, last))
        )

    twice = {0: 0, -25: -50, 16: 33, -50: -100}
    assert cut(NONE, ALL) == Margins(farthest, closest, twice[farthest], twice[closest])
    assert cut(ALL, NONE) == Margins(closest, farthest, twice[closest], twice[farthest])


@pytest.mark.parametrize(
    ("image", "size", "area"),
    [
        ((100, 200), (64, 64), (0, -50, 200, 150)),
        ((200, 100), (64, 64), (-50, 0, 150, 200)),
        ((100, 200), (32, 64), (0, 0, 200, 100)),
        ((100, 100), (32, 96), (-100, 0, 200, 100)),
    ],
)
def test_letter_box_adds_padding_until_the_aspect_is_that_of_the_input(image, size, area) -> None:
    rules = CropRules(0, 1, letter_box=True)
    assert compute_margins(image, size, rules, chances=Chances((HALF,) * 4, (HALF, HALF))).area(image) == area


def test_an_empty_crop_becomes_one_pixel() -> None:
    assert Margins(60, 70, 80, 40).area((100, 100)) == (60, 80, 61, 81)


@pytest.mark.parametrize("letter_box", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_boxes_of_a_crop_lie_where_their_pixels_lie(seed: int, letter_box: bool) -> None:
    source = marked(black(150, 220), (70, 40, 150, 110))
    recipe = DarknetAugmentation(CropRules(0.2, 1.4, letter_box))
    made = DarknetTransform(recipe, (128, 96), 1)(0, generator(seed), lambda _: source)
    np.testing.assert_allclose(corners(made)[0], inked(made.image), atol=1.2)


@given(st.integers(0, 10**6), st.tuples(*[st.integers(-40, 40)] * 4), st.booleans())
def test_cropped_boxes_are_the_formula_one_by_one(seed: int, cuts: tuple, flip: bool) -> None:
    source = noise_image(seed)
    size, image_size = (64, 96), (120, 160)
    left, top, right, bottom = area = Margins(*cuts).area(image_size)
    expected = []
    for (x, y, w, h), label in zip(source.boxes_xywh.tolist(), source.classes.tolist(), strict=True):
        x0, x1 = ((side * 160 - left) / (right - left) for side in (x - w / 2, x + w / 2))
        y0, y1 = ((side * 120 - top) / (bottom - top) for side in (y - h / 2, y + h / 2))
        x0, x1 = (1 - x1, 1 - x0) if flip else (x0, x1)
        x0, x1, y0, y1 = (min(max(side, 0), 1) for side in (x0, x1, y0, y1))
        if x1 - x0 >= 1 / 96 and y1 - y0 >= 1 / 64:
            expected.append(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, label))
    found = crop_labels(BoxLabels(source.boxes_xywh, source.classes), image_size, CropView(area, flip, size))
    assert found.boxes_xywh.dtype == np.float32
    np.testing.assert_allclose(found.boxes_xywh, np.reshape(expected, (-1, 5))[:, :4], atol=1e-5)
    assert found.classes.tolist() == [row[4] for row in expected]


def test_boxes_below_one_pixel_or_outside_the_image_are_dropped() -> None:
    boxes = np.array(
        [[0.5, 0.5, 0.0156, 0.1], [0.5, 0.5, 0.0157, 0.1], [1.2, 0.5, 0.3, 0.1], [0, 0, 0.2, 0.2]]
    )
    shown = CropView((-50, -50, 150, 150), False, (64, 128))  # half the size: 1 / 128 of the input is 1 / 64
    found = crop_labels(BoxLabels(boxes.astype(np.float32), np.arange(4)), (100, 100), shown)
    assert found.classes.tolist() == [1]


def test_no_more_than_max_boxes_are_taken_in_random_order() -> None:
    source = noise_image(0, boxes=30)._replace(classes=np.arange(30))
    orders = [shuffle_labels(source, 10, generator(seed)).classes for seed in range(40)]
    assert all(len(set(order.tolist())) == 10 for order in orders)
    assert set(np.concatenate(orders).tolist()) == set(range(30))
    labels = shuffle_labels(source, 99, generator(0))
    np.testing.assert_array_equal(labels.boxes_xywh, source.boxes_xywh[labels.classes])


@pytest.mark.parametrize("place", PLACES)
@given(st.integers(10, 30), st.integers(8, 24), st.tuples(*[st.integers(0, 60)] * 4))
def test_a_quarter_shows_the_pixels_that_darknets_copying_shows(place: int, x: int, y: int, spare) -> None:
    height, width = 32, 40
    part = find_quarter(place, (x, y), spare=spare, size=(height, width))
    shift_left, shift_top = min(x, spare[0]), min(y, spare[1])
    shift_right, shift_bottom = min(width - x, spare[2]), min(height - y, spare[3])
    (left, top, right, bottom), (from_x, from_y) = part
    for row in range(height):
        for column in (0, x - 1, x, width - 1):
            mine = (column < x) == (place in (0, 2)) and (row < y) == (place in (0, 1))
            assert mine == (left <= column < right and top <= row < bottom)
            wanted_x = width - x - shift_right + column if place in (0, 2) else shift_left + column - x
            wanted_y = height - y - shift_bottom + row if place in (0, 1) else shift_top + row - y
            if mine:
                assert (from_x + column - left, from_y + row - top) == (wanted_x, wanted_y)
                assert 0 <= wanted_x < width and 0 <= wanted_y < height


def whole(number: np.float32) -> int:
    return int(number)


def mosaic_box(box: tuple, shift: tuple, bounds: tuple | None, *, size: tuple[int, int]) -> tuple | None:
    """One box of a mosaic in steps, in 32 bits."""
    h, w = (np.float32(side) for side in size)
    x, y, bw, bh = (np.float32(number) for number in box)
    x, y = x + np.float32(shift[0]) / w, y + np.float32(shift[1]) / h
    sides = [
        whole((x - bw / 2) * w),
        whole((y - bh / 2) * h),
        whole((x + bw / 2) * w),
        whole((y + bh / 2) * h),
    ]
    if bounds:
        left, top = max(sides[0], bounds[0]), max(sides[1], bounds[1])
        right, bottom = min(sides[2], bounds[2]), min(sides[3], bounds[3])
        x, bw = np.float32((right + left) / 2) / w, np.float32(right - left) / w
        y, bh = np.float32((bottom + top) / 2) / h, np.float32(bottom - top) / h
    else:
        before, beyond = np.float32(min(sides[0], 0)) / w, np.float32(max(sides[2] - size[1], 0)) / w
        x, bw = x - (before + beyond) / 2, bw + before - beyond
        before, beyond = np.float32(min(sides[1], 0)) / h, np.float32(max(sides[3] - size[0], 0)) / h
        y, bh = y - (before + beyond) / 2, bh + before - beyond
        left, right = whole((x - bw / 2) * w), whole((x + bw / 2) * w)
        top, bottom = whole((y - bh / 2) * h), whole((y + bh / 2) * h)
    inside = left >= 0 and top >= 0 and right <= size[1] and bottom <= size[0]
    proper = all(0 < number < 1 for number in (x, y, bw, bh))
    return (x, y, bw, bh) if inside and proper and bw > 1 / w and bh > 1 / h else None


@pytest.mark.parametrize("bound", [False, True])
@given(st.integers(0, 10**6), st.sampled_from(PLACES), st.integers(8, 31), st.integers(6, 25))
def test_boxes_of_a_mosaic_are_the_formula_one_by_one(
    bound: bool, seed: int, place: int, x: int, y: int
) -> None:
    size = (32, 40)
    source = noise_image(seed, boxes=8)
    part = find_quarter(place, (x, y), spare=(3, 0, 5, 7), size=size)
    shift = tuple(np.subtract(part.target[:2], part.source).tolist())
    bounds = part.target if bound else None
    wanted = [mosaic_box(box, shift, bounds, size=size) for box in source.boxes_xywh.tolist()]
    found = mosaic_labels(BoxLabels(source.boxes_xywh, source.classes), part, size=size, bound=bound)
    kept = [box for box in wanted if box]
    np.testing.assert_allclose(found.boxes_xywh, np.reshape(kept, (-1, 4)), atol=1e-6)
    assert found.classes.tolist() == [label for label, box in zip(source.classes, wanted, strict=True) if box]


@pytest.mark.parametrize("seed", range(12))
def test_four_plain_images_fill_their_quarters_cut_between_a_fifth_and_four_fifths(seed: int) -> None:
    levels = iter([10, 60, 180, 240])
    training = DarknetTransform(STILL._replace(mixing=3), (50, 100), 9)
    made = training(0, generator(_mosaic_seed(seed)), lambda _: plain(next(levels), 30, 70)).image[..., 0]
    x, y = (np.argmax(made == 240) % 100, np.argmax((made == 240).any(axis=1)))
    assert 20 <= x <= 80 and 10 <= y <= 40
    assert (made[:y, :x] == 10).all() and (made[:y, x:] == 60).all()
    assert (made[y:, :x] == 180).all() and (made[y:, x:] == 240).all()


def _mosaic_seed(seed: int) -> int:
    """The `seed`-th of the seeds whose generator mixes its item, as half of them do."""
    return [number for number in range(200) if generator(number).integers(2)][seed]


def test_half_of_the_items_are_single_images_and_cuts_are_uniform() -> None:
    training = DarknetTransform(STILL._replace(mixing=3), (50, 100), 9)
    counts, cuts = [], []
    for seed in range(800):
        asked: list[int] = []
        levels = iter([0, 100, 100, 100])
        made = training(
            0, generator(seed), lambda i, a=asked, n=levels: (a.append(i), plain(next(n), 9, 9))[1]
        )
        counts.append(len(asked))
        if len(asked) == 4:
            cuts.append((made.image[0, :, 0] == 0).sum())
    assert set(counts) == {1, 4} and abs(np.mean(np.array(counts) == 4) - 0.5) < 0.05
    assert min(cuts) >= 20 and max(cuts) <= 80 and {20, 80} <= set(cuts)
    assert abs(np.std(cuts) / math.sqrt((61**2 - 1) / 12) - 1) < 0.1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", range(10))
def test_bound_boxes_of_a_mosaic_lie_where_their_pixels_lie(place: int, seed: int) -> None:
    recipe = DarknetAugmentation(CropRules(0.25, 1.3), mixing=3, mosaic_bound=True)
    sources = iter(
        [marked(black(80, 80), (20, 25, 60, 50)) if n == place else plain(0, 60, 90) for n in range(4)]
    )
    made = DarknetTransform(recipe, (100, 100), 5)(0, generator(_mosaic_seed(seed)), lambda _: next(sources))
    if len(made.classes):
        np.testing.assert_allclose(corners(made)[0], inked(made.image), atol=2)
    elif (made.image > 127).any():
        left, top, right, bottom = inked(made.image)
        assert min(right - left, bottom - top) <= 3


def test_for_half_of_a_mosaics_images_the_whole_cut_moves_to_the_sides_cut_least() -> None:
    cuts = Margins(left=10, right=-4, top=3, bottom=5)
    assert cuts.shift_for_mosaic(0, flip=False) == Margins(0, 6, 0, 8)
    assert cuts.shift_for_mosaic(1, flip=False) == Margins(6, 0, 0, 8)
    assert cuts.shift_for_mosaic(2, flip=False) == Margins(0, 6, 8, 0)
    assert cuts.shift_for_mosaic(3, flip=False) == Margins(6, 0, 8, 0)
    for place in PLACES:
        assert cuts.shift_for_mosaic(place, flip=True).flip() == cuts.shift_for_mosaic(place, flip=False)


def test_half_of_a_mosaics_images_are_gathered_so_that_a_quarter_is_padded_on_one_side() -> None:
    training = DarknetTransform(DarknetAugmentation(CropRules(0.3, 1)), (90, 160), 1)
    source = plain(9, 180, 320)
    for place, expected in ((None, (0.5, 0.5)), (0, (0.25, 0.25)), (1, (0.5, 0.25)), (2, (0.25, 0.5))):
        tiles = [training._make_tile(source, generator(seed), place=place) for seed in range(800)]
        padded = np.mean([(tile.padding[0] > 0, tile.padding[1] > 0) for tile in tiles], axis=0)
        np.testing.assert_allclose(padded, expected, atol=0.05)


def test_padding_counts_in_pixels_of_the_input_by_the_size_of_the_image() -> None:
    assert mosaic_padding(Margins(-10, 5, -7, -50), (100, 200), (64, 96)) == (
        4,
        4,
        0,
        32,
    )  # 10 96 / 200, 7 64 / 100


def test_mixup_is_half_of_each_image_with_the_boxes_of_both_up_to_max() -> None:
    sources = {0: marked(np.full((20, 20, 3), 100, np.uint8), (2, 2, 8, 8), ink=100)}
    other = marked(np.full((20, 20, 3), 201, np.uint8), (5, 5, 9, 9), (3, 3, 7, 9), ink=201)
    for most, count in ((200, 3), (2, 2), (1, 1)):
        training = DarknetTransform(STILL._replace(mixing=1, most=most), (20, 20), 1)
        fetched = iter([sources[0], other])
        made = training(0, generator(_mosaic_seed(0)), lambda _, them=fetched: next(them))
        assert (made.image == 150).all()  # 150.5 to the even neighbour
        assert len(made.classes) == count
        np.testing.assert_allclose(made.boxes_xywh[0], (0.25, 0.25, 0.3, 0.3), atol=1e-6)


def test_colour_factors_are_as_often_below_one_as_above() -> None:
    drawn = np.array([random_factor(1.5, generator(seed)) for seed in range(2000)])
    above = np.where(drawn < 1, 1 / drawn, drawn)
    assert abs((drawn > 1).mean() - 0.5) < 0.04
    assert above.max() <= 1.5 and abs(above.mean() - 1.25) < 0.01
    assert abs(above.std() - 0.5 / math.sqrt(12)) < 0.005


def test_flips_noise_hue_and_blur_are_drawn_evenly() -> None:
    drawn = [draw_params(WILD, generator(seed)) for seed in range(3000)]
    assert abs(np.mean([one.flip for one in drawn]) - 0.5) < 0.03
    assert {one.noise for one in drawn} == {0, 20} and abs(np.mean([one.noise for one in drawn]) - 10) < 0.6
    blurs = np.array([one.blur for one in drawn])
    assert set(blurs.tolist()) == {0, 1, 9} and all(
        abs((blurs == blur).mean() - 1 / 3) < 0.03 for blur in (0, 1, 9)
    )
    hues = np.array([one.color.hue for one in drawn])
    assert (
        np.abs(hues).max() <= 0.1
        and abs(hues.mean()) < 0.005
        and abs(hues.std() - 0.2 / math.sqrt(12)) < 0.003
    )
    assert not any(draw_params(STILL, generator(seed)).flip for seed in range(20))


@pytest.mark.parametrize(("side", "blur"), [(50, 6), (48, 6), (47, 5), (100, 9), (15, 1), (7, 0), (None, 0)])
def test_the_blur_kernel_is_at_most_an_eighth_of_the_shortest_side(side: int | None, blur: int) -> None:
    boxes = [(0, 0, side, 120)] if side else []
    source = marked(black(128, 128), *boxes)
    training = DarknetTransform(STILL._replace(blur=9), (128, 128), 1)
    blurred = [seed for seed in range(30) if draw_params(training.augmentation, generator(seed)).blur == 9]
    assert training._make_tile(source, generator(blurred[0])).params.blur == blur
    labels = BoxLabels(source.boxes_xywh, source.classes)
    assert least_side(labels, (128, 128)) == (side or 0)


def test_kernels_are_odd_and_boxes_stay_sharp_when_the_blur_is_behind_them() -> None:
    image = noise_image(3).image[:20, :19].repeat(3, 0)
    labels = BoxLabels(np.array([[0.5, 0.5, 0.4, 0.3]], np.float32), np.zeros(1, np.int64))
    for blur, kernel in ((6, 7), (7, 7), (8, 9)):
        np.testing.assert_array_equal(
            blur_tile(image, labels, blur), cv2.GaussianBlur(image, (kernel,) * 2, 0)
        )
    height, width = image.shape[:2]
    left, top = int(0.3 * width), int(0.35 * height)
    box = np.array([[left, top, left + int(0.4 * width), top + int(0.3 * height)]])
    np.testing.assert_array_equal(blur_tile(image, labels, 1), blur_background(image, box))


def test_padding_is_known_on_the_side_where_it_is_seen() -> None:
    source = marked(np.random.default_rng(0).integers(0, 2, (80, 90, 3), dtype=np.uint8) * 255)
    training = DarknetTransform(DarknetAugmentation(CropRules(0.3, 1)), (64, 64), 1)
    flips = set()
    for seed in range(30):
        tile = training._make_tile(source, generator(seed))
        edges = tile.image[:, 0], tile.image[0], tile.image[:, -1], tile.image[-1]
        plain_edges = [bool((edge == edge[len(edge) // 2]).all()) for edge in edges]
        if all(count != 1 for count in tile.padding):  # a pixel or less may be interpolated
            assert plain_edges == [count > 0 for count in tile.padding]
        flips.add(tile.params.flip)
    assert flips == {True, False}


def test_a_box_as_wide_as_the_mosaic_is_dropped() -> None:
    boxes = np.array([[0.5, 0.5, 1, 0.4], [0.5, 0.5, 0.9, 0.4]], np.float32)
    part = Quarter((0, 0, 100, 100), (0, 0))
    for bound in (False, True):
        assert mosaic_labels(
            BoxLabels(boxes, np.arange(2)), part, size=(100, 100), bound=bound
        ).classes.tolist() == [1]


def test_a_window_of_a_finished_tile_is_what_finishing_the_window_gives() -> None:
    training = DarknetTransform(WILD._replace(gaussian_noise=0), (64, 64), 1)
    window = slice(10, 50), slice(3, 20)
    for seed in range(12):
        tile = training._make_tile(noise_image(seed), generator(seed))
        found, wanted = finish_tile(tile, generator(0), window), finish_tile(tile, generator(0))[window]
        # OpenCV rounds the last colours of a row otherwise than those it takes eight at a time.
        assert np.abs(found.astype(int) - wanted).max() <= 1


@settings(max_examples=80)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 4, 12]), st.sampled_from([0, 1, 3]), st.booleans())
def test_every_item_is_whole(seed: int, channels: int, mixing: int, letter_box: bool) -> None:
    recipe = WILD._replace(mixing=mixing, crop=CropRules(0.4, 1.6, letter_box), mosaic_bound=seed % 2 == 0)
    made = DarknetTransform(recipe, (32, 32), 20).replace_size((48, 64))(
        seed % 20, generator(seed), fetching(channels)
    )
    assert made.image.shape == (48, 64, channels) and made.image.dtype == np.uint8
    assert made.boxes_xywh.dtype == np.float32 and made.boxes_xywh.shape == (len(made.classes), 4)
    assert ((made.boxes_xywh[:, :2] > 0) & (made.boxes_xywh[:, :2] < 1)).all()
    beyond = 1.001 if mixing == 3 else 0.001  # whole pixels, cut towards 0
    assert (corners(made) > -beyond).all() and (corners(made) < np.array([64, 48, 64, 48]) + beyond).all()
    assert (made.boxes_xywh[:, 2:] * (64, 48) > 0.999).all()


def test_equal_generators_give_equal_items() -> None:
    training = DarknetTransform(WILD._replace(mixing=3), (64, 64), 20)
    items = [training(3, generator(seed), fetching()) for seed in (5, 5, 6)]
    assert equal(items[0], items[1]) and not equal(items[0], items[2])


def test_images_without_boxes_are_kept() -> None:
    for mixing in (0, 1, 3):
        training = DarknetTransform(WILD._replace(mixing=mixing), (64, 64), 3)
        made = training(0, generator(_mosaic_seed(0)), lambda index: plain(40 * index, 30, 50))
        assert made.boxes_xywh.shape == (0, 4) and made.classes.shape == (0,)


def test_random_sizes_change_every_ten_updates_and_start_with_the_largest() -> None:
    sizes = RandomSizes((416, 416), batches=5000, subdivisions=4, seed=1)
    drawn = [sizes.input_size(number) for number in range(0, 2000)]
    assert set(drawn[:40]) == {(608, 608)}  # round(1.4 * 416 / 32 + 1) * 32
    spells = [drawn[start : start + 40] for start in range(0, 2000, 40)]
    assert all(len(set(spell)) == 1 for spell in spells) and len({spell[0] for spell in spells}) > 5
    assert {sizes.input_size(number) for number in range(4 * 4910, 4 * 5000)} == {(608, 608)}
    assert sizes.input_size(1234) == RandomSizes((416, 416), batches=5000, subdivisions=4, seed=1).input_size(
        1234
    )


def test_random_sizes_are_those_of_the_formula() -> None:
    sizes = RandomSizes((320, 416), step=32)
    found = {sizes.draw_size(generator(seed), batch=10) for seed in range(3000)}
    wanted = set()
    for gain in [*np.linspace(1, 1.4, 20001), *(1 / np.linspace(1, 1.4, 20001))]:
        height, width = (math.floor(gain * side / 32 + 1.5) * 32 for side in (320, 416))
        wanted.add((320, 416) if gain < 1 and (height > 320 or width > 416) else (height, width))
    assert found <= wanted and len(found) >= len(wanted) - 3
    assert min(width for _, width in found) == 320 and max(width for _, width in found) == 608


def test_random_is_the_factor_and_zero_keeps_the_size() -> None:
    assert read_random_sizes(graph_of()) is None
    sizes = read_random_sizes(graph_of("max_batches=700\nresize_step=16", "random=1"), subdivisions=2, seed=5)
    assert sizes == RandomSizes((32, 64), 1.4, 16, 700, 2, 5)
    double = read_random_sizes(graph_of("", "random=2"))
    assert double is not None and double.input_size(0) == (96, 160)  # 2 32 / 32 + 1, 2 64 / 32 + 1
