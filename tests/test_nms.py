"""Suppression against loops written out box by box, against golden detections, and at its edges."""

import importlib.util
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from yolor_cfg.ops.boxes import distance_term, iou, iou_matrix, to_xywh, to_xyxy
from yolor_cfg.ops.nms import YolorNmsRules, darknet_nms, yolor_nms

Box = tuple[float, float, float, float]


def corners(box: Box) -> Box:
    x, y, w, h = box
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def plain_overlap(a: Box, b: Box) -> float:
    left, top, right, bottom = corners(a)
    left2, top2, right2, bottom2 = corners(b)
    width = min(right, right2) - max(left, left2)
    height = min(bottom, bottom2) - max(top, top2)
    if width <= 0 or height <= 0:
        return 0.0
    union = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - width * height
    return width * height / union


def distance_overlap(a: Box, b: Box, exponent: float) -> float:
    left, top, right, bottom = corners(a)
    left2, top2, right2, bottom2 = corners(b)
    diagonal = (max(right, right2) - min(left, left2)) ** 2 + (max(bottom, bottom2) - min(top, top2)) ** 2
    if diagonal == 0:
        return plain_overlap(a, b)
    distance = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    return plain_overlap(a, b) - (distance / diagonal) ** exponent


def kept_one_by_one(boxes: list[Box], scores: list[float], over: Callable[[Box, Box], bool]) -> set[int]:
    """The definition: by falling score, a box stays unless one that stays is over it."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if scores[i] != 0 and not any(over(boxes[j], boxes[i]) for j in kept):
            kept.append(i)
    return set(kept)


# Coordinates on a coarse grid, so that equal boxes, touching boxes, empty boxes and equal scores are common.
COORDINATE = st.integers(0, 12).map(float)
BOXES = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), min_size=1, max_size=30)
KINDS: dict[str, Callable[[Box, Box], float]] = {
    "default": plain_overlap,
    "cornersnms": plain_overlap,
    "greedynms": lambda a, b: distance_overlap(a, b, 0.6),
    "diounms": lambda a, b: distance_overlap(a, b, 0.9),
}


def tensor_of(boxes: list[Box]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


@settings(max_examples=150)
@given(st.data(), st.sampled_from(sorted(KINDS)), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.71]))
def test_darknet_keeps_what_the_written_out_loop_keeps_in_every_class(
    data: st.DataObject, kind: str, threshold: float
) -> None:
    boxes = data.draw(BOXES)
    row = st.lists(st.integers(0, 5).map(lambda n: n / 8), min_size=3, max_size=3)
    scores = torch.tensor(data.draw(st.lists(row, min_size=len(boxes), max_size=len(boxes))))
    left = darknet_nms(tensor_of(boxes), scores, iou=threshold, kind=kind, beta=0.9)
    for label in range(3):
        column = scores[:, label].tolist()
        kept = kept_one_by_one(boxes, column, lambda a, b: KINDS[kind](a, b) > threshold)
        assert left[:, label].tolist() == [column[i] if i in kept else 0 for i in range(len(boxes))]


@settings(max_examples=150)
@given(data=st.data(), agnostic=st.booleans(), multi_label=st.booleans(), most=st.sampled_from([1, 4, 300]))
def test_yolor_keeps_what_the_written_out_loop_keeps(
    data: st.DataObject, agnostic: bool, multi_label: bool, most: int
) -> None:
    boxes = data.draw(BOXES)
    row = st.lists(st.integers(0, 16).map(lambda n: n / 16), min_size=3, max_size=3)
    rows = data.draw(st.lists(row, min_size=len(boxes), max_size=len(boxes)))
    wanted = data.draw(st.none() | st.sets(st.integers(0, 2)).map(tuple))
    value = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    seen = data.draw(st.lists(value, min_size=len(boxes), max_size=len(boxes)))
    kept = yolor_nms(
        tensor_of(boxes),
        torch.tensor(rows, dtype=torch.float64),
        objectness=torch.tensor(seen, dtype=torch.float64),
        rules=YolorNmsRules(0.2, 0.3, multi_label, agnostic, most, wanted),
    )
    pairs = [
        (row[label] * seen[i], i, label)
        for i, row in enumerate(rows)
        for label in range(3)
        if seen[i] > 0.2
        and row[label] * seen[i] > 0.2
        and (multi_label or label == row.index(max(row)))
        and (wanted is None or label in wanted)
    ]
    expected: list[tuple[float, int, int]] = []
    for pair in sorted(pairs, key=lambda pair: -pair[0]):
        rivals = [other for other in expected if agnostic or other[2] == pair[2]]
        if all(not plain_overlap(boxes[other[1]], boxes[pair[1]]) > 0.3 for other in rivals):
            expected.append(pair)
    assert kept.scores.tolist() == [score for score, _, _ in expected[:most]]
    assert kept.classes.tolist() == [label for _, _, label in expected[:most]]
    assert kept.boxes_xyxy.tolist() == [list(corners(boxes[i])) for _, i, _ in expected[:most]]


@pytest.fixture(scope="module")
def made(shared: Path) -> ModuleType:
    """The program that draws the golden inputs from their seeds."""
    spec = importlib.util.spec_from_file_location("make_state", shared / "golden/yolor/make_state.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["agnostic_5", "classes_80_best", "detect_5", "test_3_cap"])
def test_yolor_finds_the_golden_detections(name: str, shared: Path, made: ModuleType) -> None:
    case = json.loads((shared / f"golden/yolor/nms/{name}.json").read_text())
    images = torch.from_numpy(made.make_decoded(**case["decoded"]))
    args = case["args"]
    rules = YolorNmsRules(
        args["conf_thres"],
        args["iou_thres"],
        args["multi_label"],
        args["agnostic"],
        args["max_det"],
        None if args["classes"] is None else tuple(args["classes"]),
    )
    golden = np.load(shared / f"golden/yolor/nms/{name}.npz")
    for number, image in enumerate(images):
        kept = yolor_nms(image[:, :4], image[:, 5:], objectness=image[:, 4], rules=rules)
        found = torch.cat([kept.boxes_xyxy, kept.scores[:, None], kept.classes[:, None]], dim=1)
        np.testing.assert_allclose(found.numpy(), golden[f"image{number}"], atol=1e-3)


@pytest.mark.parametrize("name", ["yolov4-tiny", "yolov4", "yolov7-tiny", "yolov4x-mish", "yolo-fastest-1.1"])
def test_the_golden_boxes_of_a_cfgs_own_kind_survive_it_but_not_plain_nms(name: str, shared: Path) -> None:
    case = json.loads((shared / f"golden/darknet/{name}.json").read_text())["boxes"]["cfg_nms"]
    rows = torch.from_numpy(np.load(shared / f"golden/darknet/{name}.npz")["boxes_cfgnms"])
    scores = torch.zeros(len(rows), int(rows[:, 5].max()) + 1)
    scores[torch.arange(len(rows)), rows[:, 5].long()] = rows[:, 6]
    left = darknet_nms(rows[:, :4], scores, iou=0.45, kind=case["nms_kind"], beta=case["beta_nms"])
    plain = darknet_nms(rows[:, :4], scores, iou=0.45)
    assert torch.equal(left, scores)
    assert (plain > 0).sum() < len(rows)


def test_classes_stay_apart_where_an_offset_of_4096_pixels_would_merge_them() -> None:
    boxes = torch.tensor([[4196.0, 50, 80, 80], [100.0, 50, 80, 80]])
    kept = yolor_nms(
        boxes, torch.tensor([[0.9, 0.0], [0.0, 0.8]]), objectness=torch.ones(2), rules=YolorNmsRules(0.1, 0.5)
    )
    assert kept.classes.tolist() == [0, 1]


def test_no_box_gives_no_detection_and_keeps_the_shapes() -> None:
    rules = YolorNmsRules(0.1, 0.5)
    kept = yolor_nms(torch.zeros(0, 4), torch.zeros(0, 80), objectness=torch.zeros(0), rules=rules)
    assert [tuple(values.shape) for values in kept] == [(0, 4), (0,), (0,)]
    assert darknet_nms(torch.zeros(0, 4), torch.zeros(0, 80), iou=0.5).shape == (0, 80)


def test_boxes_that_are_not_numbers_suppress_nothing() -> None:
    boxes = torch.tensor([[math.nan, 0, 1, 1], [0, 0, math.inf, 1], [0, 0, 1.0, 1], [0, 0, 1.0, 1]])
    left = darknet_nms(boxes, torch.tensor([[0.9], [0.8], [0.7], [0.6]]), iou=0.5, kind="greedynms")
    assert (left > 0)[:, 0].tolist() == [True, True, True, False]


def test_a_thousand_candidates_in_eighty_classes_take_two_seconds_at_most(one_thread: None) -> None:
    """Usual are 40 ms; a loop over pairs would take minutes."""
    rng = torch.Generator().manual_seed(0)
    boxes = torch.rand(50, 4, generator=rng).repeat(20, 1) + torch.rand(1000, 4, generator=rng) * 0.02
    start = time.thread_time()
    darknet_nms(boxes, torch.rand(1000, 80, generator=rng), iou=0.45, kind="greedynms")
    assert time.thread_time() - start < 2


def test_overlap_of_two_boxes_is_shared_area_by_joint_area() -> None:
    a, b = torch.tensor([0.0, 0, 4, 2]), torch.tensor([2.0, 1, 6, 3])
    assert iou(a, b) == pytest.approx(2 / (8 + 8 - 2))
    assert iou_matrix(a[None], torch.stack([a, b, b + 4])).tolist() == [[1, pytest.approx(1 / 7), 0]]


def test_distance_term_is_a_power_of_squared_distance_by_squared_diagonal() -> None:
    a, b = torch.tensor([0.0, 0, 4, 2]), torch.tensor([2.0, 1, 6, 3])
    assert distance_term(a, b, exponent=0.6) == pytest.approx(((2**2 + 1**2) / (6**2 + 3**2)) ** 0.6)
    point = torch.tensor([1.0, 1, 1, 1])
    assert distance_term(point, point, exponent=0.6) == 0


def test_corners_and_centres_are_two_forms_of_one_box() -> None:
    boxes = torch.tensor([[5.0, 6, 4, 2], [0.0, 0, 1, 3]])
    assert to_xyxy(boxes).tolist() == [[3, 5, 7, 7], [-0.5, -1.5, 0.5, 1.5]]
    assert torch.equal(to_xywh(to_xyxy(boxes)), boxes)
