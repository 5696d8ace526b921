"""NMS on arrays gives what NMS on tensors gives, bit by bit."""

import itertools

import numpy as np
import pytest
import torch

from yolor_cfg.detect import plain
from yolor_cfg.detect.nms import select_boxes
from yolor_cfg.detect.nms_rules import NmsRules
from yolor_cfg.detect.plain import select_plain
from yolor_cfg.engines.exported import Predicted
from yolor_cfg.images.preprocess import Placement, placement_from_sizes
from yolor_cfg.model import Predictions

BOXES, CLASSES = 120, 4
KINDS = ("default", "greedynms", "diounms", "yolor")
PLACES = (
    Placement((300, 500), (416, 416), (416 / 500, 416 / 300), (0.0, 0.0)),
    placement_from_sizes((300, 500), (256, 416)),
)


def draw_boxes(seed: int, count: int = BOXES) -> Predicted:
    """Boxes in clusters, with equal scores and overlaps of all sizes among them."""
    draw = np.random.default_rng(seed)
    centres = draw.uniform(50, 350, (8, 2))[draw.integers(0, 8, count)] + draw.normal(0, 9, (count, 2))
    boxes = np.concatenate([centres, draw.uniform(20, 90, (count, 2))], axis=1)
    scores = draw.integers(0, 21, (count, CLASSES)) / 20
    return Predicted(*(part.astype(np.float32) for part in (boxes, draw.uniform(0, 1, count), scores)))


@pytest.fixture(params=["kernels", "arrays"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our C++ code where it is built, and without."""
    if request.param == "arrays":
        monkeypatch.setattr(plain, "choose_in_image", lambda *_, **__: None)


def expect_same(one: Predicted, placement: Placement, rules: NmsRules) -> int:
    """Compare with the tensors' way; how many boxes there are."""
    tensors = Predictions(*(torch.from_numpy(part)[None] for part in one))
    ((boxes, kept),) = select_boxes(tensors, [placement], rules=rules)
    found = select_plain(one, placement, rules)
    for ours, theirs in zip(found, (boxes, kept.scores, kept.classes), strict=True):
        assert ours.dtype == theirs.numpy().dtype
        np.testing.assert_array_equal(ours, theirs.numpy())
    return len(kept.scores)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_tensors_give_the_same_boxes(kind: str) -> None:
    choices = itertools.product((True, False), (True, False), (None, (0, 2)), (5, 300), PLACES)
    for seed, (multi, agnostic, classes, most, place) in enumerate(choices):
        rules = NmsRules(0.1, 0.4, kind, 0.7, multi, agnostic, most, classes)
        assert expect_same(draw_boxes(seed), place, rules)


@pytest.mark.parametrize("kind", ["default", "yolor"])
def test_damaged_numbers_and_none_at_all_are_met_alike(kind: str) -> None:
    one = draw_boxes(1)
    one.boxes_xywh[3, 2], one.boxes_xywh[7, 0] = np.nan, np.inf
    expect_same(one, PLACES[0], NmsRules(0.1, 0.4, kind))
    assert not expect_same(draw_boxes(2), PLACES[0], NmsRules(1.0, 0.4, kind))
    assert not expect_same(draw_boxes(2, 0), PLACES[0], NmsRules(0.1, 0.4, kind))


@pytest.mark.parametrize(
    ("kind", "multi", "agnostic"), list(itertools.product(KINDS, (True, False), (True, False)))
)
def test_a_score_that_is_no_number_is_not_reported(kind: str, multi: bool, agnostic: bool) -> None:
    """It suppresses nothing either: what stays is what stays where it is 0."""
    one = draw_boxes(4)
    one.scores[5:40, 1] = one.objectness[50:60] = np.nan
    rules = NmsRules(0.1, 0.4, kind, 0.7, multi, agnostic)
    count = expect_same(one, PLACES[0], rules)
    boxes, scores, classes = select_plain(one, PLACES[0], rules)
    assert count and (scores > 0.1).all()
    if multi or kind != "yolor":  # which takes no best label from a box that has a NaN
        zeros = Predicted(*map(np.nan_to_num, one))
        for found, wanted in zip(
            (boxes, scores, classes), select_plain(zeros, PLACES[0], rules), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)


def test_the_best_pairs_are_enough_where_many_pass() -> None:
    rules = NmsRules(0.001, 0.9, "greedynms", multi_label=True, max_det=20)
    assert expect_same(draw_boxes(3, 900), PLACES[0], rules) == 20
