"""`yolor test`: what it prints, what it writes and how it refuses."""

import csv
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_detector as tiny
from click.testing import Result

from yolor_cfg import cli
from yolor_cfg.data.shapes import NAMES
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.evaluate.coco import METRICS
from yolor_cfg.evaluate.curves import AXIS, compute_curves
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth, coco_ground_truth
from yolor_cfg.evaluate.results import read_results
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.loading import load

FILES = {
    "metrics.json",
    "run.json",
    "report.html",
    "predictions.json",
    "per_class.csv",
    "confusion_matrix.png",
    "PR_curve.png",
    "P_curve.png",
    "R_curve.png",
    "F1_curve.png",
}


@pytest.fixture(autouse=True)
def command(blank_charts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cli.COMMANDS, "test", "yolor_cfg.cli.test:test")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[tiny.Files, Path]:
    """A tiny network and a synthetic data set with its classes."""
    folder = tmp_path_factory.mktemp("network")
    data = write_shapes(folder / "shapes", ShapesOptions(20, (120, 160)))
    return tiny.write(folder, tiny.text(classes=len(NAMES))), data


def run(*args: object) -> Result:
    return tiny.yolor("test", *args)


def on_files(shared: Path, *args: object, name: str = "val") -> Result:
    folder = shared / "eval/coco_mini"
    truth = folder / f"gt_{name}.json"
    return run("--predictions", folder / f"results_{name}.json", "--annotations", truth, *args)


@pytest.mark.parametrize(
    ("results", "truth", "expected", "key"),
    [
        ("coco_mini/results_val.json", "coco_mini/gt_val.json", "coco_mini/expected_val.json", "stats"),
        ("coco_mini/results_train.json", "coco_mini/gt_train.json", "coco_mini/expected_train.json", "stats"),
        (
            "fakebbox100/results.json",
            "fakebbox100/gt.json",
            "fakebbox100/expected.json",
            "expected_with_area_wh",
        ),
    ],
)
def test_results_files_give_the_12_metrics(
    shared: Path, results: str, truth: str, expected: str, key: str
) -> None:
    folder = shared / "eval"
    result = run("--predictions", folder / results, "--annotations", folder / truth, "--json")
    assert result.exit_code == 0, result.output
    value, wanted = json.loads(result.stdout), json.loads((folder / expected).read_text())
    assert tuple(value["coco"]) == METRICS
    assert value["coco"] == pytest.approx(wanted[key], abs=5e-7)
    assert len(wanted["per_category_AP_AP50"]) > 70
    for category, pair in wanted["per_category_AP_AP50"].items():
        row = value["per_category"][category]
        assert [row["AP"], row["AP50"]] == pytest.approx(pair, abs=5e-7)
    assert not Path("runs").exists()


def test_the_tables_show_cocos_lines_and_each_class_on_demand(shared: Path) -> None:
    result = on_files(shared)
    assert result.exit_code == 0
    assert "AP    0.50:0.95  all            100  0.466" in result.stdout
    assert "bicycle" not in result.stdout
    assert "bicycle" in on_files(shared, "--per-class").stdout


def test_scores_of_files_are_written_on_demand(shared: Path) -> None:
    assert on_files(shared, "--save").exit_code == 0
    assert {path.name for path in Path("runs/test/exp").iterdir()} == FILES


def test_without_matplotlib_the_numbers_are_written_as_csv(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = on_files(shared, "--save")
    assert result.exit_code == 0, result.output
    assert "pip install 'yolor-cfg[plot]'; the numbers are in the folder's .csv files" in result.stderr
    folder = Path("runs/test/exp")
    assert {path.name for path in folder.iterdir()} == {name.replace(".png", ".csv") for name in FILES}
    header, *rows = csv.reader((folder / "PR_curve.csv").open())
    assert header[0] == "recall" and header[-1] == "all" and "bicycle" in header
    assert len(rows) == 1001 and all(0 <= float(row[-1]) <= 1 for row in rows)
    header, *rows = csv.reader((folder / "confusion_matrix.csv").open())
    assert header[1:] == [row[0] for row in rows] and header[-1] == "background"
    assert sum(int(cell) for row in rows for cell in row[1:]) > 100


def test_no_detections_score_0_with_a_message(shared: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    truth = shared / "eval/coco_mini/gt_val.json"
    result = run("--predictions", empty, "--annotations", truth, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["coco"]["AP"] == 0
    assert "no detections" in result.stderr


def test_results_of_other_images_are_refused_with_exit_code_3(shared: Path) -> None:
    folder = shared / "eval"
    result = run(
        "--predictions",
        folder / "coco_mini/results_train.json",
        "--annotations",
        folder / "coco_mini/gt_val.json",
    )
    assert result.exit_code == 3
    assert "no such image" in result.stderr and "results_train.json" in result.stderr


def test_files_that_are_not_there_or_not_json_are_refused(shared: Path, tmp_path: Path) -> None:
    truth = shared / "eval/coco_mini/gt_val.json"
    (tmp_path / "broken.json").write_text("{")
    for pair in (("absent.json", truth), ("broken.json", truth), (truth, truth), (truth, "no.json")):
        result = run("--predictions", pair[0], "--annotations", pair[1])
        assert result.exit_code == 3, result.output
        assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("a.cfg",),
        ("a.cfg", "a.weights"),
        ("--predictions", "r.json"),
        ("--annotations", "g.json"),
        ("a.cfg", "--predictions", "r.json", "--annotations", "g.json"),
        ("--predictions", "r.json", "--annotations", "g.json", "--data", "d.data"),
    ],
)
def test_incomplete_arguments_are_a_usage_error(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "--predictions and --annotations" in result.stderr


@pytest.mark.parametrize("dialect", ["darknet", "yolor"])
def test_a_network_is_tested_and_its_files_give_the_same_numbers_again(
    network: tuple[tiny.Files, Path], dialect: str
) -> None:
    files, data = network
    result = run(*files, "--data", data, "--dialect", dialect, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["images"] == 4 and value["detections"] > 0
    assert min(value["speed_ms"].values()) > 0
    folder = Path("runs/test/exp")
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "metrics.json").read_text()) == value
    assert (folder / "per_class.csv").read_text().count("\n") == 1 + len(NAMES)
    again = run("--predictions", folder / "predictions.json", "--annotations", data, "--json")
    assert json.loads(again.stdout)["coco"] == value["coco"]


def write_detections(folder: Path, files: tiny.Files, order: Sequence[int]) -> Path:
    """A data set whose labels are what the network finds, with its classes numbered in this order."""
    images = [tiny.save(folder / f"images/{seed}.png", tiny.photo(seed=seed)) for seed in range(3)]
    for image, line in zip(images, tiny.detect(files, *images, "--nosave", "--max-det", 9), strict=True):
        rows = []
        for one in line["detections"]:
            left, top, right, bottom = np.clip(np.array(one["box_xyxy"]) / [70, 50, 70, 50], 0, 1)
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            if min(box[2:]) > 0:
                rows.append(" ".join(map(str, (order.index(one["class"]), *box))))
        place = folder / "labels" / f"{image.stem}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text("\n".join(rows))
    (folder / "classes.txt").write_text("\n".join(NAMES[k] for k in order))
    return folder


def test_p_r_and_f1_are_those_of_the_best_f1_and_it_is_named(shared: Path) -> None:
    """YOLOv5's ap_per_class takes the confidence with the highest mean F1; YOLOR's 0.1, for every network."""
    metrics = json.loads(on_files(shared, "--json").stdout)
    best = metrics["yolor"]["confidence"]
    curves = compute_curves(*read_both(shared))
    means = curves.f1[curves.labels > 0].mean(axis=0)
    assert best == pytest.approx(AXIS[means.argmax()])
    assert metrics["yolor"]["f1"] == pytest.approx(means.max())
    assert {row["confidence"] for row in metrics["per_category"].values()} == {best}
    header, total = on_files(shared).stdout.splitlines()[:2]
    assert header.split()[3] == "confidence" and float(total.split()[3]) == pytest.approx(best, abs=5e-4)


def read_both(shared: Path) -> tuple[GroundTruth, Doubles]:
    folder = shared / "eval/coco_mini"
    ground = coco_ground_truth(folder / "gt_val.json")
    return ground, read_results(folder / "results_val.json", ground)


def test_without_a_right_detection_there_is_no_best_f1(network: tuple[tiny.Files, Path]) -> None:
    files, data = network
    result = run(*files, "--data", data, "--no-save", "--json", "--conf", "1")
    assert json.loads(result.stdout)["yolor"]["confidence"] == 0.1


def test_darknets_counts_are_printed_in_its_dialect_in_its_words(network: tuple[tiny.Files, Path]) -> None:
    """The lines of validate_detector_map in detector.c."""
    files, data = network
    args = (*files, "--data", data, "--split", "train", "--no-save")
    text = run(*args, "--points", "101").stdout
    by = json.loads(run(*args, "--points", "101", "--json").stdout)["darknet"]
    assert (
        f"TP = {by['true_positives']}, FP = {by['false_positives']}, FN = {by['false_negatives']}, " in text
    )
    assert f"average IoU = {by['average_iou'] * 100:.2f} %" in text
    assert f"detections_count = {by['detections']}, unique_truth_count = " in text
    assert "class_id = 0, name = disc, ap = " in text and "used 101 Recall-points" in text
    assert f"mean average precision (mAP@0.50) = {by['mAP50']:.6f}" in text
    assert "average IoU" not in run(*args, "--dialect", "yolor").stdout


def test_the_folder_is_tried_before_anything_is_computed(network: tuple[tiny.Files, Path]) -> None:
    files, data = network
    Path("file").write_text("in the way")
    started = time.perf_counter()
    result = run(files.cfg, "no.weights", "--data", data, "--project", "file/runs")
    assert result.exit_code == 1 and "choose another folder with --project" in result.stderr
    assert time.perf_counter() - started < 5
    assert run(files.cfg, "no.weights", "--data", data).exit_code == 4
    assert not Path("runs").exists()


def test_classes_of_another_order_are_matched_by_their_names(
    network: tuple[tiny.Files, Path], tmp_path: Path
) -> None:
    """The figures of a network do not depend on how a data set numbers its classes."""
    files, _ = network
    order = list(range(len(NAMES)))
    data = write_detections(tmp_path / "own", files, order)
    other = write_detections(tmp_path / "turned", files, order[1:] + order[:1])
    save_checkpoint(load(*files), tmp_path / "own.pt", names=NAMES)

    def test(*args: object) -> Result:
        return tiny.yolor("test", files.cfg, tmp_path / "own.pt", "--no-save", "--json", *args)

    want, got = json.loads(test("--data", data).stdout), test("--data", other)
    assert json.loads(got.stdout)["coco"] == want["coco"] and want["coco"]["AP50"] > 0.2
    assert "classes are numbered by their names, as in the checkpoint" in got.stderr
    assert json.loads(test("--data", other, "--by-number").stdout)["coco"] != want["coco"]
    save_checkpoint(load(*files), tmp_path / "own.pt", names=["x", *NAMES[1:]], force=True)
    refused = test("--data", other)
    assert refused.exit_code == 3 and "the data set has other classes than the checkpoint" in refused.stderr
    assert test("--data", other, "--by-number").exit_code == 0


def test_darknets_own_flags_reach_its_map(tmp_path: Path) -> None:
    """detector.c 1957 and 1970: `-points 11 -iou_thresh .75`."""
    tiny.save(tmp_path / "images/a.png", tiny.photo())
    (tmp_path / "images/a.txt").write_text("0 .5 .5 .4 .4\n")
    (tmp_path / "images/classes.txt").write_text("k0\n")
    (tmp_path / "comp4_det_test_k0.txt").write_text("a 0.9 24 16 52 36\na 0.8 100 100 120 120\n")
    command = ["test", "--predictions", tmp_path / "comp4_det_test_k0.txt", "--annotations"]

    def darknet(*args: str) -> dict:
        result = tiny.yolor(*command, tmp_path / "images", "--no-save", "--json", *args)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["darknet"]

    assert darknet()["mAP50"] == 1
    assert darknet("-points", "11", "-iou_thresh", ".75")["mAP75"] == 1
    assert darknet("-points", "0", "-iou_thresh", ".99")["mAP99"] == 0
    assert tiny.yolor(*command, tmp_path / "images", "-points", "1").exit_code == 2


def test_nothing_is_overwritten_and_the_tables_show_the_speed(network: tuple[tiny.Files, Path]) -> None:
    files, data = network
    for _ in range(2):
        result = run(*files, "--data", data, "--points", "101")
        assert result.exit_code == 0, result.output
    assert "ms per image: pre" in result.stdout
    assert (Path("runs/test/exp") / "metrics.json").exists() and Path("runs/test/exp2").is_dir()
    assert run(*files, "--data", data, "--no-save").exit_code == 0
    assert not Path("runs/test/exp3").exists()


def test_a_network_with_another_number_of_classes_is_refused(
    network: tuple[tiny.Files, Path], tmp_path: Path
) -> None:
    other = tiny.write(tmp_path, tiny.text(classes=2))
    result = run(*other, "--data", network[1])
    assert result.exit_code == 3
    assert "Traceback" not in result.output


def test_each_option_reaches_the_test(network: tuple[tiny.Files, Path]) -> None:
    files, data = network

    def document(*args: object, command: str = "test") -> dict:
        result = tiny.yolor(command, *files, "--data", data, "--no-save", "--json", *args)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) | {"speed_ms": None}

    usual = document()
    assert usual["images"] == 4 and document("--split", "train")["images"] == 16
    few = usual["detections"]
    assert document("--conf", 0.2)["detections"] < few
    assert document("--iou", 0.05)["detections"] < few
    assert document("--max-det", 3)["detections"] == 3 * 4
    for alias in ("val", "map"):
        assert document(command=alias) == usual
    one = document("--batch-size", 1)
    assert one["coco"] == pytest.approx(usual["coco"], abs=1e-3)


def test_a_row_for_each_class_is_shown_or_not(network: tuple[tiny.Files, Path]) -> None:
    files, data = network
    for flag, shown in ((), True), (("--per-class",), True), (("--no-per-class",), False):
        result = run(*files, "--data", data, "--no-save", *flag)
        assert (NAMES[0] in result.stdout) == shown, flag


def test_without_objects_there_are_no_figures_at_all(tmp_path: Path) -> None:
    """Not 0 by some rules and nothing by others."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    tiny.save(tmp_path / "images/a.png", tiny.photo())
    (tmp_path / "labels/a.txt").write_text("")
    (tmp_path / "d.yaml").write_text("path: .\nval: images\nnc: 3\nnames: [a, b, c]\n")
    done = run(*tiny.write(tmp_path, tiny.text()), "--data", tmp_path / "d.yaml", "--no-save")
    assert done.exit_code == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("all "))
    assert row.split() == ["all", "1", "0", *["-"] * 9]
