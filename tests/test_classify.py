"""Classifiers and joint networks from the data to the command's output: train, resume, test, detect."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg.data.formats.classes import is_divided_by_class
from yolor_cfg.data.kinds import add_kind_notes
from yolor_cfg.data.sources import open_data
from yolor_cfg.detect.pipeline import Detector
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.run import evaluate_tasks
from yolor_cfg.evaluate.scores import label_documents
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.run import resume_run
from yolor_cfg.train.setup import prepare_job

COLORS = {"blue": 2, "green": 1, "red": 0}
NET = "learning_rate=.05\nbatch=6\nsubdivisions=1\nmin_crop=16\nmax_crop=20\nangle=7\nhue=.02\nexposure=1.2\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
LAST = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n[avgpool]\n"


def classifier_text(ending: str = "[softmax]\n", *, classes: int = 3, net: str = NET) -> str:
    body = CONV.format(8) + CONV.format(16) + LAST.format(classes)
    return f"[net]\nheight=16\nwidth=16\nchannels=3\n{net}{body}{ending}"


def joint_text(dialect: str = "yolor") -> str:
    """Boxes of the six drawn shapes, and which of them are there."""
    boxes = training.yolor_text().replace("dialect=yolor", f"dialect={dialect}")
    return boxes + "[route]\nlayers=2\n" + LAST.format(6) + "[logistic]\n"


def color_image(name: str, seed: int) -> np.ndarray:
    """[H, W, 3] BGR noise with one strong channel."""
    rng = np.random.default_rng([seed, COLORS[name]])
    image = rng.integers(0, 110, (*rng.integers(16, 30, 2), 3))
    image[..., 2 - COLORS[name]] += 110
    return image.astype(np.uint8)


def write_colors(folder: Path, *, train: int = 8, val: int = 3, splits: bool = True) -> Path:
    """Folders of images by class, in folders of splits or without."""
    for split, count, first in (("train", train, 0), ("val", val, 100)):
        for name in COLORS:
            place = folder / split / name if splits else folder / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                cv2.imwrite(str(place / f"{first + number}.png"), color_image(name, first + number))
    return folder


def write_darknet_list(folder: Path) -> Path:
    """The same images as Darknet's classifiers are given them."""
    for split in ("train", "val"):
        images = sorted(path.relative_to(folder).as_posix() for path in (folder / split).rglob("*.png"))
        (folder / f"{split}.list").write_text("".join(f"{image}\n" for image in images))
    (folder / "labels.list").write_text("".join(f"/{name}/\n" for name in reversed(COLORS)) + "beyond\n")
    (folder / "short.names").write_text("R\nG\nB\nbeyond\n")
    keys = {"train": "train.list", "valid": "val.list", "labels": "labels.list", "names": "short.names"}
    lines = [f"{key} = {value}\n" for key, value in {"classes": 3, **keys, "top": 2}.items()]
    (folder / "colors.data").write_text("".join(lines))
    return folder / "colors.data"


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colors(tmp_path_factory.mktemp("data") / "colors")


@pytest.fixture(scope="module")
def trained(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a few seconds, tested once at its end."""
    folder = tmp_path_factory.mktemp("trained")
    said = training.options(folder, colors, text=classifier_text(), epochs=9, batch_size=6, update_batch=6)
    return training.run(said, folder).folder


def test_folders_of_classes_are_read_as_such(colors: Path) -> None:
    data = open_data(colors, caches=False)
    assert (data.format, data.names, data.has_boxes) == ("classes", ("blue", "green", "red"), False)
    found = [(Path(one.image).parent.name, one.image_classes.tolist()) for one in data.samples]
    assert found == [(name, [k]) for k, name in enumerate(sorted(COLORS)) for _ in range(8)]
    assert len(open_data(colors, split="val", caches=False).samples) == 9


def test_a_class_without_images_in_one_split_keeps_its_number(tmp_path: Path) -> None:
    write_colors(tmp_path, train=2, val=1)
    (tmp_path / "val/blue/100.png").unlink()
    data = open_data(tmp_path, split="val", caches=False)
    assert data.names == ("blue", "green", "red")
    assert [one.image_classes.tolist() for one in data.samples] == [[1], [2]]


def test_a_split_of_one_class_is_read_as_such(tmp_path: Path) -> None:
    """Of one folder in all nothing tells that it is a class."""
    folder = write_colors(tmp_path / "data")
    shutil.rmtree(folder / "val/blue")
    shutil.rmtree(folder / "val/green")
    data = open_data(folder, split="val", caches=False)
    assert (data.format, data.names) == ("classes", ("blue", "green", "red"))
    assert {int(one.image_classes[0]) for one in data.samples} == {2}
    shutil.rmtree(folder / "train")
    assert not is_divided_by_class(str(folder))


def leave_one_class(folder: Path, *, keeps_train: bool = False) -> Path:
    """Folders of images of which val has one, red/, alone; without train, or with it."""
    write_colors(folder)
    for name in ("blue", "green"):
        shutil.rmtree(folder / "val" / name)
    if not keeps_train:
        shutil.rmtree(folder / "train")
    return folder


def test_one_folder_is_a_class_where_the_train_split_beside_it_has_that_class(tmp_path: Path) -> None:
    folder = leave_one_class(tmp_path / "data", keeps_train=True)
    data = open_data(folder / "val", split="val", caches=False)
    assert (data.format, data.names) == ("classes", ("blue", "green", "red"))
    assert [one.image_classes.tolist() for one in data.samples] == [[2]] * 3
    (folder / "val/red").rename(folder / "val/purple")
    with pytest.raises(DataError, match="no labels found"):
        open_data(folder / "val", split="val", caches=False)


@pytest.mark.parametrize("given", [".", "val"])
def test_one_folder_is_a_class_where_the_network_has_that_class(
    given: str, trained: Path, tmp_path: Path
) -> None:
    folder = leave_one_class(tmp_path / "data")
    (folder / "val/red").rename(folder / "val/Red")
    args = ("test", trained / "weights/best.pt", "--data", folder / given, "--no-save")
    result = tiny.yolor(*args, "--json")
    assert result.exit_code == 0, result.output
    assert "its one folder, Red, is taken for that class" in result.stderr
    (row,) = [one for one in json.loads(result.stdout)["classification"]["per_class"] if one["images"]]
    assert (row["name"], row["images"]) == ("red", 3)
    # The other classes are known to be absent: a wrong one counts as wrong.
    whole = write_colors(tmp_path / "whole")
    for name in ("blue", "green"):
        shutil.rmtree(whole / "val" / name)
    beside = tiny.yolor("test", trained / "weights/best.pt", "--data", whole, "--no-save", "--json")
    told = [json.loads(one.stdout)["classification"] for one in (result, beside)]
    assert told[0]["top1"] == told[1]["top1"]


def test_a_training_is_validated_on_one_folder_of_a_class_that_it_learns(
    colors: Path, tmp_path: Path
) -> None:
    folder = leave_one_class(tmp_path / "data")
    said = training.options(tmp_path, colors, text=classifier_text(), val_data=(str(folder),))
    holdout = prepare_job(said).holdout
    assert holdout.names == ("blue", "green", "red")
    assert [one.image_classes.tolist() for one in holdout.samples] == [[2]] * 3
    (folder / "val/red").rename(folder / "val/purple")
    with pytest.raises(DataError, match="no labels found"):
        prepare_job(said)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("val", "red may be a class, but could be any folder: put the other classes or a train split beside"),
        ("val/red", "these may be the images of one class of"),
    ],
)
def test_one_folder_that_could_be_any_is_told_with_the_ways_out(
    given: str, hint: str, tmp_path: Path
) -> None:
    folder = leave_one_class(tmp_path / "data")
    result = tiny.yolor("data", "check", folder / given)
    assert result.exit_code == 3 and hint in result.stderr and "Traceback" not in result.output
    boxes = write_colors(tmp_path / "boxes")
    for image in boxes.rglob("*.png"):
        image.with_suffix(".txt").write_text("0 .5 .5 .2 .2\n")
    assert "may be" not in tiny.yolor("data", "check", boxes).output


def test_one_heap_of_classes_is_divided_into_a_file_that_darknet_reads_too(tmp_path: Path) -> None:
    heap = write_colors(tmp_path / "heap", splits=False)
    with pytest.raises(DataError, match="no val split"):
        open_data(heap, split="val", caches=False)
    result = tiny.yolor("data", "split", heap, "--val", 0.3, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    parts = [open_data(tmp_path / "out", split=split, caches=False) for split in ("train", "val")]
    assert [part.names for part in parts] == [("blue", "green", "red")] * 2 and sum(
        len(part.samples) for part in parts
    ) == 33
    for part in parts:
        assert all(Path(one.image).parent.name == part.names[one.image_classes[0]] for one in part.samples)
        assert {int(one.image_classes[0]) for one in part.samples} == {0, 1, 2}


def test_labels_beside_images_in_folders_still_count_as_boxes(tmp_path: Path) -> None:
    write_colors(tmp_path, train=2, val=1)
    for image in tmp_path.rglob("*.png"):
        image.with_suffix(".txt").write_text("0 .5 .5 .2 .2\n")
    data = open_data(tmp_path, caches=False)
    assert data.has_boxes and all(len(one.classes) == 1 for one in data.samples)


def test_darknets_labels_are_what_occurs_in_a_path(tmp_path: Path) -> None:
    """fill_truth_smooth in data.c: strstr of each of the first `classes` lines in the path as it is
    listed."""
    place = write_darknet_list(write_colors(tmp_path / "red", train=2, val=1))
    data = open_data(place, split="val", caches=False)
    assert (data.names, data.top, data.has_boxes) == (("R", "G", "B"), 2, False)
    found = {Path(one.image).parent.name: one.image_classes.tolist() for one in data.samples}
    assert found == {"red": [0], "green": [1], "blue": [2]}  # the folder above is no part of the listed path


def test_paths_with_several_labels_or_none_are_told(tmp_path: Path) -> None:
    place = write_darknet_list(write_colors(tmp_path, train=2, val=1))
    (tmp_path / "labels.list").write_text("red\ntrain\nnone\n")
    data = open_data(place, caches=False)
    notes = " ".join(problem.reason for problem in data.problems)
    assert [one.image_classes.tolist() for one in data.samples] == [[1]] * 4 + [[0, 1]] * 2
    assert "2 of 6 paths contain several lines of labels=" in notes
    graph = build_graph(parse(classifier_text()))
    assert "2 of 6 images have not exactly one class" in add_kind_notes(data, graph).problems[-1].reason


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("classes = 9\n", "too few classes"),
        ("top = none\n", "not a number"),
        ("labels = no.list\n", "labels: no such file"),
    ],
)
def test_a_faulty_data_file_of_a_classifier_is_refused(more: str, message: str, tmp_path: Path) -> None:
    place = write_darknet_list(write_colors(tmp_path, train=1, val=1))
    key = more.partition(" ")[0]
    place.write_text(
        "".join(f"{line}\n" for line in place.read_text().splitlines() if not line.startswith(key)) + more
    )
    with pytest.raises(DataError, match=message):
        open_data(place, caches=False)


def test_a_detector_refuses_images_that_have_classes_alone(colors: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.cfg").write_text(training.yolor_text(classes=3))
    result = tiny.yolor("train", tmp_path / "boxes.cfg", "--data", colors, "--project", tmp_path)
    assert result.exit_code != 0 and "no boxes: the images have classes alone" in result.stderr
    assert "Traceback" not in result.stderr


def test_boxes_tell_the_classes_of_an_image(tmp_path: Path) -> None:
    data = open_data(training.shapes(tmp_path, count=10), caches=False)
    for one in data.samples:
        assert one.image_classes.tolist() == sorted(set(one.classes.tolist()))


def test_a_classifier_learns_colours_in_seconds(trained: Path) -> None:
    rows = list(csv.DictReader((trained / "results.csv").open()))
    assert list(rows[0]) == ["epoch", "updates", "lr", "loss", "labels", "top1", "topk"]
    assert float(rows[-1]["top1"]) >= 0.85 and float(rows[-1]["topk"]) == 1
    assert float(rows[-1]["labels"]) < float(rows[0]["labels"]) / 2


def test_detect_prints_the_best_classes(trained: Path, colors: Path, tmp_path: Path) -> None:
    images = [colors / "val" / name / "100.png" for name in COLORS]
    result = tiny.yolor("detect", trained / "weights/best.pt", *images, "--json", "--project", tmp_path)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    for line in lines:
        assert line["detections"] == [] and len(line["labels"]) == 3
        scores = [one["score"] for one in line["labels"]]
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-5)
        assert all(one["name"] == ("blue", "green", "red")[one["class"]] for one in line["labels"])
    best = [line["labels"][0]["name"] for line in lines]
    assert sum(name == right for name, right in zip(best, COLORS, strict=True)) >= 2
    assert "3 images, labels for 3 images: " in result.stderr and "detection" not in result.stderr
    drawn = cv2.imread(str(tmp_path / "exp/100.png"))
    assert drawn is not None


def test_the_library_gives_labels(trained: Path, colors: Path) -> None:
    detector = Detector(trained / "weights/best.pt")
    found = detector(colors / "val/red/100.png")
    assert found.labels is not None and len(found) == 0 and str(found).startswith(str(found.labels[0]))
    raw = torch.from_numpy(detector.prepare(colors / "val/red/100.png").pixels)[None]
    with torch.no_grad():
        want = detector.network(raw)[0].flatten()
    scores = {one.class_id: one.score for one in found.labels}
    np.testing.assert_allclose([scores[k] for k in range(3)], want.numpy(), atol=1e-5)
    assert found.to_dict()["labels"][0]["name"] == found.labels[0].name


def test_test_prints_accuracy_and_writes_it(trained: Path, colors: Path, tmp_path: Path) -> None:
    best = trained / "weights/best.pt"
    result = tiny.yolor("test", best, "--data", colors, "--project", tmp_path)
    assert result.exit_code == 0, result.stderr
    metrics = json.loads((tmp_path / "exp/metrics.json").read_text())
    found = metrics["classification"]
    assert f"top-1 {found['top1']:.4f}, top-3 1.0000, 9 images" in result.stdout
    assert (
        metrics["images"] == 9
        and "coco" not in metrics
        and [row["name"] for row in found["per_class"]] == sorted(COLORS)
    )
    labels = [
        Detector(best)(one.image).labels for one in open_data(colors, split="val", caches=False).samples
    ]
    right = [
        label[0].class_id == k for label, k in zip(labels, [0, 0, 0, 1, 1, 1, 2, 2, 2], strict=True) if label
    ]
    assert found["top1"] == pytest.approx(np.mean(right))


def test_files_and_engines_of_a_classifier_have_its_accuracy(
    trained: Path, colors: Path, tmp_path: Path
) -> None:
    best, project = trained / "weights/best.pt", tmp_path / "runs"
    tested = tiny.yolor("test", best, "--data", colors, "--json", "--no-save")
    top1 = json.loads(tested.stdout)["classification"]["top1"]
    assert top1 > 0.5
    done = tiny.yolor("export", best, "--data", colors, "--json", "--project", project)
    assert done.exit_code == 0, done.stderr
    written = json.loads(done.stdout)
    assert "AP" not in written and written["top1"] == pytest.approx({"network": top1, "file": top1})
    own = ("--engine", "torch", "--batch", "1", "--turns", "1", "--json")
    raced = tiny.yolor("bench", best, "--data", colors, *own)
    assert raced.exit_code == 0, raced.stderr
    assert json.loads(raced.stdout)[0]["top1"] == pytest.approx(top1)


def test_a_classifier_resumes_bit_equal(colors: Path, tmp_path: Path) -> None:
    """Gone on with after its first epoch; mixing, colours and angles follow from the seed."""
    text = classifier_text(net=NET + "mixup=1\nblur=3\nlabel_smooth_eps=.1\n")
    said = training.options(tmp_path, colors, text=text, epochs=3, batch_size=6, update_batch=6, val_period=1)
    whole = training.run(said, tmp_path, name="whole").folder
    part = training.run(said._replace(epochs=1), tmp_path, name="part").folder
    args = part / "args.yaml"
    args.write_text(args.read_text().replace("epochs: 1\n", "epochs: 3\n"))
    resume_run(part, drawing=training.DRAWING, say=lambda text: None)
    assert training.different(whole / "weights/last.pt", part / "weights/last.pt") == []
    assert (whole / "results.csv").read_text() == (part / "results.csv").read_text()


@pytest.mark.parametrize("dialect", ["yolor", "pjreddie"])
def test_a_joint_network_learns_boxes_and_labels(dialect: str, tmp_path: Path) -> None:
    data = training.shapes(tmp_path)
    said = training.options(tmp_path, data, text=joint_text(dialect).replace("silu", "leaky"), epochs=2)
    folder = training.run(said, tmp_path).folder
    row = list(csv.DictReader((folder / "results.csv").open()))[-1]
    assert all(row[name] for name in ("box", "objectness", "labels", "AP", "mAP", "F1"))
    total = sum(float(row[name]) for name in ("box", "objectness", "classes", "labels"))
    assert float(row["loss"]) == pytest.approx(total, rel=1e-3)
    result = tiny.yolor("test", folder / "weights/best.pt", "--data", data, "--json", "--no-save")
    document = json.loads(result.stdout)
    assert {"coco", "multilabel"} <= document.keys() and document["multilabel"]["images"] == 4
    found = tiny.yolor(
        "detect",
        folder / "weights/best.pt",
        next((tmp_path / "shapes/images").iterdir()),
        "--json",
        "--nosave",
        "--conf",
        0.01,
        "--project",
        tmp_path,
    )
    record = json.loads(found.stdout)
    assert len(record["labels"]) == 6 and isinstance(record["detections"], list)


def test_a_joint_network_learns_from_images_with_classes_alone(tmp_path: Path) -> None:
    """Its heads with boxes get no loss: their convolution stays as it is."""
    data = write_colors(tmp_path / "colors", train=4, val=2)
    text = training.yolor_text(classes=3) + "[route]\nlayers=2\n" + LAST.format(3) + "[logistic]\n"
    said = training.options(tmp_path, data, text=text, epochs=1, ema=False, val_period=1)
    outcome = training.run(said, tmp_path)
    torch.manual_seed(said.seed)
    fresh = Network(outcome.job.graph)
    after, before = outcome.state.network.module_list, fresh.module_list
    assert torch.equal(after[4].Conv2d.weight, before[4].Conv2d.weight)
    assert not torch.equal(after[7].Conv2d.weight, before[7].Conv2d.weight)
    assert list(outcome.state.rows[0]).count("mAP") == 1 and "AP" not in outcome.state.rows[0]


def test_heads_of_boxes_and_labels_need_the_same_classes(tmp_path: Path) -> None:
    text = training.yolor_text() + "[route]\nlayers=2\n" + LAST.format(5) + "[logistic]\n"
    network = Network(build_graph(parse(text)))
    data = open_data(training.shapes(tmp_path, count=5), split="val", caches=False)
    with pytest.raises(Exception, match="the heads differ in their number of classes"):
        evaluate_tasks(network, data)


def test_the_labels_of_a_perfect_network_score_one(tmp_path: Path) -> None:
    """A network that gives back its one pixel, on images that say which class they are."""
    for name, value in (("a", (255, 0, 0)), ("b", (0, 255, 0)), ("c", (0, 0, 255))):
        for split in ("train", "val"):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            cv2.imwrite(str(place / "x.png"), np.full((4, 4, 3), value[::-1], np.uint8))
    network = Network(
        build_graph(parse("[net]\nheight=2\nwidth=2\nchannels=3\n[avgpool]\n[softmax]\ntemperature=.05\n"))
    )
    network.register_parameter("spare", torch.nn.Parameter(torch.zeros(1)))
    scores = evaluate_tasks(network, open_data(tmp_path, split="val", caches=False))
    (found,) = scores.labels
    assert (found.top1, found.map, found.mean_f1, scores.boxes, scores.ranking) == (1, 1, 1, None, 1)
    assert label_documents(scores.labels)["classification"]["top1"] == 1
