"""YOLOR's and C Darknet's precision and recall against rules written out one by one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from truths import found, random_case, truth

from yolor_cfg.data.sources import open_data
from yolor_cfg.evaluate.curves import AXIS, THRESHOLDS, average_precision, compute_curves
from yolor_cfg.evaluate.darknet_map import score_darknet
from yolor_cfg.evaluate.ground_truth import GroundTruth, dataset_ground_truth, no_detections
from yolor_cfg.evaluate.matching import confusion_matrix, iou_matrix

NEAR = (10.0, 10.0, 20.0, 20.0)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def best_box(ground: GroundTruth, row: np.ndarray, above: float) -> int:
    best, place = above, -1
    for j, box in enumerate(ground.boxes_ltwh):
        mine = ground.images[j] == row[0] and ground.classes[j] == row[6]
        if mine and iou(row[1:5], box) > best:
            best, place = iou(row[1:5], box), j
    return place


def as_in_c(ground: GroundTruth, detections: np.ndarray, points: int) -> list[float]:
    """The AP of each class, rank by rank over all classes, as `detector map` keeps its table."""
    order = np.argsort(-detections[:, 5], kind="stable")
    count = len(ground.names)
    tp, fp = np.zeros(count, int), np.zeros(count, int)
    taken: set[int] = set()
    table = []
    for row in detections[order]:
        place, label = best_box(ground, row, 0.5), int(row[6])
        right = place >= 0 and place not in taken
        taken |= {place} if right else set()
        tp[label] += right
        fp[label] += not right
        boxes = np.bincount(ground.classes, minlength=count)
        table.append((tp / np.maximum(tp + fp, 1), tp / np.maximum(boxes, 1)))
    return [class_ap([(p[k], r[k]) for p, r in table], points) for k in range(count)]


def class_ap(ranks: list[tuple[float, float]], points: int) -> float:
    if points:
        recalls = [i / (points - 1) for i in range(points)]
        return sum(max([p for p, r in ranks if r >= wanted], default=0) for wanted in recalls) / points
    area, (best, last) = 0.0, ranks[-1]
    for precision, recall in reversed(ranks[:-1]):
        step, last = last - recall, recall
        best = max(best, precision)
        area += step * best
    return area + last * best


@pytest.mark.parametrize("points", [0, 11, 101])
@pytest.mark.parametrize("seed", range(4))
def test_darknets_ap_is_that_of_its_table_of_ranks(seed: int, points: int) -> None:
    ground, detections = random_case(seed)
    scores = score_darknet(ground, detections, points=points)
    expected = as_in_c(ground, detections, points)
    assert min(expected) > 0.1
    assert scores.ap.tolist() == pytest.approx(expected, abs=1e-9)
    assert scores.map == pytest.approx(np.mean(expected))


def test_darknet_counts_absent_classes_as_0() -> None:
    scores = score_darknet(truth([(0, 0, *NEAR)], classes=4), found([(0, 0, 0.9, *NEAR)]))
    assert scores.ap.tolist() == [1, 0, 0, 0]
    assert scores.map == 0.25


def test_darknets_counts_are_those_above_its_threshold() -> None:
    ground = truth([(0, 0, *NEAR), (0, 1, 50, 50, 20, 20), (0, 1, 80, 80, 10, 10)])
    detections = found(
        [(0, 0, 0.9, *NEAR), (0, 0, 0.8, *NEAR), (0, 1, 0.7, 50, 50, 20, 15), (0, 1, 0.2, 80, 80, 10, 10)]
    )
    scores = score_darknet(ground, detections)
    assert (scores.true_positives.tolist(), scores.false_positives.tolist()) == ([1, 1], [1, 0])
    assert scores.false_negatives == 1
    assert (scores.precision, scores.recall) == pytest.approx((2 / 3, 2 / 3))
    assert scores.f1 == pytest.approx(2 / 3)
    assert scores.average_iou == pytest.approx((1 + 0.75) / 3)


def test_nothing_found_scores_0_by_every_rule() -> None:
    ground = truth([(0, 0, *NEAR)])
    judged = score_darknet(ground, no_detections())
    assert (judged.map, judged.precision, judged.recall, judged.f1, judged.average_iou) == (0, 0, 0, 0, 0)
    assert tuple(compute_curves(ground, no_detections()).mean) == (0, 0, 0, 0, 0)
    assert tuple(compute_curves(truth([]), no_detections()).mean) == (0, 0, 0, 0, 0)


def yolor_ap(ground: GroundTruth, detections: np.ndarray, label: int) -> list[float]:
    """YOLOR's rule: the box with the largest IoU, claimed once above 0.5, true at each threshold exceeded."""
    rows = detections[detections[:, 6] == label]
    rows = rows[np.argsort(-rows[:, 5], kind="stable")]
    taken: set[int] = set()
    right = np.zeros((len(rows), len(THRESHOLDS)))
    for i, row in enumerate(rows):
        place = best_box(ground, row, 0.5)
        if place >= 0 and place not in taken:
            taken.add(place)
            right[i] = iou(row[1:5], ground.boxes_ltwh[place]) > THRESHOLDS
    result = []
    for column in right.T:
        recall = column.cumsum() / (ground.classes == label).sum()
        precision = column.cumsum() / np.arange(1, len(rows) + 1)
        ends = [0.0, *recall, min(recall[-1] + 1e-3, 1.0)]
        falls = [max([*precision[i:], 0.0]) for i in range(len(rows))]
        heights = np.interp(np.linspace(0, 1, 101), ends, [falls[0], *falls, 0.0])
        result.append(sum((a + b) / 2 / 100 for a, b in zip(heights, heights[1:], strict=False)))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_yolors_ap_is_the_trapezoids_below_its_envelope(seed: int) -> None:
    ground, detections = random_case(seed)
    ours = compute_curves(ground, detections)
    for label in range(len(ground.names)):
        assert ours.ap[label].tolist() == pytest.approx(yolor_ap(ground, detections, label), abs=1e-9)
    assert ours.mean.map50 == pytest.approx(ours.ap[:, 0].mean())


def test_yolors_ap_of_perfect_detections_ends_at_0995() -> None:
    # The curve falls to 0 at its last recall, so the last trapezoid is a triangle.
    assert average_precision(np.array([0.5, 1.0]), np.array([1.0, 1.0])) == pytest.approx(0.995)


def test_precision_and_recall_are_those_of_the_detections_above_the_confidence() -> None:
    ground = truth([(0, 0, *NEAR), (0, 0, 50, 50, 20, 20)], classes=2)
    detections = found([(0, 0, 0.9, *NEAR), (0, 0, 0.5, 80, 0, 9, 9), (0, 0, 0.05, 50, 50, 20, 20)])
    ours = compute_curves(ground, detections)
    p, r, f1 = ours.precision_recall_f1(0.5)
    assert (p[0], r[0], f1[0]) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert np.isnan(p[1]) and np.isnan(ours.ap[1]).all()
    assert (ours.images.tolist(), ours.labels.tolist()) == ([1, 0], [2, 0])
    assert ours.recall[0, AXIS > 0.9].max() == 0


def test_crowds_are_not_objects_for_yolor_and_darknet() -> None:
    ground = truth([(0, 0, *NEAR), (0, 0, 50, 50, 40, 40, 1)])
    detections = found([(0, 0, 0.9, *NEAR)])
    assert compute_curves(ground, detections).labels.tolist() == [1, 0]
    assert score_darknet(ground, detections).recall == 1


def test_a_difficult_object_and_what_is_found_on_it_count_neither_way() -> None:
    """detector.c 1144: a detection that is on no other true box is taken back."""
    far = (50, 50, 40, 40)
    ground = truth([(0, 0, *NEAR), (0, 0, *far, 2), (0, 1, 0, 60, 20, 20, 2)])
    detections = found(
        [
            (0, 0, 0.9, *far),  # on the difficult object
            (0, 0, 0.8, *NEAR),  # right
            (0, 1, 0.7, *far),  # of another class: on nothing
        ]
    )
    judged = score_darknet(ground, detections)
    assert (judged.ap[0], judged.true_positives.tolist()) == (1, [1, 0])
    assert (judged.false_positives.tolist(), judged.false_negatives) == ([0, 1], 0)
    p, _, _ = compute_curves(ground, detections).precision_recall_f1(0.1)
    assert p[0] == 1
    assert confusion_matrix(ground, detections).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    crowd = truth([(0, 0, *NEAR), (0, 0, *far, 1)])
    assert score_darknet(crowd, detections).ap[0] == 0.5


def test_a_label_line_that_stands_twice_is_two_objects_for_darknet_alone() -> None:
    """C Darknet reads every line (read_boxes) and counts it; a detection finds one of them."""
    ground = truth([(0, 0, 10, 10, 20, 20), (0, 1, 60, 60, 20, 20)])
    detections = found(
        [(0, 0, 0.9, 10, 10, 20, 20), (0, 0, 0.8, 10, 10, 20, 20), (0, 1, 0.9, 60, 60, 20, 20)]
    )
    by = score_darknet(ground._replace(copies=np.array([1, 0])), detections)
    assert by.ap.tolist() == [0.5, 1.0] and by.objects == 3
    assert (by.true_positives.tolist(), by.false_positives.tolist(), by.false_negatives) == (
        [1, 1],
        [1, 0],
        1,
    )
    assert score_darknet(ground, detections).ap.tolist() == [1.0, 1.0]
    assert compute_curves(ground._replace(copies=np.array([1, 0])), detections).labels.tolist() == [1, 1]


def test_doubled_lines_of_a_label_file_reach_the_score(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "a.txt").write_text("0 .5 .5 .25 .25\n1 .2 .2 .1 .1\n" + "0 0.50 .5 .25 .25\n" * 2)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.png\n")
    (tmp_path / "my.data").write_text("classes=2\nvalid=list.txt\n")
    ground = dataset_ground_truth(open_data(str(tmp_path / "my.data"), split="val"))
    assert ground.copies.tolist() == [2, 0] and len(ground.classes) == 2
    assert score_darknet(ground, no_detections()).objects == 4


def test_an_image_that_a_list_names_twice_counts_twice_in_darknets_map() -> None:
    """detector.c 1057: each line of `valid` is tested, with truths and detections of its own."""
    ground = truth([(0, 0, *NEAR), (1, 0, *NEAR)], images=2, classes=1)
    detections = found([(0, 0, 0.9, *NEAR), (1, 0, 0.8, 60, 60, 9, 9)])
    once = score_darknet(ground, detections)
    twice = score_darknet(ground._replace(repeated=(0,)), detections)
    assert (once.map, twice.map) == (0.5, pytest.approx(2 / 3))
    assert (twice.true_positives.tolist(), twice.false_positives.tolist()) == ([2], [1])
    assert twice.false_negatives == 1


def test_overlaps_are_intersection_over_union() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.uniform(1, 30, (5, 4)) for _ in range(2))
    expected = [[iou(a, b) for b in second] for a in first]
    np.testing.assert_allclose(iou_matrix(first, second), expected, atol=1e-12)
    assert iou_matrix(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]


def test_the_confusion_matrix_counts_every_box_and_every_likely_detection_once() -> None:
    ground = truth([(0, 0, *NEAR), (0, 1, 50, 50, 20, 20), (1, 1, 0, 0, 10, 10)], images=3)
    detections = found(
        [
            (0, 0, 0.9, *NEAR),  # right
            (0, 0, 0.8, 50, 50, 20, 20),  # the wrong class
            (0, 1, 0.7, 10, 10, 20, 19),  # on a box that is taken
            (2, 1, 0.9, 5, 5, 9, 9),  # on nothing
            (1, 1, 0.2, 0, 0, 10, 10),  # not likely
        ]
    )
    assert confusion_matrix(ground, detections).tolist() == [[1, 0, 0], [1, 0, 1], [0, 2, 0]]
