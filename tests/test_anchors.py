"""Fits, clusters, evolution, and new anchors in the text of a cfg: against formulas written out by hand."""

import golden
import numpy as np
import pytest
from matplotlib.figure import Figure

from yolor_cfg.analysis.anchor_edit import find_head_anchors, replace_anchors, used_slots
from yolor_cfg.analysis.anchor_plot import anchors_chart
from yolor_cfg.analysis.anchors import (
    MOST_SEARCHED,
    Goal,
    SearchOptions,
    box_shapes,
    evolve_anchors,
    kmeans,
    measure_fit,
    search_anchors,
    wh_iou,
    wh_ratios,
)
from yolor_cfg.data.types import Sample
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse

CORPUS = golden.SHARED / "corpus" / "cfg"
CENTRES = np.array([[10.0, 20.0], [60.0, 30.0], [150.0, 200.0]])
FITNESS = Goal(uses_iou=False, recall=0.0)
CONV = "[convolutional]\nfilters={}\nsize=1\nstride={}\nactivation=linear\n"
YOLO = "[yolo]\nmask={}\nanchors={}\nnum={}\nclasses=1\n"


def clouds(count: int = 60, *, spread: float = 0.01, seed: int = 3) -> np.ndarray:
    """Boxes close to the three centres."""
    noise = np.random.default_rng(seed).normal(0, spread, (count, 3, 2))
    return (CENTRES * np.exp(noise)).reshape(-1, 2)


def random_shapes(count: int, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(3), np.log(300), (count, 2)))


def sample(boxes: list[list[float]], size: tuple[int, int], crowd: list[bool] | None = None) -> Sample:
    count = len(boxes)
    flags = np.array(crowd or [False] * count, bool)
    zeros = np.zeros(count, np.int64)
    rows = np.array(boxes, np.float32).reshape(count, 4)
    return Sample("a.png", rows, zeros, zeros - 1, flags, rows[:, 2] * rows[:, 3], 0, size, flags & False)


def graph_of(text: str, dialect: str = "yolor") -> Graph:
    return build_graph(parse(text, "some.cfg"), ReadOptions(dialect))


def two_heads(first: str, second: str, *, net: str = "width=64\nheight=64\n", dialect: str = "") -> str:
    """A head of stride 32 in front of one of stride 8, as YOLOv3 has them; 3 anchors each."""
    down = "".join(CONV.format(4, stride) for stride in (8, 4))
    up = f"{CONV.format(18, 1)}{first}[route]\nlayers=0\n{CONV.format(18, 1)}{second}"
    return f"[net]\n{dialect}channels=3\n{net}{down}{up}"


def test_iou_and_ratio_of_two_shapes_are_those_by_hand() -> None:
    boxes, anchors = np.array([[10.0, 20.0], [4.0, 4.0]]), np.array([[20.0, 10.0], [5.0, 40.0], [1.0, 4.0]])
    np.testing.assert_allclose(
        wh_iou(boxes, anchors),
        [
            [100 / (200 + 200 - 100), 16 / 200],
            [100 / (200 + 200 - 100), 16 / 200],
            [4 / 200, 4 / 16],
        ],
    )
    np.testing.assert_allclose(wh_ratios(boxes, anchors), [[1 / 2, 1 / 5], [1 / 2, 1 / 10], [1 / 10, 1 / 4]])


def test_recall_fitness_and_iou_of_a_set_are_those_of_a_written_out_loop() -> None:
    boxes, anchors = random_shapes(200), random_shapes(4, seed=1)
    fitting, best_ratios, best_ious = 0, [], []
    for w, h in boxes:
        worst = [max(w / aw, aw / w, h / ah, ah / h) for aw, ah in anchors]
        fitting += min(worst) < 4
        best_ratios.append(1 / min(worst) if min(worst) < 4 else 0.0)
        overlaps = [min(w, aw) * min(h, ah) for aw, ah in anchors]
        unions = [w * h + aw * ah - o for o, (aw, ah) in zip(overlaps, anchors, strict=True)]
        best_ious.append(max(o / union for o, union in zip(overlaps, unions, strict=True)))
    want = fitting / 200, sum(best_ratios) / 200, sum(best_ious) / 200
    assert 0.1 < want[0] < 0.9
    np.testing.assert_allclose(measure_fit(boxes, anchors), want, rtol=1e-12)


def test_an_anchor_four_times_as_wide_does_not_fit_as_in_training() -> None:
    box = np.array([[10.0, 10.0]])
    assert measure_fit(box, np.array([[40.0, 10.0]])).recall == 0
    assert measure_fit(box, np.array([[39.9, 10.0]])).recall == 1
    assert measure_fit(box, np.array([[2.5, 10.0]])).fitness == 0


def test_letterboxed_boxes_have_one_scale_and_stretched_ones_two() -> None:
    there = [sample([[0.5, 0.5, 0.5, 0.25]], (100, 400)), sample([], (10, 10))]
    # 400 x 100 in 200 x 200: letterboxed 200 x 50
    np.testing.assert_allclose(box_shapes(there, (200, 200), stretched=False), [[100, 12.5]])
    np.testing.assert_allclose(box_shapes(there, (200, 200), stretched=True), [[100, 50]])
    np.testing.assert_allclose(box_shapes(there, (100, 800), stretched=False), [[200, 25]])


def test_crowds_do_not_count() -> None:
    there = [sample([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 1, 1]], (64, 64), [True, False])]
    np.testing.assert_allclose(box_shapes(there, (64, 64), stretched=False), [[64, 64]])


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_finds_the_means_of_tight_clusters(seed: int) -> None:
    boxes = clouds()
    found = kmeans(boxes, 3, rng=np.random.default_rng(seed))
    want = boxes.reshape(-1, 3, 2).mean(axis=0)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], want)


def test_kmeans_measures_by_iou_and_not_by_pixels() -> None:
    # 4 and 12 pixels are further apart than 200 and 240
    boxes = np.repeat([[4.0, 4.0], [12.0, 12.0], [200.0, 200.0], [240.0, 240.0]], 5, axis=0)
    found = kmeans(boxes, 3, rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(found[:, 0]), [4, 12, 220])


def test_fewer_shapes_than_anchors_are_no_fault() -> None:
    boxes = np.full((5, 2), 7.0)
    found = search_anchors(
        boxes, boxes[:1], SearchOptions(3, 2, 10), goal=FITNESS, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(found, 7.0)


def test_evolution_never_ranks_lower_and_mostly_higher() -> None:
    boxes, anchors = random_shapes(300), random_shapes(5, seed=8)
    for goal in (FITNESS, Goal(uses_iou=True, recall=0.0)):
        ranks = [goal.rank(boxes, anchors)]
        for seed in range(5):
            step = evolve_anchors(boxes, anchors, generations=40, goal=goal, rng=np.random.default_rng(seed))
            ranks.append(goal.rank(boxes, step))
        assert min(ranks[1:]) > ranks[0]
    same = evolve_anchors(boxes, anchors, generations=0, goal=FITNESS, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(same, anchors)


def test_recall_counts_before_fitness_as_far_as_the_old_set_had_it() -> None:
    # 99 boxes of one shape and a small one: the two anchors may sit on the shape, or one on the small box
    boxes = np.array([[100.0, 100.0]] * 50 + [[110.0, 110.0]] * 49 + [[4.0, 4.0]])
    near, wide = np.array([[100.0, 100.0], [110.0, 110.0]]), np.array([[105.0, 105.0], [15.0, 15.0]])
    assert measure_fit(boxes, near).fitness > measure_fit(boxes, wide).fitness
    strict, lax = Goal(uses_iou=False, recall=1.0), Goal(uses_iou=False, recall=0.9)
    assert strict.rank(boxes, wide) > strict.rank(boxes, near)
    assert lax.rank(boxes, wide) < lax.rank(boxes, near)


def test_the_search_is_as_its_seed_and_sorted_by_area() -> None:
    boxes, own = random_shapes(400), random_shapes(6, seed=9)
    one, same, other = (
        search_anchors(boxes, own, SearchOptions(6, 3, 50), goal=FITNESS, rng=np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert (np.diff(one.prod(axis=1)) >= 0).all()


def test_the_search_keeps_an_old_set_that_is_perfect() -> None:
    boxes = clouds(spread=0.0)
    found = search_anchors(boxes, CENTRES, SearchOptions(3, 1, 5), goal=FITNESS, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found, CENTRES)


def test_of_many_boxes_a_sample_is_searched() -> None:
    boxes = np.concatenate([clouds(8000), clouds(8000, seed=4)])
    assert len(boxes) > MOST_SEARCHED
    found = search_anchors(
        boxes, CENTRES[:1], SearchOptions(3, 2, 3), goal=FITNESS, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(found, CENTRES, rtol=0.02)


def test_every_mutation_is_reported() -> None:
    done: list[int] = []
    search_anchors(
        clouds(),
        CENTRES,
        SearchOptions(3, 2, 7),
        goal=FITNESS,
        rng=np.random.default_rng(0),
        progress=lambda: done.append(1),
    )
    assert len(done) == 7 * 2  # of k-means and of the old set


def test_coarse_heads_first_get_the_large_anchors_by_their_masks() -> None:
    listed = "1,1, 2,2, 3,3, 4,4, 5,5, 6,6"
    text = two_heads(YOLO.format("3,4,5", listed, 6), YOLO.format("0,1,2", listed, 6))
    new = [(10.4 * k, 5.0 * k) for k in range(1, 7)]
    changed = replace_anchors(graph_of(text), new)
    assert changed == text.replace(listed, "10,5, 21,10, 31,15, 42,20, 52,25, 62,30")
    coarse, fine = find_head_anchors(graph_of(changed))
    assert (coarse.stride, fine.stride) == ((32, 32), (8, 8))
    assert [place.size_in_pixels for place in fine.head_slots] == [(10, 5), (21, 10), (31, 15)]


def test_masks_that_give_small_numbers_to_the_coarse_head_are_followed_too() -> None:
    listed = "1,1, 2,2, 3,3, 4,4, 5,5, 6,6"
    text = two_heads(YOLO.format("0,1,2", listed, 6), YOLO.format("3,4,5", listed, 6))
    changed = replace_anchors(graph_of(text), [(10.0 * k, 10.0 * k) for k in range(1, 7)])
    assert changed == text.replace(listed, "40,40, 50,50, 60,60, 10,10, 20,20, 30,30")


def test_heads_with_lists_of_their_own_get_them_changed_each() -> None:
    text = two_heads(YOLO.format("0,1,2", "1,1, 2,2, 3,3", 3), YOLO.format("0,1,2", "4,4, 5,5, 6,6", 3))
    changed = replace_anchors(graph_of(text), [(10.0 * k, 10.0 * k) for k in range(1, 7)])
    want = text.replace("1,1, 2,2, 3,3", "40,40, 50,50, 60,60")
    assert changed == want.replace("4,4, 5,5, 6,6", "10,10, 20,20, 30,30")


def test_anchors_that_no_head_uses_stay() -> None:
    """As in YOLOv4-tiny: number 0 is nobody's, number 3 of both heads."""
    listed = "7,7, 23,27, 37,58, 81,82, 135,169, 344,319"
    text = two_heads(YOLO.format("3,4,5", listed, 6), YOLO.format("1,2,3", listed, 6))
    graph = graph_of(text)
    assert len(used_slots(find_head_anchors(graph))) == 5
    changed = replace_anchors(graph, [(10.0 * k, 10.0 * k) for k in range(1, 6)])
    assert changed == text.replace(listed, "7,7, 10,10, 20,20, 30,30, 40,40, 50,50")


def test_a_region_head_gets_cells() -> None:
    text = (
        f"[net]\nwidth=96\nheight=64\nchannels=3\n{CONV.format(4, 32)}{CONV.format(12, 1)}"
        "[region]\nanchors = 1.5,1, 2,2.5  # cells\nnum=2\nclasses=1\n"
    )
    graph = graph_of(text, "darknet")
    assert [place.size_in_pixels for place in used_slots(find_head_anchors(graph))] == [(48, 32), (64, 80)]
    changed = replace_anchors(graph, [(10.0, 20.0), (33.0, 64.0)])
    assert changed == text.replace("1.5,1, 2,2.5", "0.3125,0.625, 1.0312,2")


def test_comments_blanks_and_line_ends_stay() -> None:
    listed = "1,1,  2,2, 3,3"
    text = two_heads(
        "; above\r\n[yolo]\r\n mask = 0,1,2\n\tanchors =  " + listed + "   # pixels\r\nnum=3\n"
        "classes=1\n# anchors=9,9\n",
        "",
    )
    changed = replace_anchors(graph_of(text, "darknet"), [(4, 4), (5, 5), (6, 6)])
    assert changed == text.replace(listed, "4,4, 5,5, 6,6")


def test_an_anchor_is_one_pixel_at_least() -> None:
    text = two_heads(YOLO.format("0,1,2", "1,1, 2,2, 3,3", 3), "")
    assert "anchors=1,1, 1,2, 3,2\n" in replace_anchors(graph_of(text), [(0.2, 0.4), (1.4, 1.6), (2.6, 2.4)])


def test_another_number_of_anchors_changes_masks_and_filters_too() -> None:
    listed = "1,1, 2,2, 3,3, 4,4, 5,5, 6,6"
    text = two_heads(YOLO.format("3,4,5", listed, 6), YOLO.format("0,1,2", listed, 6))
    changed = replace_anchors(graph_of(text), [(10.0 * k, 10.0 * k) for k in range(1, 5)])
    want = text.replace(listed, "10,10, 20,20, 30,30, 40,40").replace("num=6", "num=4")
    want = want.replace("mask=3,4,5", "mask=2,3").replace("mask=0,1,2", "mask=0,1")
    assert changed == want.replace("filters=18", "filters=12")
    assert [node.inputs[0].channels for node in graph_of(changed).heads] == [12, 12]


def test_implicit_values_before_a_head_follow_its_filters() -> None:
    text = (
        f"[net]\nwidth=64\nheight=64\nchannels=3\n{CONV.format(4, 8)}[implicit_mul]\nfilters=18\n"
        f"[route]\nlayers=0\n{CONV.format(18, 1)}[control_channels]\nfrom=1\n"
        + YOLO.format("0,1,2", "1,1, 2,2, 3,3", 3)
    )
    changed = replace_anchors(graph_of(text), [(10.0 * k, 10.0 * k) for k in range(1, 5)])
    assert changed.count("filters=24") == text.count("filters=18") == 2
    assert graph_of(changed).heads[0].inputs[0].channels == 24


def test_a_region_head_can_have_another_number() -> None:
    text = (
        f"[net]\nwidth=96\nheight=64\nchannels=3\n{CONV.format(4, 32)}{CONV.format(12, 1)}"
        "[region]\nanchors=1,1, 2,2\nnum=2\nclasses=1\n"
    )
    changed = replace_anchors(graph_of(text, "darknet"), [(32.0, 32.0), (64.0, 32.0), (64.0, 96.0)])
    want = text.replace("1,1, 2,2", "1,1, 2,1, 2,3").replace("num=2", "num=3")
    assert changed == want.replace("filters=12", "filters=18")


@pytest.mark.parametrize("count", [1, 5])
def test_a_number_that_does_not_divide_among_the_heads_is_refused(count: int) -> None:
    listed = "1,1, 2,2, 3,3, 4,4, 5,5, 6,6"
    text = two_heads(YOLO.format("3,4,5", listed, 6), YOLO.format("0,1,2", listed, 6))
    with pytest.raises(CfgError, match="cannot be shared out evenly") as caught:
        replace_anchors(graph_of(text), [(9.0, 9.0)] * count)
    assert caught.value.allowed == "a multiple of 2, the number of heads"


def test_a_head_without_a_list_is_refused_by_its_line() -> None:
    text = f"[net]\nwidth=64\nheight=64\nchannels=3\n{CONV.format(6, 8)}[yolo]\nnum=1\nclasses=1\n"
    with pytest.raises(CfgError, match="does not give all anchors") as caught:
        find_head_anchors(graph_of(text, "darknet"))
    assert caught.value.section == "yolo" and caught.value.line == 10


def test_a_network_without_anchored_heads_is_refused() -> None:
    with pytest.raises(CfgError, match="no head of this network has anchors"):
        find_head_anchors(graph_of(f"[net]\nwidth=64\nheight=64\nchannels=3\n{CONV.format(4, 8)}"))


def with_lists() -> list[str]:
    """Cfgs that people wrote with a list of anchors."""
    texts = {path.name: path.read_text(encoding="latin-1") for path in sorted(CORPUS.glob("*.cfg"))}
    return [name for name, text in texts.items() if "\nanchors" in text and "[yolo4]" not in text]


@pytest.mark.parametrize("name", with_lists()[::15])
def test_only_lines_of_anchors_change_in_cfgs_that_people_wrote(name: str) -> None:
    try:
        graph = load_graph(CORPUS / name)
        heads = find_head_anchors(graph)
    except CfgError as fault:
        pytest.skip(str(fault))
    count = len(used_slots(heads))
    new = [(3.0 + 7 * k, 5.0 + 8 * k) for k in range(count)]
    text = replace_anchors(graph, new)
    before, after = (whole.split("\n") for whole in (graph.document.text, text))
    changed = [old for old, line in zip(before, after, strict=True) if old != line]
    assert changed and all(line.strip().startswith("anchors") for line in changed)
    again = find_head_anchors(build_graph(parse(text), ReadOptions(graph.dialect.name)))
    places = used_slots(again)
    np.testing.assert_allclose([place.size_in_pixels for place in places], new, rtol=1e-4)
    areas = {head.cell_area: max(places.index(place) for place in head.head_slots) for head in again}
    assert [areas[area] for area in sorted(areas)] == sorted(areas.values())


def test_the_chart_shows_boxes_and_both_sets() -> None:
    boxes = random_shapes(50)
    figure = Figure(layout="constrained")
    anchors_chart(boxes, CENTRES, CENTRES + 30).draw(figure)
    (axes,), (legend,) = figure.axes, figure.legends
    points = [np.asarray(marks.get_offsets()) for marks in axes.collections]
    for shown, expected in zip(points, (boxes, CENTRES, CENTRES + 30), strict=True):
        np.testing.assert_array_equal(shown, expected)
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["50 boxes", f"{len(CENTRES)} anchors before", f"{len(CENTRES)} anchors after"]
    assert axes.get_xlim() == axes.get_ylim() and max(axes.get_xlim()) > max(map(np.max, points))
