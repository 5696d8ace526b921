"""Top-1, top-k, average precision and F1 of image labels against definitions written out."""

import numpy as np
import pytest

from yolor_cfg.evaluate.image_labels import PLACES, label_rows, labels_to_dict, score_labels
from yolor_cfg.report.charts import confusion_rows
from yolor_cfg.report.tables import label_line

NAMES = ("a", "b", "c", "d")


def precision_by_definition(truth: np.ndarray, scores: np.ndarray) -> float:
    """The sum of (R_n - R_(n-1)) P_n over the thresholds, as scikit-learn defines average precision."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = (truth & chosen).sum() / truth.sum()
        total += (recall - before) * (truth & chosen).sum() / chosen.sum()
        before = recall
    return total


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_its_definition_with_ties_too(seed):
    rng = np.random.default_rng(seed)
    truth = (rng.random((30, 4)) < 0.3).astype(float)
    scores = rng.random((30, 4)).round(1)
    found = score_labels(truth, scores, kind="multi", names=NAMES)
    wanted = [precision_by_definition(truth[:, k] > 0, scores[:, k]) for k in range(4)]
    np.testing.assert_allclose(found.ap, wanted)
    assert found.map == pytest.approx(np.mean(wanted))


def test_f1_counts_what_is_above_one_half():
    truth = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0.0]])
    scores = np.array([[0.9, 0.6, 0, 0], [0.4, 0.5, 0, 0], [0.1, 0.2, 0.7, 0]])
    found = score_labels(truth, scores, kind="multi", names=NAMES)
    assert found.precision.tolist() == [1, 0.5, 0, 0] and found.recall.tolist() == [0.5, 0.5, 0, 0]
    np.testing.assert_allclose(found.f1, [2 / 3, 0.5, 0, 0])
    assert found.mean_f1 == pytest.approx((2 / 3 + 0.5) / 2)  # classes that do not occur have no say
    assert [row["AP"] is None for row in label_rows(found)] == [False, False, True, True]


def test_the_first_class_of_an_image_decides_and_ties_go_to_the_lower_class():
    """validate_classifier_single in classifier.c; top_k in utils.c keeps what came first."""
    truth = np.array([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0.0]])
    scores = np.array([[0.1, 0.6, 0.2, 0.1], [0.3, 0.3, 0.2, 0.2], [1, 0, 0, 0], [0, 0.1, 0.9, 0]])
    found = score_labels(truth, scores, kind="single", names=NAMES, top=2)
    assert (found.k, found.top1, found.top) == (2, 0.25, 0.5)
    assert score_labels(truth, scores, kind="single", names=NAMES).k == 4  # of four classes the best five


def test_without_a_class_in_any_image_there_is_no_mean():
    scores = score_labels(np.zeros((4, 3)), np.full((4, 3), 0.7), kind="multi", names=("a", "b", "c"))
    assert (labels_to_dict(scores)["mAP"], labels_to_dict(scores)["F1"]) == (None, None)
    assert "there is no mAP" in label_line(scores) and "0.0000" not in label_line(scores)


def test_what_is_not_known_counts_neither_way():
    truth = np.array([[1, 0, 0, 0], [np.nan, 0, 0, 0], [0, 0, 0, 0.0]])
    scores = np.array([[0.8, 0, 0, 0], [0.9, 0, 0, 0], [0.1, 0, 0, 0]])
    found = score_labels(truth, scores, kind="multi", names=NAMES)
    assert (found.ap[0], found.precision[0], found.positives[0]) == (1, 1, 1)


def test_confusions_count_the_first_class_of_an_image_by_its_best_one():
    truth = np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, np.nan]])
    scores = np.array([[0.1, 0.6, 0.2, 0.1], [0.3, 0.2, 0.3, 0.2], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    found = score_labels(truth, scores, kind="single", names=NAMES)
    assert found.confusion.tolist() == [[0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    rows = list(confusion_rows(found.confusion, NAMES, found="predicted"))
    assert rows[:2] == [("true \\ predicted", *NAMES), ("a", 0, 0, 0, 1)]
    assert not score_labels(truth, scores, kind="multi", names=NAMES).confusion.size


@pytest.mark.parametrize("seed", range(3))
def test_a_curve_has_the_best_precision_of_a_recall_or_more(seed):
    rng = np.random.default_rng(seed)
    truth, scores = (rng.random((30, 1)) < 0.3).astype(float), rng.random((30, 1)).round(1)
    found = score_labels(truth, scores, kind="multi", names=("a",)).envelope[0]
    positive = truth[:, 0] > 0
    pairs = []
    for threshold in set(scores[:, 0].tolist()):
        chosen = scores[:, 0] >= threshold
        hits = (positive & chosen).sum()
        pairs.append((hits / positive.sum(), hits / chosen.sum()))
    for recall, precision in zip(PLACES, found, strict=True):
        assert precision == max(p for r, p in pairs if r >= recall - 1e-6)
    assert np.isnan(score_labels(0 * truth, scores, kind="multi", names=("a",)).envelope).all()
