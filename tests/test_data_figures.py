"""Figures of data sets from tables that are made here: large ones, and names and objects of odd kinds."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_detector as tiny

from yolor_cfg.data.statistics import measure, oddities
from yolor_cfg.data.statistics.channels import _declared_channels, read_channel_count
from yolor_cfg.data.statistics.oddities import find_oddities
from yolor_cfg.data.statistics.summary import DataSummary
from yolor_cfg.data.statistics.table import LabelTable, join_tables
from yolor_cfg.images.draw import FONT, class_color
from yolor_cfg.report.dataset.page import draw_page
from yolor_cfg.report.dataset.sheet import _fit_text
from yolor_cfg.report.dataset.tiles import WIDTH, crop_tile, draw_tile

SIDE = 640


def make_table(images: int, each: int, classes: int, *, seed: int = 0) -> LabelTable:
    """So many images with so many boxes each, at random places, of random classes."""
    rng = np.random.default_rng(seed)
    count = images * each
    start, sides = rng.uniform(0, 500, (count, 2)), rng.uniform(5, 100, (count, 2))
    nothing = np.zeros(count, bool)
    return LabelTable(
        tuple(f"class {number}" for number in range(classes)),
        [f"{number}.jpg" for number in range(images)],
        np.full((images, 2), SIDE),
        np.repeat(np.arange(images), each),
        rng.integers(0, classes, count),
        np.concatenate([start, start + sides], axis=1),
        sides.prod(axis=1),
        nothing,
        nothing,
        np.zeros(count, np.int64),
    )


class Counted:
    """A function, and how many numbers it was given in all."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.numbers = function, 0

    def __call__(self, first: Any, *more: Any, **options: Any) -> Any:
        self.numbers += np.size(first)
        return self.function(first, *more, **options)


def test_pairs_of_an_image_are_looked_for_among_its_boxes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all boxes of the data set have is not computed once for each image."""
    asked: list[int] = []
    sides: Any = vars(LabelTable)["sides"]
    monkeypatch.setattr(LabelTable, "sides", property(lambda table: asked.append(1) or sides.fget(table)))
    for images in (50, 200):
        asked.clear()
        find_oddities(make_table(images, 6, 3))
        assert len(asked) <= 2, images


def test_pairs_are_those_of_every_box_with_every_other() -> None:
    table = make_table(30, 40, 2, seed=3)
    near = table.corners[::7] + np.random.default_rng(1).uniform(-1.5, 1.5, table.corners[::7].shape)
    corners = table.corners.copy()
    corners[1::7] = near[: len(corners[1::7])]
    table = table._replace(corners=corners)
    wanted = set()
    for one in range(len(corners)):
        for other in range(one + 1, len(corners)):
            if table.owners[one] != table.owners[other]:
                break
            ends = np.minimum(corners[one, 2:], corners[other, 2:])
            common = (ends - np.maximum(corners[one, :2], corners[other, :2])).clip(0).prod()
            areas = [(corners[row, 2:] - corners[row, :2]).prod() for row in (one, other)]
            if common / (sum(areas) - common) >= oddities.SAME:
                same = table.classes[one] == table.classes[other]
                wanted.add(("duplicate" if same else "two classes", other, one))
    found = {tuple(one) for one in find_oddities(table) if one.other >= 0}
    assert found == wanted and {kind for kind, *_ in wanted} == {"duplicate", "two classes"}


def test_boxes_are_gone_through_once_for_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten times as many classes no more boxes are told small or at the border."""
    numbers = []
    for classes in (10, 100):
        counted = Counted(measure.size_kinds)
        monkeypatch.setattr(measure, "size_kinds", counted)
        table = make_table(100, 20, classes)
        figures = measure.measure_data(table)
        monkeypatch.setattr(measure, "size_kinds", counted.function)
        numbers.append(counted.numbers)
        assert sum(one.boxes for one in figures.classes) == len(table.classes)
    assert numbers[0] == numbers[1] == 2 * 2000


def test_the_figures_of_each_class_are_those_of_its_boxes_alone() -> None:
    table = make_table(40, 15, 7)
    crowd, difficult = np.zeros(600, bool), np.zeros(600, bool)
    crowd[::5], difficult[::10] = True, True
    table = table._replace(crowd=crowd, difficult=difficult)
    figures = measure.measure_data(table)
    for number, one in enumerate(figures.classes):
        alone = measure.measure_data(table.select_classes([number]))
        assert alone.classes[number] == one
        assert (one.boxes, one.crowds, one.difficult) == (alone.boxes, alone.crowds, alone.difficult)
        own = (table.classes == number) & ~crowd
        width, height = table.sides[own].T
        assert one.aspect == pytest.approx(np.quantile(width / height, (0.05, 0.5, 0.95)))
        assert one.side == pytest.approx(np.median(np.sqrt(table.areas[own])))
        assert (one.small, one.medium, one.large) == alone.sizes and one.truncated == alone.truncated
        assert one.images == len(set(table.owners[own])) and one.per_image == one.boxes / one.images


def summarize(table: LabelTable, splits: dict[str, LabelTable]) -> DataSummary:
    parts = {name: measure.measure_data(part) for name, part in splits.items()}
    return DataSummary("mine", "coco", table, measure.measure_data(table), parts, {3: 1}, [])


def test_a_class_with_difficult_objects_alone_is_there() -> None:
    """They are marked as crowds too."""
    table = make_table(4, 5, 3)
    only = table.classes == 1
    table = table._replace(crowd=only, difficult=only, classes=np.where(table.classes == 2, 0, table.classes))
    figures = measure.measure_data(table)
    assert figures.classes[1].difficult == only.sum() > 0 == figures.classes[1].boxes
    assert figures.absent == ["class 2"]
    page = draw_page(summarize(table, {"train": table}))
    assert "Without a box: class 2." in page and "<td>class 1</td><td>0</td><td>0</td>" in page


def test_two_classes_of_one_name_have_their_own_counts_in_each_split() -> None:
    train, val = make_table(4, 5, 2), make_table(3, 5, 2, seed=1)
    train, val = (part._replace(names=("dog", "dog")) for part in (train, val))
    whole = join_tables([train, val._replace(paths=["x.jpg", "y.jpg", "z.jpg"])])
    page = draw_page(summarize(whole, {"train": train, "val": val}))
    rows = re.findall(r"<tr>(<td>dog.*?)</tr>", page)
    wanted = {
        tuple(int((part.classes == number).sum()) for part in (whole, train, val)) for number in range(2)
    }
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    found = {(int(one[2]), int(one[-2].split()[0]), int(one[-1].split()[0])) for one in cells}
    assert found == wanted and len(found) == 2


def test_bins_and_the_grid_of_centres_are_those_of_counting_one_by_one() -> None:
    table = make_table(20, 30, 2)
    figures = measure.measure_data(table)
    grid, bins = np.zeros((measure.GRID, measure.GRID), int), [0] * 20
    for (left, top, right, bottom), area in zip(table.corners.tolist(), table.areas.tolist(), strict=True):
        row, column = (
            int((top + bottom) / 2 / SIDE * measure.GRID),
            int((left + right) / 2 / SIDE * measure.GRID),
        )
        grid[row, column] += 1
        bins[max(number for number in range(20) if 2 ** (number / 2) <= area**0.5)] += 1
    assert (figures.centres == grid).all()
    assert figures.side_bins == bins[: len(figures.side_bins)] and sum(figures.side_bins) == 600


def place_boxes(corners: list[tuple[float, float, float, float]], paths: list[str], each: int) -> LabelTable:
    """A table of these boxes, so many an image, all of one class."""
    table = make_table(len(paths), each, 1)
    placed = np.array(corners, float)
    return table._replace(paths=paths, corners=placed, areas=(placed[:, 2:] - placed[:, :2]).prod(axis=1))


def test_a_band_across_the_image_covers_not_all_of_it() -> None:
    table = place_boxes([(0, 100, SIDE, 200), (0, 0, SIDE, SIDE), (200, 0, 300, SIDE)], ["a.jpg"], 3)
    assert [(one.kind, one.row) for one in find_oddities(table)] == [("whole", 1)]


def test_in_a_crowded_image_neighbours_from_left_to_right_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(oddities, "CROWDED", 3)
    boxes = [(50 * number, 10, 50 * number + 40, 60) for number in (3, 0, 5, 1)]
    table = place_boxes([*boxes, (150.5, 10, 190.5, 60)], ["a.jpg"], 5)
    assert [tuple(one) for one in find_oddities(table)] == [("duplicate", 4, 0)]


def test_an_image_of_two_splits_counts_once_with_its_own_boxes() -> None:
    boxes = [(float(number), 0.0, number + 10.0, 9.0) for number in range(6)]
    one = place_boxes(boxes, ["a.jpg", "b.jpg", "c.jpg"], 2)
    other = place_boxes([(x + 100, *rest) for x, *rest in boxes], ["b.jpg", "d.jpg", "a.jpg"], 2)
    whole = join_tables([one, other])
    assert whole.paths == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"] and len(whole.sizes) == 4
    lefts = [
        (whole.paths[owner], left) for owner, left in zip(whole.owners, whole.corners[:, 0], strict=True)
    ]
    firsts = [(path, 2.0 * n + k) for n, path in enumerate(["a.jpg", "b.jpg", "c.jpg"]) for k in (0, 1)]
    assert lefts == [*firsts, ("d.jpg", 102.0), ("d.jpg", 103.0)]


def test_a_crop_shows_its_object_where_it_lies_in_the_window(tmp_path: Path) -> None:
    """A white image; the frame is drawn around the black object, and the window ends with the image."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[560:620, 500:600] = 0
    cv2.imwrite(str(tmp_path / "a.png"), image)
    table = place_boxes([(500, 560, 600, 620)], [str(tmp_path / "a.png")], 1)
    crop = crop_tile(table, 0, "a")
    assert crop.window == (475, 535, 625, SIDE)
    tile = draw_tile(crop)
    gain = min(180 / 105, 240 / 150)
    top, left = (180 - round(105 * gain)) // 2, (240 - round(150 * gain)) // 2
    frame = (tile == class_color(0)).all(axis=2)
    assert abs(np.flatnonzero(frame.any(axis=0))[0] - (left + 25 * gain)) <= 1
    assert abs(np.flatnonzero(frame.any(axis=1))[-1] - (top + 85 * gain)) <= 2
    assert abs(np.flatnonzero(frame.any(axis=0))[-1] - (left + 125 * gain)) <= 2


@pytest.mark.parametrize("text", ["short", "a" * 60, "../" * 30 + "x.jpg"])
def test_a_caption_that_is_too_long_keeps_its_end(text: str) -> None:
    shown = _fit_text(text)
    assert cv2.getTextSize(shown, FONT, 0.4, 1)[0][0] <= WIDTH
    assert shown == text or (shown.startswith("..") and text.endswith(shown.lstrip(".")) and len(shown) > 20)


def test_channels_of_a_jpeg_stand_behind_comments_and_filling(tmp_path: Path) -> None:
    grey, colour = (cv2.imencode(".jpg", tiny.photo(20, 30, channels=n))[1].tobytes() for n in (1, 3))
    comment = b"\xff\xfe\x00\x06\xff\xc0\x00\x11"  # its text looks like a frame header
    for count, data in ((1, grey), (3, colour)):
        path = tmp_path / f"{count}.jpg"
        path.write_bytes(data[:2] + comment + b"\xff\xff" + data[2:])
        assert _declared_channels(path.read_bytes()) == read_channel_count(str(path)) == count
