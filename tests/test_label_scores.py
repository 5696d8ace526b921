"""Top-1, top-k, average precision and F1 of image labels against definitions written out."""

import numpy as np
import pytest

from yolor_cfg.evaluate.image_labels import label_rows, score_labels

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


def test_what_is_not_known_counts_neither_way():
    truth = np.array([[1, 0, 0, 0], [np.nan, 0, 0, 0], [0, 0, 0, 0.0]])
    scores = np.array([[0.8, 0, 0, 0], [0.9, 0, 0, 0], [0.1, 0, 0, 0]])
    found = score_labels(truth, scores, kind="multi", names=NAMES)
    assert (found.ap[0], found.precision[0], found.positives[0]) == (1, 1, 1)
