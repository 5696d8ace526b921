"""COCO's metrics against the published references and against COCO's rules."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from bench_scoring import generate_case, largest_difference
from truths import found, random_case, truth

from yolor_cfg.data.types import Dataset, Sample
from yolor_cfg.errors import CfgError, DataError, MissingExtra
from yolor_cfg.evaluate import coco
from yolor_cfg.evaluate.coco import METRICS, score_coco
from yolor_cfg.evaluate.ground_truth import coco_ground_truth, dataset_ground_truth, no_detections
from yolor_cfg.evaluate.results import read_results
from yolor_cfg.evaluate.scores import MetricOptions, score_detections, scores_to_dict

REFERENCES = {
    "val": ("coco_mini/gt_val.json", "coco_mini/results_val.json", "coco_mini/expected_val.json", "stats"),
    "train": (
        "coco_mini/gt_train.json",
        "coco_mini/results_train.json",
        "coco_mini/expected_train.json",
        "stats",
    ),
    "fakebbox100": (
        "fakebbox100/gt.json",
        "fakebbox100/results.json",
        "fakebbox100/expected.json",
        "expected_with_area_wh",
    ),
}
FAST = [
    pytest.param(
        engine,
        marks=pytest.mark.skipif(coco.find_spec(package) is None, reason=f"needs {package}"),
    )
    for engine, package in (("hotcoco", "hotcoco"), ("faster", "faster_coco_eval"))
]
ROUNDING = {"hotcoco": 0.0, "faster": 1e-12}  # faster-coco-eval sums in another order


def reference(shared: Path, name: str) -> tuple:
    truths, results, expected, key = (REFERENCES[name][i] for i in range(4))
    ground = coco_ground_truth(shared / "eval" / truths)
    wanted = json.loads((shared / "eval" / expected).read_text())
    detections = read_results(shared / "eval" / results, ground)
    return ground, detections, wanted[key], wanted["per_category_AP_AP50"]


@pytest.mark.parametrize("engine", ["pycocotools", *FAST])
@pytest.mark.parametrize("name", REFERENCES)
def test_the_published_reference_metrics_are_reproduced(shared: Path, name: str, engine: str) -> None:
    ground, detections, numbers, categories = reference(shared, name)
    scores = score_coco(ground, detections, engine=engine)
    assert scores.engine == engine
    assert scores.numbers == pytest.approx(numbers, abs=1e-9)
    assert len(categories) == len(ground.category_ids)
    ours = {str(key): scores.categories[k, :2].tolist() for k, key in enumerate(ground.category_ids)}
    for key, pair in categories.items():
        assert ours[key] == pytest.approx(pair, abs=1e-9), key


def test_fakebbox100_gives_the_official_rows_that_do_not_depend_on_area(shared: Path) -> None:
    ground, detections, _, _ = reference(shared, "fakebbox100")
    expected = json.loads((shared / "eval/fakebbox100/expected.json").read_text())
    scores = score_coco(ground, detections)
    rows = expected["official_rows_that_must_match"]
    assert len(rows) == 6
    assert {row: round(scores.numbers[row], 3) for row in rows} == {
        row: expected["official_3_digits"][row] for row in rows
    }


@pytest.mark.parametrize("engine", ["pycocotools", *FAST])
def test_scoring_prints_nothing(engine: str, capfd: pytest.CaptureFixture) -> None:
    score_coco(*random_case(0), engine=engine)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ["pycocotools", *FAST])
def test_perfect_detections_score_1(engine: str) -> None:
    box = (0, 0, 10.0, 10.0, 20.0, 20.0)
    scores = score_coco(truth([box]), found([(0, 0, 0.9, *box[2:])]), engine=engine)
    assert scores.numbers["AP"] == pytest.approx(1)
    assert scores.numbers["APl"] == -1
    assert scores.categories[:, 0].tolist() == pytest.approx([1, -1])


@pytest.mark.parametrize("engine", ["pycocotools", *FAST])
def test_without_detections_ap_is_0_and_without_boxes_undefined(engine: str) -> None:
    some = truth([(0, 0, 10, 10, 20, 20)])
    scores = score_coco(some, no_detections(), engine=engine)
    assert (scores.numbers["AP"], scores.numbers["AR100"]) == (0, 0)
    nothing = score_coco(truth([]), found([(0, 0, 0.9, 1, 1, 5, 5)]), engine=engine)
    assert set(nothing.numbers.values()) == {-1}
    assert nothing.categories.tolist() == [[-1] * 6] * 2


def test_images_without_detections_count() -> None:
    boxes = [(0, 0, 10, 10, 20, 20), (1, 0, 10, 10, 20, 20)]
    detections = found([(0, 0, 0.9, 10, 10, 20, 20)])
    # Recall reaches 0.5, so the precision is 1 at 51 of the 101 recalls.
    assert score_coco(truth(boxes, images=2), detections).numbers["AP50"] == pytest.approx(51 / 101)


@pytest.mark.parametrize("ids", [(10, 9), ("b", "a")])
def test_equal_scores_rank_by_the_id_of_the_image(ids: tuple[int, ...]) -> None:
    """pycocotools (cocoeval.py: p.imgIds = list(np.unique(p.imgIds))) sorts the ids, whatever the file's
    order: the right detection comes first, so AP is 1; in the order of the file it would be .5."""
    ground = truth([(1, 0, 10, 10, 20, 20)], images=2)._replace(image_ids=ids)
    detections = found([(0, 0, 0.9, 10, 10, 20, 20), (1, 0, 0.9, 10, 10, 20, 20)])
    assert score_coco(ground, detections, engine="pycocotools").numbers["AP50"] == pytest.approx(1)
    swapped = ground._replace(image_ids=ids[::-1])
    assert score_coco(swapped, detections, engine="pycocotools").numbers["AP50"] == pytest.approx(0.5)


def test_a_detection_in_a_crowd_is_no_false_positive() -> None:
    boxes = [(0, 0, 10, 10, 20, 20), (0, 0, 50, 50, 40, 40, 1)]
    detections = found([(0, 0, 0.95, 55, 55, 20, 20), (0, 0, 0.9, 10, 10, 20, 20)])
    assert score_coco(truth(boxes), detections).numbers["AP"] == pytest.approx(1)


def test_true_areas_decide_what_is_small() -> None:
    ground = truth([(0, 0, 0, 0, 40, 40)])
    detections = found([(0, 0, 0.9, 0, 0, 40, 40)])
    assert score_coco(ground, detections).numbers["APs"] == -1
    slim = ground._replace(areas=np.array([900.0]))
    assert score_coco(slim, detections).numbers["APs"] == pytest.approx(1)


def test_a_data_set_gives_the_numbers_of_the_json_it_came_from(shared: Path) -> None:
    ground, detections, numbers, _ = reference(shared, "val")
    samples = []
    for i, (height, width) in enumerate(ground.sizes):
        rows = ground.images == i
        corner, size = ground.boxes_ltwh[rows, :2], ground.boxes_ltwh[rows, 2:]
        boxes = np.concatenate([corner + size / 2, size], axis=1) / [width, height, width, height]
        samples.append(
            Sample(
                ground.files[i],
                boxes.astype(np.float32),
                ground.classes[rows],
                np.full(rows.sum(), -1),
                ground.crowd[rows],
                ground.areas[rows].astype(np.float32),
                ground.image_ids[i],
                (height, width),
                ground.difficult[rows],
            )
        )
    again = dataset_ground_truth(
        Dataset(ground.names, tuple(samples), "made here", "coco", (), ground.category_ids)
    )
    assert again.category_ids == ground.category_ids
    assert score_coco(again, detections).numbers == pytest.approx(numbers, abs=1e-6)


def test_a_faster_engine_must_be_installed_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "find_spec", lambda name: None)
    assert coco.choose_engine("auto") == "pycocotools"
    with pytest.raises(MissingExtra, match=r"yolor-cfg\[eval\]"):
        coco.choose_engine("hotcoco")
    with pytest.raises(MissingExtra, match="pip install faster-coco-eval"):
        coco.choose_engine("faster")
    with pytest.raises(CfgError, match="engine"):
        coco.choose_engine("slow")


def test_auto_takes_hotcoco_then_faster_coco_eval_and_no_hotcoco_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coco, "find_spec", lambda name: name)
    for number, engine in (("1.3.0", "hotcoco"), ("1.10.1", "hotcoco"), ("1.2.9", "faster")):
        monkeypatch.setattr(coco, "version", lambda name, number=number: number)
        assert coco.choose_engine("auto") == engine


@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("seed", range(8))
def test_the_fast_engines_give_the_numbers_of_pycocotools(engine: str, seed: int) -> None:
    """Crowds, equal scores, areas at the bounds, images and classes without boxes, 150 detections in one."""
    case = generate_case(seed, images=1 + 3 * (seed % 4), classes=1 + seed % 3)
    assert len(case[1]) > 100 and case[0].crowd.sum() < len(case[0].crowd)
    slow, fast = (score_coco(*case, engine=name) for name in ("pycocotools", engine))
    assert largest_difference(fast, slow) <= ROUNDING[engine]


@pytest.mark.parametrize("engine", FAST)
def test_boxes_without_size_and_far_away_count_as_with_pycocotools(engine: str) -> None:
    boxes = [(0, 0, 10, 10, 0, 0), (0, 0, 5, 5, 30, 30), (1, 1, 1e7, 1e7, 32, 32), (1, 0, 3, 3, 96, 96, 1)]
    rows = [(image, label, 0.5, *box) for image, label, *box in (box[:6] for box in boxes)]
    rows += [(0, 0, 0.5, -40, -40, 90, 90), (1, 0, 0, 3, 3, 1e6, 1e6), (1, 1, 1, 1e7, 1e7, 32, 32.5)]
    case = truth(boxes, images=3), found(rows)
    slow, fast = (score_coco(*case, engine=name) for name in ("pycocotools", engine))
    assert 0 < slow.numbers["AP"] < 1
    assert largest_difference(fast, slow) <= ROUNDING[engine]


def test_the_document_is_json_without_nan_and_names_every_number() -> None:
    ground, detections = random_case(1)
    ground = ground._replace(names=(*ground.names, "never"), category_ids=(*ground.category_ids, 99))
    scores = score_detections(ground, detections, metric_options=MetricOptions("pycocotools"))
    value = json.loads(json.dumps(scores_to_dict(scores, ground), allow_nan=False))
    assert tuple(value["coco"]) == METRICS
    assert value["per_category"]["99"]["AP"] == -1
    assert value["per_category"]["99"]["P"] is None
    assert value["images"] == 6 and value["objects"] == 25 and value["detections"] == 50


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not valid JSON"),
        ("[]", "not COCO ground truth"),
        ('{"images": [], "annotations": []}', "not COCO"),
        (
            '{"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}],'
            ' "annotations": [{"image_id": 1}]}',
            "bbox: not four numbers",
        ),
        ("\x80", "not UTF-8 text|not valid JSON"),
    ],
)
def test_a_file_that_is_not_ground_truth_is_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "gt.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=word) as caught:
        coco_ground_truth(path)
    assert caught.value.path == str(path)


def test_scoring_files_needs_no_torch(shared: Path) -> None:
    import subprocess

    code = (
        "import sys; from yolor_cfg.evaluate import ground_truth, results, scores\n"
        "import yolor_cfg.report.tables, yolor_cfg.cli.test\n"
        f"g = ground_truth.coco_ground_truth({str(shared / 'eval/fakebbox100/gt.json')!r})\n"
        f"d = results.read_results({str(shared / 'eval/fakebbox100/results.json')!r}, g)\n"
        "scores.scores_to_dict(scores.score_detections(g, d), g)\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
