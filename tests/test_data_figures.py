"""Figures of data sets from tables that are made here: large ones, and names and objects of odd kinds."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from yolor_cfg.data.statistics import measure, oddities
from yolor_cfg.data.statistics.oddities import find_oddities
from yolor_cfg.data.statistics.summary import DataSummary
from yolor_cfg.data.statistics.table import LabelTable, join_tables
from yolor_cfg.report.dataset.page import draw_page

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
