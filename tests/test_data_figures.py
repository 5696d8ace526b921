"""Figures of data sets from tables that are made here: large ones, and names and objects of odd kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from yolor_cfg.data.statistics import measure, oddities
from yolor_cfg.data.statistics.oddities import find_oddities
from yolor_cfg.data.statistics.table import LabelTable

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
