"""NMS in C++ against the code in torch: identical results, of every kind, at every edge."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from native import BUILT
from torch import Tensor

from yolor_cfg.detect import nms as detect_nms
from yolor_cfg.detect.nms import NmsRules, select_boxes
from yolor_cfg.images.preprocess import Placement, placement_from_sizes
from yolor_cfg.model import Predictions
from yolor_cfg.ops import native_code, native_nms, nms
from yolor_cfg.ops.native_nms import ChoiceRules, choose_boxes
from yolor_cfg.ops.nms import KeptBoxes, darknet_nms

pytestmark = pytest.mark.skipif(not BUILT, reason="the C++ code is not built (make native)")

KINDS = ("default", "greedynms", "diounms", "yolor")
PLACEMENTS = (
    Placement((300, 500), (416, 416), (416 / 500, 416 / 300), (0.0, 0.0)),
    placement_from_sizes((300, 500), (416, 416)),
)
ODD = (np.nan, np.inf, -np.inf, 0.0, 1e20, -1.0)


def predictions(seed: int, *, boxes: int, classes: int, style: str) -> Predictions:
    """Clusters of boxes; `ties`: on a coarse grid, few scores; `odd`: with NaN, infinities, empty boxes."""
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 400, (max(1, boxes // 8), 2))[random.integers(0, max(1, boxes // 8), boxes)]
    sizes = random.uniform(5, 90, (boxes, 2))
    xywh = np.concatenate([centres + random.normal(0, 4, (boxes, 2)), sizes], axis=1)
    objectness, scores = random.uniform(0, 1, boxes), random.uniform(0, 1, (boxes, classes))
    if style == "ties":
        xywh, scores, objectness = xywh // 32 * 32, scores.round(1), objectness.round(1)
    if style == "odd":
        for values in (xywh, scores, objectness):
            values[random.uniform(0, 1, values.shape) < 0.03] = random.choice(ODD)
    return Predictions(*(torch.tensor(part, dtype=torch.float32) for part in (xywh, objectness, scores)))


def selected(one: Predictions, placement: Placement, rules: NmsRules) -> tuple[Tensor, KeptBoxes]:
    batch = Predictions(*(part[None] for part in one))
    return next(select_boxes(batch, [placement], rules=rules))


def in_torch(one: Predictions, placement: Placement, rules: NmsRules) -> tuple[Tensor, KeptBoxes]:
    """The same by the code that runs without the library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_nms, "_load_functions", lambda: None)
        return selected(one, placement, rules)


def check_equal(one: Predictions, placement: Placement, rules: NmsRules) -> int:
    """Both ways give the same, to the last bit; returns how many boxes stay."""
    (boxes, kept), (wanted_boxes, wanted) = (way(one, placement, rules) for way in (selected, in_torch))
    pairs = zip((boxes, *kept), (wanted_boxes, *wanted), strict=True)
    for found, right in pairs:
        assert found.dtype == right.dtype
        np.testing.assert_array_equal(found.numpy(), right.numpy(), err_msg=str(rules))
    return len(boxes)


RULES = [
    NmsRules(conf, 0.45, kind, 0.8, multi_label=multi, agnostic=agnostic, max_det=most, classes=classes)
    for kind, multi, agnostic, (conf, most, classes) in product(
        KINDS, (False, True), (False, True), ((0.25, 300, None), (0.001, 40, (0, 2)), (0.0, 5, None))
    )
]


@pytest.mark.parametrize("style", ["plain", "ties", "odd"])
def test_every_rule_gives_what_the_code_in_torch_gives(style: str) -> None:
    """Thresholds, kinds, classes, limits, on many small images."""
    stay = 0
    for seed, (number, rules) in product((0, 2), enumerate(RULES)):
        one = predictions(seed * 100 + number, boxes=5 + 40 * seed, classes=3 + number % 3, style=style)
        stay += check_equal(one, PLACEMENTS[number % 2], rules)
    assert stay > 1000


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_boxes(kind: str) -> None:
    """More candidates than are sorted at a time, with and without a limit that is reached."""
    one = predictions(7, boxes=1500, classes=2, style="plain")
    for most in (30, 30000):
        rules = NmsRules(0.001, 0.65, kind, multi_label=True, max_det=most)
        assert check_equal(one, PLACEMENTS[0], rules) >= 30


def test_no_boxes_and_no_candidates() -> None:
    """Nothing in, nothing out."""
    for boxes, conf in ((0, 0.1), (20, 1.0)):
        for kind in KINDS:
            rules = NmsRules(conf, 0.5, kind, multi_label=True)
            assert (
                check_equal(predictions(1, boxes=boxes, classes=3, style="plain"), PLACEMENTS[1], rules) == 0
            )


def test_an_overlap_at_the_threshold_does_not_suppress() -> None:
    """Two boxes that share exactly half of their union, and the distance term likewise."""
    boxes = torch.tensor([[2, 2, 4, 4], [2, 3, 4, 2], [40, 40, 2, 2]], dtype=torch.float32)
    for iou, stay in ((0.5, 3), (0.49, 2)):
        rules = ChoiceRules(0.1, iou, True, 10)
        found = choose_boxes(
            boxes.numpy(), np.float32([[0.9], [0.8], [0.7]]), objectness=np.ones(3, np.float32), rules=rules
        )
        assert found is not None and len(found.numbers) == stay


def test_torch_decides_where_powers_are_too_close_to_the_threshold() -> None:
    """The term of the distance is a power, which mathematical libraries round otherwise."""
    boxes = np.float32([[0, 0, 2, 2], [0, 1, 2, 2]])
    ratio = 1 / (2**2 + 3**2)
    rules = ChoiceRules(0.1, 1 / 3 - ratio**0.6, False, 10, exponent=0.6)
    given = {"objectness": np.ones(2, np.float32)}
    assert choose_boxes(boxes, np.float32([[1], [0.5]]), **given, rules=rules) is None
    clear = choose_boxes(boxes, np.float32([[1], [0.5]]), **given, rules=rules._replace(iou=0.05))
    assert clear is not None and clear.numbers.tolist() == [0]


def test_a_kept_class_of_a_matrix_of_scores() -> None:
    """`darknet_nms` on float64 takes the suppression from C++ alone."""
    random = np.random.default_rng(0)
    boxes = torch.tensor(random.uniform(0, 1, (300, 4)) * [1, 1, 0.3, 0.3])
    scores = torch.tensor(random.uniform(0, 1, (300, 3)).round(1))
    for kind in ("default", "greedynms", "diounms", "cornersnms"):
        found = darknet_nms(boxes, scores, iou=0.3, kind=kind, beta=0.7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nms, "suppress", lambda *_, **__: None)
            assert torch.equal(found, darknet_nms(boxes, scores, iou=0.3, kind=kind, beta=0.7))
        assert 0 < int((found > 0).sum()) < int((scores > 0).sum())


def test_without_the_library_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel without C++ code."""
    monkeypatch.setattr(native_nms, "find_library", lambda: None)
    native_nms._load_functions.cache_clear()
    try:
        one = predictions(3, boxes=50, classes=2, style="plain")
        assert len(detect_nms.yolor_detections(one, PLACEMENTS[1], rules=NmsRules(kind="yolor"))[0]) > 3
        assert native_code.find_library() is not None
    finally:
        native_nms._load_functions.cache_clear()
