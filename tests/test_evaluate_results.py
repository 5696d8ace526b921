"""Detections from files: what is read, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from truths import found, truth

from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.coco import score_coco
from yolor_cfg.evaluate.results import parse_coco_results, read_results, to_coco_results

GROUND = truth([(0, 0, 10, 10, 20, 20), (1, 1, 30, 30, 40, 20)], images=2)  # ids 10, 11; categories 1, 2
GOOD = {"image_id": 11, "category_id": 2, "bbox": [30, 30, 40, 20], "score": 0.5}


def test_results_have_the_indices_of_the_ground_truth() -> None:
    assert parse_coco_results([GOOD], GROUND, path="r").tolist() == [[1, 30, 30, 40, 20, 0.5, 1]]


def test_ids_may_be_strings() -> None:
    ground = GROUND._replace(image_ids=("000010", "b"))
    rows = [GOOD | {"image_id": "b"}, GOOD | {"image_id": "000010", "category_id": "1"}]
    assert parse_coco_results(rows, ground, path="r")[:, [0, 6]].tolist() == [[1, 1], [0, 0]]


def named(image: str, category: int) -> dict[str, object]:
    return GOOD | {"image_id": image, "category_id": category}


def test_images_without_ids_are_matched_by_file_name_and_told() -> None:
    said: list[str] = []
    rows = parse_coco_results([named("p1", 1), named("p0", 0)], GROUND, path="r", say=said.append)
    assert rows[:, [0, 6]].tolist() == [[1, 1], [0, 0]]
    assert said == [
        "r: images are matched by file name, categories by class ids from 0: the ground truth has other ids"
    ]
    rows = parse_coco_results([named("p1", 1), named("p0", 2)], GROUND, path="r", say=said.append)
    assert rows[:, [0, 6]].tolist() == [[1, 0], [0, 1]]
    assert said[1:] == ["r: images are matched by file name: the ground truth has other ids"]


def test_nothing_is_matched_by_guess() -> None:
    twice = GROUND._replace(files=("a/p0.jpg", "b/p0.jpg"))
    for names, ground in ((("p0", "p0"), twice), (("p0", "10"), GROUND), (("p0", "p7"), GROUND)):
        with pytest.raises(DataError, match="no such image"):
            parse_coco_results([named(name, 0) for name in names], ground, path="r")
    with pytest.raises(DataError, match="class ids from 0 or the ids of the ground truth\n  found:   1\n"):
        parse_coco_results([named("p0", 1)], GROUND, path="r")


def test_written_results_are_read_back() -> None:
    rows = found([(0, 1, 0.123456, 1.23456, 2, 3, 4), (1, 0, 0.9, 5, 6, 7, 8)])
    again = parse_coco_results(json.loads(json.dumps(to_coco_results(rows, GROUND))), GROUND, path="r")
    expected = found([(0, 1, 0.12346, 1.235, 2, 3, 4), (1, 0, 0.9, 5, 6, 7, 8)])
    np.testing.assert_allclose(again, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 12}, ["no such image", "12"]),
        ({"image_id": None}, ["no such image", "None"]),
        ({"image_id": [11]}, ["no such image"]),
        ({"category_id": 0}, ["no such category", "1..2", "from 0"]),
        ({"category_id": 80}, ["no such category", "80"]),
        ({"bbox": [1, 2, 3]}, ["result 1", "left, top, width, height"]),
        ({"bbox": [9, 9, -3, 4]}, ["result 1", "two corners"]),
        ({"bbox": [1, 2, float("nan"), 4]}, ["result 1"]),
        ({"score": "high"}, ["result 1", "score high"]),
        ({"score": float("nan")}, ["result 1"]),
    ],
)
def test_a_faulty_result_is_reported(change: dict, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse_coco_results([GOOD, GOOD | change], GROUND, path="results.json")
    assert [word for word in ("results.json", *words) if word not in str(caught.value)] == []


@pytest.mark.parametrize("document", [{"annotations": []}, [GOOD, [1, 2]], [{"image_id": 11}], "text", [7]])
def test_malformed_results_are_refused(document: object) -> None:
    with pytest.raises(DataError):
        parse_coco_results(document, GROUND, path="r")


def darknet_line(name: str, score: float, box_ltwh: tuple[float, ...]) -> str:
    """As `detector valid` prints a box inside its image: 1 is added to every side."""
    left, top, width, height = box_ltwh
    return f"{name} {score:f} {left + 1:f} {top + 1:f} {left + width + 1:f} {top + height + 1:f}\n"


def test_files_of_darknet_valid_are_read_by_class(tmp_path: Path) -> None:
    (tmp_path / "comp4_det_test_a.txt").write_text(darknet_line("p0", 0.9, (10, 10, 20, 20)))
    (tmp_path / "comp4_det_test_b.txt").write_text(darknet_line("p1", 0.8, (30, 30, 40, 20)) + "\n")
    (tmp_path / "notes.txt").write_text("not a class\n")
    rows = read_results(tmp_path, GROUND)
    np.testing.assert_allclose(rows, found([(0, 0, 0.9, 10, 10, 20, 20), (1, 1, 0.8, 30, 30, 40, 20)]))
    assert score_coco(GROUND, rows).numbers["AP"] == pytest.approx(1)
    one = read_results(tmp_path / "comp4_det_test_b.txt", GROUND)
    np.testing.assert_allclose(one, rows[1:])


def test_image_names_may_have_spaces_and_the_longest_class_name_counts(tmp_path: Path) -> None:
    ground = GROUND._replace(files=("x/my dog.jpg", "x/b.jpg"), names=("dog", "hot dog"))
    (tmp_path / "comp4_det_test_hot dog.txt").write_text(darknet_line("my dog", 0.5, (1, 2, 3, 4)))
    np.testing.assert_allclose(read_results(tmp_path, ground), found([(0, 1, 0.5, 1, 2, 3, 4)]))
    ground = ground._replace(names=("dog", "hot_dog"))
    (tmp_path / "one").mkdir()
    path = tmp_path / "one" / "comp4_det_test_hot_dog.txt"
    path.write_text(darknet_line("b", 0.5, (1, 2, 3, 4)))
    assert read_results(path, ground)[0, 6] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p0 0.9 1 2 3\n", ["comp4_det_test_a.txt:1", "detector valid"]),
        ("\np0 0.9 1 2 3 x\n", ["comp4_det_test_a.txt:2"]),
        ("p7 0.9 1 2 3 4\n", ["no such image", "p7"]),
    ],
)
def test_a_faulty_darknet_line_is_reported(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "comp4_det_test_a.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        read_results(tmp_path, GROUND)
    assert [word for word in words if word not in str(caught.value)] == []


def test_files_of_unknown_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "comp4_det_test_zebra.txt"
    path.write_text("")
    for place in (tmp_path, path):
        with pytest.raises(DataError, match="named after a class"):
            read_results(place, GROUND)
    path.rename(tmp_path / "comp4_det_test_a.txt")
    assert read_results(tmp_path, GROUND).shape == (0, 7)
    with pytest.raises(DataError, match="no such file"):
        read_results(tmp_path / "absent.json", GROUND)
