"""What became of each box, and which images have the most errors."""

import numpy as np
import pytest
from truths import found, random_case, truth

from yolor_cfg.evaluate.facts import _describe_cells, _pick_curves
from yolor_cfg.evaluate.judgement import (
    MOST_IMAGES,
    VERDICTS,
    choose_images,
    count_verdicts,
    describe_judgement,
    judge_boxes,
    rank_images,
)
from yolor_cfg.evaluate.matching import confusion_matrix

SCENE = truth(
    [(0, 0, 10, 10, 20, 20), (0, 1, 50, 50, 20, 20), (0, 1, 80, 10, 10, 10), (1, 0, 10, 10, 20, 20, 1)],
    images=3,
)
DETECTIONS = found(
    [
        (0, 0, 0.9, 10, 10, 20, 20),  # as the first object
        (0, 0, 0.8, 11, 10, 20, 20),  # a second time
        (0, 0, 0.7, 50, 50, 20, 20),  # the second object, as another class
        (0, 1, 0.6, 10, 70, 10, 10),  # nothing there
        (1, 1, 0.6, 10, 10, 20, 20),  # on a crowd
        (2, 1, 0.2, 10, 10, 20, 20),  # not confident enough
    ]
)


def test_each_box_has_its_verdict() -> None:
    judged = judge_boxes(SCENE, DETECTIONS, confidence=0.5)
    verdicts = [VERDICTS[number] for number in judged.found]
    assert verdicts == ["right", "duplicate", "wrong class", "background", "background"]
    assert [VERDICTS[number] for number in judged.truth] == ["right", "wrong class", "missed", "ignored"]
    assert count_verdicts(judged) == {
        "right": 1,
        "wrong class": 1,
        "duplicate": 1,
        "background": 2,
        "missed": 1,
        "ignored": 0,
    }


def test_an_object_that_is_taken_for_another_class_is_one_error() -> None:
    """Its detection is wrong; the object is not counted as missed besides, though F1 goes by both."""
    ranking = rank_images(SCENE, judge_boxes(SCENE, DETECTIONS, confidence=0.5))
    assert ranking.right.tolist() == [1, 0, 0]
    assert ranking.errors.tolist() == [3 + 1, 1, 0]
    assert ranking.f1[:2].tolist() == [2 / (4 + 3), 0] and np.isnan(ranking.f1[2])


def test_a_detection_on_a_difficult_object_alone_is_ignored() -> None:
    scene = truth([(0, 0, 10, 10, 20, 20, 2)])
    judged = judge_boxes(scene, found([(0, 0, 0.9, 10, 10, 20, 20)]), confidence=0.5)
    assert [VERDICTS[number] for number in judged.found] == ["ignored"]
    assert rank_images(scene, judged).errors.tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_the_verdicts_are_the_sums_of_the_confusion_matrix(seed: int) -> None:
    scene, rows = random_case(seed)
    judged = judge_boxes(scene, rows, confidence=0.3)
    counts = count_verdicts(judged)
    matrix = confusion_matrix(scene, rows, conf=0.3)
    classes = matrix[:3, :3]
    assert counts["right"] == np.trace(classes) > 0
    assert counts["wrong class"] == classes.sum() - np.trace(classes)
    assert counts["missed"] == matrix[:3, 3].sum()
    assert counts["duplicate"] + counts["background"] == matrix[3].sum()
    ranking = rank_images(scene, judged)
    for image in range(6):
        shown = judged.detections[:, 0] == image
        right = sum(VERDICTS[verdict] == "right" for verdict in judged.found[shown])
        objects = int((scene.images == image).sum())
        assert ranking.f1[image] == pytest.approx(2 * right / (shown.sum() + objects))


def test_the_worst_images_have_the_lowest_f1_and_the_best_are_others() -> None:
    count = 30
    scene = truth([(i, 0, 10, 10, 20, 20) for i in range(count)], images=count + 1)
    rows = found([(i, 0, 0.9, 10, 10, 20, 20) for i in range(0, count, 2)])
    judged = judge_boxes(scene, rows, confidence=0.5)
    worst, best = choose_images(rank_images(scene, judged))
    assert worst == list(range(1, count, 2))[:MOST_IMAGES]
    assert best == list(range(0, count, 2))[:MOST_IMAGES]  # the image without anything is in neither
    told = describe_judgement(scene, rows, confidence=0.5)
    assert (told["images"], told["faulty"]) == (count + 1, count // 2)
    assert told["worst"][0]["file"] == "pictures/p1.jpg" and told["worst"][0]["errors"] == 1


def test_unreadable_images_have_no_errors() -> None:
    told = describe_judgement(SCENE, DETECTIONS[3:4], confidence=0.5, skipped=[0])
    assert told["images"] == 2 and told["counts"]["missed"] == 0


def test_curves_have_the_classes_with_the_most_labels_and_the_mean_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yolor_cfg.evaluate.facts.MOST_CURVES", 2)
    axis, table = np.linspace(0, 1, 21), np.random.default_rng(0).random((4, 21))
    labels = np.array([5, 0, 9, 9])
    told = _pick_curves({"P": table}, np.flatnonzero(labels), labels, places=axis)
    assert (told["classes"], told["there"], told["axis"]) == ([2, 3], 3, [0, 0.5, 1])
    assert told["each"]["P"] == table[2:, ::10].round(4).tolist()
    assert told["mean"]["P"] == table[[0, 2, 3], ::10].mean(axis=0).round(4).tolist()


@pytest.mark.filterwarnings("error")
def test_without_a_label_there_are_no_curves_and_no_warning() -> None:
    nothing, table = np.zeros(0, np.int64), np.ones((2, 21))
    told = _pick_curves({"P": table}, nothing, np.zeros(2), places=np.linspace(0, 1, 21))
    assert (told["classes"], told["each"]["P"], told["mean"]["P"]) == ([], [], [])


def test_of_a_large_matrix_the_largest_cells_are_kept_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolor_cfg.evaluate.facts.MOST_CELLS", 3)
    told = _describe_cells(np.array([[7, 0, 1], [2, 9, 0], [0, 3, 1]]))
    assert told == {"size": 3, "cells": [[0, 0, 7], [1, 1, 9], [2, 1, 3]], "left_out": 3}
