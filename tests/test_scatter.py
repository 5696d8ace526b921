"""Charts of named points: scales, and names that cover neither marks nor each other."""

import math
from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from yolor_cfg.report.scatter.draw import draw_scene
from yolor_cfg.report.scatter.labels import CROSSING, Placed, Taken, _cost, around, place_labels
from yolor_cfg.report.scatter.scales import fit_scale
from yolor_cfg.report.scatter.types import AxisText, Mark, Region, Scatter

FRAME = Region(0, 0, 800, 500)
AXIS = AxisText("x", str)
spots = st.lists(st.tuples(st.floats(20, 780), st.floats(20, 480)), min_size=1, max_size=25)


@settings(max_examples=30, deadline=None)
@given(spots)
def test_names_cover_neither_marks_nor_each_other_and_stay_inside(places: list[tuple[float, float]]) -> None:
    found = place_labels(places, ["a network"] * len(places), frame=FRAME)
    regions = [one.region for one in found if one]
    for one in regions:
        assert FRAME.left <= one.left and one.right <= FRAME.right
        assert FRAME.top <= one.top and one.bottom <= FRAME.bottom
        assert not any(one.overlap(around(*place)) for place in places)
    assert not any(a.overlap(b) for a, b in combinations(regions, 2))
    assert len(regions) > 0 or len(places) > 1


def test_a_name_without_room_is_left_out_and_the_chart_says_so() -> None:
    marks = tuple(Mark(f"network number {i}", 1, 1) for i in range(200))
    scene = draw_scene(Scatter("t", AXIS, AXIS, marks, ("",)))
    written = [words for words in scene.words if words.kind == "name"]
    missing = 200 - len(written)
    assert 0 < missing < 200 and len(scene.dots) == 200
    assert f"no room for {missing} of 200 names" in [words.text for words in scene.words]


def test_a_wide_range_is_logarithmic_and_equal_ratios_are_equal_lengths() -> None:
    scale = fit_scale([1, 1000], 0, 100, may_bend=True)
    assert scale.is_log
    assert math.isclose(scale.place(10) - scale.place(1), scale.place(100) - scale.place(10))
    assert scale.ticks(8) == pytest.approx([1, 10, 100, 1000])
    assert not fit_scale([1, 1000], 0, 100, may_bend=False).is_log
    assert not fit_scale([100, 120], 0, 100, may_bend=True).is_log


@given(st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=5), st.booleans())
def test_all_values_lie_on_their_scale_and_round_ones_are_written(
    values: list[float], may_bend: bool
) -> None:
    assume(max(values) - min(values) > 1e-6 * max(values) or len(set(values)) == 1)
    scale = fit_scale(values, 50, 450, may_bend=may_bend)
    assert all(50 < scale.place(value) < 450 for value in values)
    ticks = scale.ticks(7)
    assert ticks == sorted(ticks) and len(ticks) >= 1 and len(ticks) < 20
    assert all(scale.low <= tick <= scale.high for tick in ticks)


def test_each_group_has_a_front_of_its_own() -> None:
    marks = (
        Mark("a", 1, 1),
        Mark("b", 2, 3),
        Mark("c", 1, 2, 1),
        Mark("d", 3, 4, 1),
        Mark("e", 3, 2, 0, False),
    )
    scene = draw_scene(Scatter("t", AXIS, AXIS, marks, ("first", "second")))
    dots = {dot.told: (dot.x, dot.y) for dot in scene.dots if dot.told}
    fronts = [stroke.points for stroke in scene.strokes if stroke.kind == "front"]
    assert fronts == [(dots["a"], dots["b"]), (dots["c"], dots["d"])]


def test_a_name_begins_or_ends_at_the_side_of_its_mark() -> None:
    """Whatever the width of the letters, it then stands as near."""
    marks = tuple(Mark(f"network {number}", number % 7, number // 7) for number in range(28))
    scene = draw_scene(Scatter("t", AXIS, AXIS, marks, ("",)))
    spots = {dot.told: dot.x for dot in scene.dots}
    anchors = set()
    for words in (one for one in scene.words if one.kind == "name"):
        anchors.add(words.anchor)
        if words.anchor == "start":
            assert words.x >= spots[words.text]
        if words.anchor == "end":
            assert words.x <= spots[words.text]
    assert {"start", "end"} <= anchors


def test_a_line_to_a_name_goes_around_what_stands_in_its_way() -> None:
    """Above the mark there is a name; the place beyond it costs more than one as far away with a free way."""
    name = Region(-20, -30, 20, -20)
    taken = Taken(FRAME, {(0.0, 0.0): around(0, 0)}, [], [name])
    beyond = Placed(Region(-10, -50, 10, -40), True)
    aside = Placed(Region(-50, -5, -40, 5), True)
    assert _cost(beyond, (0.0, 0.0), taken) >= _cost(aside, (0.0, 0.0), taken._replace(names=[])) + CROSSING
    assert _cost(aside, (0.0, 0.0), taken) == _cost(aside, (0.0, 0.0), taken._replace(names=[]))
