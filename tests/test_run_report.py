"""The pages of runs: their numbers are those of the run's own files and of pycocotools; nothing of the user's
becomes markup; what is damaged is told, and the rest is there."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
import training
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolor_cfg.data.shapes import NAMES as SHAPES
from yolor_cfg.data.write_shapes import ShapesOptions, write_classes
from yolor_cfg.evaluate.coco import METRICS
from yolor_cfg.report.run import album
from yolor_cfg.report.run.read import read_run
from yolor_cfg.report.run.write import write_report
from yolor_cfg.runs import RECORD, read_record
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.loading import load

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

NAMES = ("<b>bold</b>", "</script><script>alert(1)</script>", "quote\" & 's", "plain")
SIDE = 120


def facts_of(page: Path) -> dict[str, Any]:
    text = page.read_text()
    facts: dict[str, Any] = json.loads(text.partition('id="facts">')[2].partition("</script>")[0])
    return facts


def write_truth(folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """A data set of 8 noisy images in COCO's JSON and detections in it, some of them wrong."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images, boxes, found = [], [], []
    for i in range(8):
        name = f"<i>{i}&.png"
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
        images.append({"id": i, "file_name": name, "height": SIDE, "width": SIDE})
        for _ in range(4):
            left, top, width, height = (int(n) for n in rng.integers(5, 50, 4))
            label = int(rng.integers(3))
            box = [left, top, width, height]
            one = {"id": len(boxes) + 1, "image_id": i, "category_id": label, "bbox": box, "iscrowd": 0}
            boxes.append({**one, "area": width * height})
            moved = [left + float(rng.normal(0, 3)), top + float(rng.normal(0, 3)), width, height]
            said = label if rng.random() < 0.7 else int(rng.integers(3))
            found.append({"image_id": i, "category_id": said, "bbox": moved, "score": float(rng.random())})
            if rng.random() < 0.4:
                found.append({**found[-1], "bbox": [moved[0] + 1, *moved[1:]], "score": float(rng.random())})
    truth, results = folder / "truth.json", folder / "results.json"
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    truth.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    results.write_text(json.dumps(found))
    return truth, results


def by_pycocotools(truth: Path, results: Path) -> tuple[list[float], np.ndarray]:
    """The 12 numbers, and the AP of each class."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        judge = COCOeval(coco, coco.loadRes(str(results)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # IoU, recall, class
    return judge.stats.tolist(), np.where(precision > -1, precision, np.nan).mean(axis=(0, 1))


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a test of detections in a file, with truth.json and results.json beside it."""
    place = tmp_path_factory.mktemp("tested")
    truth, results = write_truth(place / "data")
    arguments = ("--predictions", results, "--annotations", truth, "--save", "--project", place / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/bin/yolor", "test", "--predictions", "a b.json"])
        done = tiny.yolor("test", *arguments)
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of three epochs, by the command."""
    place = tmp_path_factory.mktemp("trained")
    data = training.shapes(place)
    (place / "small.cfg").write_text(training.yolor_text())
    arguments = ("--data", data, "--epochs", 3, "--batch-size", 4, "--update-batch", 8, "--workers", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/bin/yolor", "train", "small.cfg", "--name", "it's"])
        done = tiny.yolor("train", place / "small.cfg", *arguments, "--seed", 5, "--project", place / "runs")
    assert done.exit_code == 0, done.output
    return place / "runs/exp"


def copy_run(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place, dirs_exist_ok=True))


def test_the_figures_of_a_test_are_those_of_pycocotools(tested: Path) -> None:
    [run] = facts_of(tested / "runs/exp/report.html")["runs"]
    [metrics] = run["tests"]
    stats, classes = by_pycocotools(tested / "data/truth.json", tested / "data/results.json")
    assert [metrics["coco"][name] for name in METRICS] == pytest.approx(stats, abs=1e-9)
    rows = [metrics["per_category"][str(number)] for number in range(3)]
    assert [row["AP"] for row in rows] == pytest.approx(classes[:3].tolist(), abs=1e-9)
    assert metrics == json.loads((tested / "runs/exp/metrics.json").read_text())
    page = (tested / "runs/exp/report.html").read_text()
    for value in stats:
        assert (f"<b>{value:.3f}</b>" if value >= 0 else "<b>–</b>") in page


def iou(one: list[float], other: list[float]) -> float:
    low = [max(one[i], other[i]) for i in (0, 1)]
    high = [min(one[i] + one[i + 2], other[i] + other[i + 2]) for i in (0, 1)]
    shared = max(0.0, high[0] - low[0]) * max(0.0, high[1] - low[1])
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def test_the_confusion_matrix_and_the_errors_are_those_of_pairs_found_one_by_one(tested: Path) -> None:
    boxes = read_record(tested / "runs/exp")["tests"][0]["boxes"]
    truth = json.loads((tested / "data/truth.json").read_text())["annotations"]
    above = boxes["confusion"]["confidence"]
    found = [one for one in json.loads((tested / "data/results.json").read_text()) if one["score"] > above]
    for one in found:
        one["bbox"] = [round(side, 3) for side in one["bbox"]]
    pairs = [
        (iou(a["bbox"], b["bbox"]), i, j)
        for i, a in enumerate(found)
        for j, b in enumerate(truth)
        if a["image_id"] == b["image_id"] and iou(a["bbox"], b["bbox"]) > 0.45
    ]
    of_found: dict[int, int] = {}
    for _, i, j in sorted(pairs, reverse=True):
        if i not in of_found and j not in of_found.values():
            of_found[i] = j
    wanted = np.zeros((5, 5), int)
    for i, one in enumerate(found):
        row = truth[of_found[i]]["category_id"] if i in of_found else 4
        wanted[row, one["category_id"]] += 1
    for j, one in enumerate(truth):
        wanted[one["category_id"], 4] += j not in of_found.values()
    cells = boxes["confusion"]["cells"]
    assert sorted(cells) == sorted(
        [*map(int, place), int(wanted[tuple(place)])] for place in np.argwhere(wanted)
    )
    counts = boxes["judged"]["counts"]
    touching = {i for _, i, _ in pairs} - set(of_found)
    assert (counts["right"], counts["missed"]) == (np.trace(wanted[:4, :4]), wanted[:4, 4].sum())
    assert (counts["duplicate"], counts["background"]) == (len(touching), wanted[4].sum() - len(touching))


def test_precision_and_recall_by_confidence_are_counted_right(tested: Path) -> None:
    """A detection is right if it is the first, by score, on an object of its class at an IoU above 0.5."""
    curves = read_record(tested / "runs/exp")["tests"][0]["boxes"]["curves"]
    truth = json.loads((tested / "data/truth.json").read_text())["annotations"]
    found = json.loads((tested / "data/results.json").read_text())
    mine = [one for one in truth if one["category_id"] == 0]
    taken, rights = set(), []
    ranked = sorted((one for one in found if one["category_id"] == 0), key=lambda one: -one["score"])
    for one in ranked:
        same = [box for box in mine if box["image_id"] == one["image_id"]]
        best = max(same, key=lambda box: iou(one["bbox"], box["bbox"]), default=None)
        right = best is not None and iou(one["bbox"], best["bbox"]) > 0.5 and best["id"] not in taken
        rights.append(right)
        taken |= {best["id"]} if right and best else set()
    place = curves["classes"].index(0)
    for at in (20, 50, 70):
        scores = [-round(one["score"], 5) for one in ranked]
        recall = np.interp(-curves["axis"][at], scores, np.cumsum(rights) / len(mine), left=0)
        assert curves["each"]["R"][place][at] == pytest.approx(recall, abs=1e-4)


def test_nothing_of_the_user_becomes_markup_and_nothing_is_loaded(tested: Path, trained: Path) -> None:
    for page in (tested / "runs/exp/report.html", trained / "report.html"):
        text = page.read_text()
        assert text.count("<script") == text.count("</script>") == 3
        assert "<b>bold" not in text and "<i>0" not in text and "alert(1)</" not in text
        assert set(re.findall(r"<(?:link|iframe|object|base)\b", text)) == set()
        sources = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert sources and all(source.startswith(("data:image/jpeg;base64,", "#part-")) for source in sources)
        assert set(re.findall(r"https?://[^\s\"')]+", text)) == {"https://github.com/leeoniya/uPlot"}
        assert "default-src 'none'" in text and "img-src data:" in text
        assert len(text) < 5_000_000
    assert "&lt;b&gt;bold&lt;/b&gt;" in (tested / "runs/exp/report.html").read_text()


def test_the_licence_of_the_library_is_in_the_page(tested: Path) -> None:
    text = (tested / "runs/exp/report.html").read_text()
    assert "Copyright (c) 2022 Leon Sorokin" in text and "Permission is hereby granted" in text


def test_the_page_shows_the_worst_images_with_each_box(tested: Path) -> None:
    boxes = read_record(tested / "runs/exp")["tests"][0]["boxes"]
    judged = boxes["judged"]
    shown = [*judged["worst"], *judged["best"]]
    assert len(shown) == 8 and len({one["file"] for one in shown}) == 8
    page = (tested / "runs/exp/report.html").read_text()
    assert page.count('class="judged"') == 8 and page.count("data:image/jpeg;base64,") == 8
    groups = re.findall(r'<g class="(truth|found) (\w+)">', page)
    shown_truth, shown_found = (sum(kind == word for kind, _ in groups) for word in ("truth", "found"))
    in_legend = 1, 4
    assert shown_truth - in_legend[0] == sum(len(one["truth"]) for one in shown)
    assert shown_found - in_legend[1] == sum(len(one["found"]) for one in shown)
    errors = [one["errors"] for one in judged["worst"]]
    assert f"most errors: {len(errors)} of {judged['faulty']} images with errors" in page


def test_the_record_of_a_test_says_how_it_was_made(tested: Path) -> None:
    record = read_record(tested / "runs/exp")
    assert record["command"] == "yolor test --predictions 'a b.json'"
    assert record["options"]["iou"] == {"value": 0.65, "given": False}
    assert record["environment"]["numpy"] == np.__version__ and record["seconds"] > 0
    page = (tested / "runs/exp/report.html").read_text()
    assert "yolor test --predictions &#x27;a b.json&#x27;" in page


def test_the_rows_of_a_training_are_those_of_results_csv(trained: Path) -> None:
    [run] = facts_of(trained / "report.html")["runs"]
    with (trained / "results.csv").open() as file:
        wanted = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    assert run["rows"] == wanted and len(wanted) == 3
    plots = {plot["title"]: plot for plot in facts_of(trained / "report.html")["plots"]}
    for title, columns in (
        ("loss per image", ("loss", "box", "objectness", "classes")),
        ("score", ("P", "R", "AP50", "AP")),
    ):
        curves = {curve["name"]: curve["y"] for curve in plots[title]["curves"]}
        assert curves == {name: [row[name] for row in wanted] for name in columns}
    best = max(wanted, key=lambda row: row["AP"])["epoch"]
    assert plots["score"]["marks"] == [[best, "best"]]
    assert plots["learning rate at the end of an epoch"]["curves"][0]["y"] == [row["lr"] for row in wanted]


def test_the_record_of_a_training_says_how_it_went(trained: Path) -> None:
    record = read_record(trained)
    [session] = record["sessions"]
    assert session["command"] == "yolor train small.cfg --name 'it'\"'\"'s'"
    assert session["ending"] == "done" and session["seconds"] > 0 and session["first_epoch"] == 1
    epochs = record["epochs"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3] and record["planned_epochs"] == 3
    rows = read_run(trained).rows
    assert record["best_epoch"] == max(rows, key=lambda row: row["AP"])["epoch"]
    assert all(row["images"] == 16 and row["train_seconds"] > 0 and row["memory_mib"] > 50 for row in epochs)
    assert {"epochs", "seed", "batch_size"} <= set(record["given"]) and "patience" not in record["given"]
    environment = json.loads((trained / "env.json").read_text())
    assert environment["threads"] == 1 and environment["cores"] == os.cpu_count()


def test_the_data_of_a_training_are_counted(trained: Path) -> None:
    record, folder = read_record(trained), trained.parents[1] / "shapes"
    for key, name, count in (("data", "train", 16), ("holdout", "val", 4)):
        stems = [Path(line).stem for line in (folder / f"{name}.txt").read_text().split()]
        lines = [(folder / f"labels/{stem}.txt").read_text().splitlines() for stem in stems]
        classes = [[int(line.split()[0]) for line in rows] for rows in lines]
        said = record[key]
        assert said["images"] == count == len(stems) and said["labels"] == sum(map(len, classes))
        assert said["unlabeled"] == sum(not rows for rows in classes)
        for number, row in enumerate(said["classes"]):
            assert row == {
                "name": SHAPES[number],
                "images": sum(number in rows for rows in classes),
                "labels": sum(rows.count(number) for rows in classes),
            }
        assert sum(said["sizes"].values()) == said["labels"]


def test_the_page_of_a_training_has_what_its_best_network_finds(trained: Path) -> None:
    [run] = facts_of(trained / "report.html")["runs"]
    [metrics] = run["tests"]
    assert metrics["images"] == 4 and set(metrics["coco"]) == set(METRICS)
    text = (trained / "report.html").read_text()
    for words in ("What the best network finds", "Confusion matrix", "First batches", "Hyperparameters", "★"):
        assert words in text
    assert text.count('class="sheet"') == 5


def test_a_run_that_a_signal_ends_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = training.options(tmp_path, training.shapes(tmp_path), epochs=2, val_period=1)
    with monkeypatch.context() as patch:
        training.stop_after(patch, 5)
        folder = training.run(said, tmp_path).folder
    page = write_report(folder).read_text()
    assert "terminated (SIGTERM)" in page and len(read_run(folder).rows) == 1
    training.resume_run(folder, drawing=training.DRAWING, say=lambda text: None)
    record = read_record(folder)
    assert [one["ending"] for one in record["sessions"]] == ["terminated", "done"]
    assert [row["epoch"] for row in record["epochs"]] == [1, 2]
    assert "resumed 1 time." in write_report(folder).read_text()


def test_a_run_that_a_fault_ends_has_it_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    said = training.options(tmp_path, training.shapes(tmp_path), epochs=2, save_steps=1)
    monkeypatch.setattr(training.RunLogger, "log_epoch", fail)
    with pytest.raises(OSError, match="No space"):
        training.run(said, tmp_path)
    [session] = read_record(tmp_path / "exp")["sessions"]
    assert session["ending"] == "OSError: [Errno 28] No space left on device"


def test_a_killed_run_is_shown_as_far_as_it_got(trained: Path, tmp_path: Path) -> None:
    folder = copy_run(trained, tmp_path / "killed")
    record = json.loads((folder / RECORD).read_text())
    record["sessions"][0]["ending"] = ""
    record.pop("tests")
    (folder / RECORD).write_text(json.dumps(record))
    text = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(text[: text.rindex("\n", 0, -1) + 12])
    done = tiny.yolor("report", folder)
    assert done.exit_code == 0 and "results.csv: 1 line cut or damaged" in done.stderr
    page = (folder / "report.html").read_text()
    assert "was killed" in page and "1 line cut or damaged" in page
    assert len(facts_of(folder / "report.html")["runs"][0]["rows"]) == 2


@pytest.mark.parametrize(
    "name", ["results.csv", "args.yaml", "env.json", "model.cfg", RECORD, "train_batch0.jpg"]
)
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00{[,,\n:", b"[1, 2]", b'"' + b"9" * 200_000])
def test_a_missing_or_damaged_file_is_told_and_the_rest_is_shown(
    trained: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = copy_run(trained, tmp_path / "run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    page = write_report(folder).read_text()
    assert name in page or (content is None and name == "train_batch0.jpg")  # nothing says that it was there
    rows = facts_of(folder / "report.html")["runs"][0]["rows"]
    assert len(rows) == (0 if name == "results.csv" and content is not None else 3)


def values_below(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values of a document; of a list to the first two."""
    ways = [way] if way else []
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    return ways + [one for key, below in items for one in values_below(below, (*way, key))]


@pytest.mark.parametrize("kind", ["train", "test"])
def test_a_record_with_other_values_never_ends_in_a_fault(
    kind: str, trained: Path, tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value in turn is one of another kind; images are left out, for they take the time."""
    monkeypatch.setattr(album.Album, "embed", lambda self, path, side: None)
    folder = copy_run(trained if kind == "train" else tested / "runs/exp", tmp_path / "run")
    text = (folder / RECORD).read_text()
    ways = values_below(json.loads(text))
    rng = np.random.default_rng(0)
    chosen = [ways[place] for place in rng.permutation(len(ways))[:60].tolist()]
    for way, other in zip(chosen, [None, "text", -3, [], {}, [[None]]] * 10, strict=True):
        document = json.loads(text)
        place = document
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = other
        (folder / RECORD).write_text(json.dumps(document))
        page = write_report(folder).read_text()
        assert "How it was made" in page, way


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    done = tiny.yolor("report", tmp_path)
    assert done.exit_code == 3 and "not the folder of a run" in done.stderr and "notes.txt" in done.stderr
    file = tiny.yolor("report", tmp_path / "notes.txt")
    assert file.exit_code == 3 and f"{tmp_path / 'notes.txt'}: not the folder" in file.stderr
    gone = tiny.yolor("report", tmp_path / "gone")
    assert gone.exit_code == 3 and "no such folder" in gone.stderr


def test_a_run_of_an_older_version_has_the_page_of_its_figures(tested: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text((tested / "runs/exp/metrics.json").read_text())
    done = tiny.yolor("report", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert f"no {RECORD}" in done.stderr
    [run] = json.loads(done.stdout)["runs"]
    assert run["figures"]["AP"] == json.loads((tmp_path / "metrics.json").read_text())["coco"]["AP"]
    assert "&lt;b&gt;bold&lt;/b&gt;" in (tmp_path / "report.html").read_text()


def test_runs_are_compared_with_the_first(tested: Path, tmp_path: Path) -> None:
    truth, results = write_truth(tmp_path / "data", seed=1)
    arguments = ("--predictions", results, "--annotations", truth, "--save", "--project", tmp_path / "runs")
    assert tiny.yolor("test", *arguments).exit_code == 0
    both = tested / "runs/exp", tmp_path / "runs/exp"
    page = tmp_path / "both.html"
    done = tiny.yolor("report", *both, "-o", page, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    stats = [
        by_pycocotools(folder.parents[1] / "data/truth.json", folder.parents[1] / "data/results.json")
        for folder in both
    ]
    for run, (numbers, _) in zip(told["runs"], stats, strict=True):
        wanted = {name: value for name, value in zip(METRICS, numbers, strict=True) if value >= 0}
        assert {name: run["figures"][name] for name in wanted} == pytest.approx(wanted)
    changes = [abs(one["AP"][1] - one["AP"][0]) for one in told["classes"]]
    assert len(changes) == 3 and changes == sorted(changes, reverse=True)
    by_name = {NAMES[k]: [float(classes[k]) for _, classes in stats] for k in range(3)}
    for one in told["classes"]:
        assert one["AP"] == pytest.approx(by_name[one["class"]])
    assert told["differences"]["options"]["predictions"] == [
        str(folder.parents[1] / "data/results.json") for folder in both
    ]
    text = page.read_text()
    change = stats[1][0][0] - stats[0][0][0]
    assert f"{change:+.3f}" in text and "B − A" in text and text.count("<script") == 3


def test_trainings_are_compared_by_their_curves_and_settings(trained: Path, tmp_path: Path) -> None:
    other = copy_run(trained, tmp_path / "other")
    (other / "args.yaml").write_text((trained / "args.yaml").read_text().replace("seed: 5", "seed: 6"))
    (other / "model.cfg").write_text((trained / "model.cfg").read_text().replace("stride=1", "stride=2"))
    page = tmp_path / "both.html"
    done = tiny.yolor("report", trained, other, "-o", page, "--json")
    assert json.loads(done.stdout)["differences"] == {"options": {"seed": [5, 6]}}
    plots = {plot["title"]: plot for plot in facts_of(page)["plots"]}
    assert [curve["name"][0] for curve in plots["loss"]["curves"]] == ["A", "B"]
    rows = read_run(trained).rows
    assert plots["AP"]["curves"][1]["y"] == [row["AP"] for row in rows]
    text = page.read_text()
    assert '<span class="down">-stride=1' in text and '<span class="up">+stride=2' in text


def test_an_existing_page_is_kept_unless_forced(tested: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    done = tiny.yolor("report", tested / "runs/exp", "-o", page)
    assert done.exit_code == 1 and "exists already" in done.stderr and page.read_text() == "mine"
    assert tiny.yolor("report", tested / "runs/exp", "-o", page, "--force").exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    wrong = tiny.yolor("report", tested / "runs/exp", "-o", tmp_path / "page.pdf")
    assert wrong.exit_code == 2 and ".html" in wrong.stderr


def test_without_a_report_the_run_can_be_made_one_of_later(tmp_path: Path) -> None:
    truth, results = write_truth(tmp_path / "data")
    arguments = ("--predictions", results, "--annotations", truth, "--save", "--project", tmp_path / "runs")
    assert tiny.yolor("test", *arguments, "--no-report").exit_code == 0
    folder = tmp_path / "runs/exp"
    assert (folder / RECORD).exists() and not (folder / "report.html").exists()
    assert tiny.yolor("report", folder).exit_code == 0
    assert 'class="judged"' in (folder / "report.html").read_text()


def test_a_report_that_fails_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolor_cfg.report.run import write

    def fail(run: object) -> str:
        raise MemoryError("too large")

    monkeypatch.setattr(write, "draw_run", fail)
    truth, results = write_truth(tmp_path / "data")
    arguments = ("--predictions", results, "--annotations", truth, "--save", "--project", tmp_path / "runs")
    done = tiny.yolor("test", *arguments)
    assert done.exit_code == 0 and "no report.html: MemoryError: too large" in done.stderr
    assert (tmp_path / "runs/exp/metrics.json").exists() and not (tmp_path / "runs/exp/report.html").exists()


def test_a_full_page_says_how_many_images_it_leaves_out(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album, "MOST_BYTES", 60_000)
    folder = copy_run(tested / "runs/exp", tmp_path / "run")
    page = write_report(folder).read_text()
    shown = page.count("data:image/jpeg;base64,")
    assert 0 < shown < 8 and f"{8 - shown} images are left out: the page is full" in page
    assert page.count('class="judged"') == 8 and page.count('class="nothing"') == 8 - shown


def test_no_page_is_larger_than_5_mb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve thousand epochs, and images of noise, which JPEG cannot make small."""
    header = "epoch,updates,lr,loss,box,objectness,classes,P,R,AP50,AP"
    rng = np.random.default_rng(0)
    lines = [f"{epoch},{epoch * 100}," + ",".join(map(str, rng.random(9))) for epoch in range(1, 12_001)]
    (tmp_path / "results.csv").write_text("\n".join([header, *lines]) + "\n")
    for name in ("train_batch0", "train_batch1", "train_batch2", "val_batch0_labels", "val_batch0_pred"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), rng.integers(0, 255, (1200, 1200, 3), np.uint8))
    monkeypatch.setattr(album, "MOST_BYTES", 50_000_000)
    page = write_report(tmp_path).read_text()
    assert 3_000_000 < len(page) < 5_000_000 and "images are left out: the page is full" in page
    rows = facts_of(tmp_path / "report.html")["runs"][0]["rows"]
    best = max((line.split(",") for line in lines), key=lambda cells: float(cells[-1]))[0]
    shown = [int(row["epoch"]) for row in rows]
    assert {1, 12_000, int(best)} <= set(shown) and 900 < len(shown) < 1100 and shown == sorted(shown)
    assert f"{len(shown)} of 12000 epochs" in page


def test_several_data_sets_have_a_group_each(trained: Path, tmp_path: Path) -> None:
    one, two = training.shapes(tmp_path / "a", count=10), training.shapes(tmp_path / "b", count=15)
    arguments = ("--data", one, "--data", two, "--project", tmp_path / "runs")
    done = tiny.yolor("test", trained / "weights/best.pt", *arguments)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs/exp"
    record = read_record(folder)
    assert len(record["told"]) == record["told_in_all"] and record["network"]["input"] == [64, 64]
    assert "[yolo]" in record["network"]["cfg"] and record["environment"]["threads"] == 1
    listed = json.loads((folder / "metrics.json").read_text())["datasets"]
    [run] = facts_of(folder / "report.html")["runs"]
    assert [test["images"] for test in run["tests"]] == [one["images"] for one in listed] == [2, 3]
    for test, wanted in zip(run["tests"], listed, strict=True):
        assert test == {name: wanted[name] for name in test}
        assert f"What it finds: {wanted['name']}" in (folder / "report.html").read_text()
    told = tiny.yolor("report", folder, trained, "-o", tmp_path / "x.html", "--json")
    figures = json.loads(told.stdout)["runs"][0]["figures"]
    assert figures[f"{listed[1]['name']}: AP"] == listed[1]["coco"]["AP"]


def test_a_classifier_has_the_images_it_is_surest_and_wrong_about(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "ten", ShapesOptions(100, (32, 32), val_count=20))
    names = sorted(place.name for place in (tmp_path / "ten/val").iterdir())
    network = tiny.text().partition("[yolo]")[0].rpartition("[convolutional]")[0]
    cfg = tmp_path / "classes.cfg"
    cfg.write_text(network + "[convolutional]\nfilters=10\nsize=1\nactivation=linear\n[avgpool]\n[softmax]\n")
    weights = tmp_path / "classes.pt"
    save_checkpoint(load(cfg), weights, names=names, force=True)
    done = tiny.yolor("test", weights, "--data", data, "--project", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs/exp"
    metrics = json.loads((folder / "metrics.json").read_text())
    [head] = read_record(folder)["tests"][0]["labels"]
    mistakes = head["mistakes"]
    wrong = round((1 - metrics["classification"]["top1"]) * 20)
    assert (mistakes["wrong"], mistakes["images"], len(mistakes["worst"])) == (wrong, 20, min(12, wrong))
    for image in mistakes["worst"]:
        assert image["truth"] != [image["found"][0][0]]
        assert names[image["truth"][0]] == Path(image["file"]).parent.name
        shares = [share for _, share in image["found"]]
        assert shares == sorted(shares, reverse=True)
    counted = sum(count for row, column, count in head["confusion"]["cells"] if row == column)
    assert counted == 20 - wrong
    page = (folder / "report.html").read_text()
    assert page.count('class="classified"') == len(mistakes["worst"]) and "top1" in page


def test_a_bench_is_a_run_too(tested: Path, tmp_path: Path) -> None:
    same = {"cfg": "a/net.cfg", "weights": None, "precision": "fp32", "batch": 1, "low_ms": 9, "high_ms": 12}
    results = [
        {**same, "engine": "torch", "without": ["all"], "median_ms": 20.0, "images_per_second": 50.0},
        {**same, "engine": "native", "without": [], "median_ms": 10.0, "images_per_second": 100.0},
    ]
    results = [{**one, "peak_mib": 80.0, "difference": 1e-6} for one in results]
    failed = {**same, "engine": "openvino", "without": [], "failed": "<b>no such thing"}
    path = tmp_path / "speed.json"
    path.write_text(json.dumps([*results, failed]))
    done = tiny.yolor("report", path)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "speed.html").read_text()
    assert "net: native fp32, batch 1" in text and ">2.00</td>" in text and "&lt;b&gt;no such thing" in text
    assert tiny.yolor("report", path).exit_code == 1  # it is there
    told = tiny.yolor("report", path, tested / "runs/exp", "-o", tmp_path / "x.html", "--json")
    assert json.loads(told.stdout)["runs"][0]["speed"]["net: native fp32, batch 1, images/s"] == 100
    path.write_text('{"a": 1}')
    other = tiny.yolor("report", path)
    assert other.exit_code == 3 and "yolor bench --json" in other.stderr


def test_a_record_that_fails_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolor_cfg.evaluate import facts

    monkeypatch.setattr(facts, "describe_judgement", lambda *given, **more: 1 / 0)
    truth, results = write_truth(tmp_path / "data")
    arguments = ("--predictions", results, "--annotations", truth, "--save", "--project", tmp_path / "runs")
    done = tiny.yolor("test", *arguments)
    assert done.exit_code == 0 and f"no {RECORD}: ZeroDivisionError" in done.stderr
    assert (tmp_path / "runs/exp/metrics.json").exists()


def test_a_run_without_a_finished_epoch_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = training.options(tmp_path, training.shapes(tmp_path), epochs=2)
    training.stop_after(monkeypatch, 1)
    folder = training.run(said, tmp_path).folder
    assert read_run(folder).problems == ("no results.csv: no epoch is finished, or the file is gone",)
    page = write_report(folder).read_text()
    assert "terminated (SIGTERM)" in page and "Nothing was measured." in page and "First batches" in page


def test_one_data_set_in_a_list_is_no_difference(trained: Path, tmp_path: Path) -> None:
    other = copy_run(trained, tmp_path / "other")
    options = yaml.safe_load((trained / "args.yaml").read_text())
    assert isinstance(options["data"], str)
    (other / "args.yaml").write_text(yaml.safe_dump({**options, "data": [options["data"]], "seed": 6}))
    done = tiny.yolor("report", trained, other, "-o", tmp_path / "both.html", "--json")
    assert json.loads(done.stdout)["differences"] == {"options": {"seed": [5, 6]}}
