"""What a run says of its course, what it leaves when it fails, and that a fault in a test costs nothing."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg.errors import DataError
from yolor_cfg.runs import trial_folder
from yolor_cfg.train import loop
from yolor_cfg.train.logger import format_time
from yolor_cfg.train.run import start_run
from yolor_cfg.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


def run(said, folder):
    """All that a run says."""
    told = []
    start_run(said, project=str(folder), name="exp", drawing=training.DRAWING, say=told.append)
    return told


@pytest.mark.parametrize(
    "fault", [DataError("no such image"), RuntimeError("out of memory"), OSError("gone")]
)
def test_a_fault_in_the_test_costs_nothing(tmp_path, data, monkeypatch, fault):
    def spoilt(job, state):
        raise fault

    monkeypatch.setattr(loop, "evaluate_holdout", spoilt)
    told = run(training.options(tmp_path, data, val_period=1), tmp_path / "runs")
    folder = tmp_path / "runs/exp"
    assert len(list(csv.DictReader(open(folder / "results.csv")))) == 2
    assert "epoch 1/2: the test failed, the weights are kept and training goes on: " in "\n".join(told)
    assert any(line.startswith("epoch 2/2: the test failed, the weights are kept: ") for line in told)
    for name in ("last.pt", "best.pt"):
        assert read_checkpoint(folder / "weights" / name).tensors
    with pytest.raises(AssertionError, match=str(fault)):  # tests that train do not take it for a success
        training.run(training.options(tmp_path, data, val_period=1), tmp_path / "runs", "other")


def test_a_run_killed_in_its_test_resumes_at_the_test(tmp_path, data, monkeypatch):
    class Killed(BaseException):
        pass

    def spoilt(job, state):
        raise Killed

    said = training.options(tmp_path, data, val_period=1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "evaluate_holdout", spoilt)
        training.run(said, tmp_path / "runs")
    folder = tmp_path / "runs/exp"
    state = torch.load(folder / "weights/last.pt", weights_only=True)["training"]
    assert (state["epoch"], state["batch"], state["count"]) == (0, 4, 4)


def test_missing_validation_images_end_no_run(tmp_path, data, monkeypatch):
    """As a user has it: the images of the validation split are moved away while the network trains."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data.parent, "set")
    cfg = Path("small.cfg")
    cfg.write_text(training.yolor_text())
    original = loop.evaluate_holdout

    def spoilt(job, state):
        for name in Path("set/val.txt").read_text().split():
            (Path("set") / name).unlink(missing_ok=True)
        return original(job, state)

    monkeypatch.setattr(loop, "evaluate_holdout", spoilt)
    result = tiny.yolor("train", cfg, "--data", Path("set") / data.name, "--epochs", 2, "--workers", 0)
    assert "Traceback" not in result.output
    assert result.exit_code == 0, result.output
    assert len(Path("runs/train/exp/results.csv").read_text().splitlines()) == 3


def test_darknets_recipe_says_iterations_with_epochs_beside(tmp_path, data, monkeypatch):
    """C Darknet counts updates of `batch` images (get_current_iteration in network.c)."""
    text = training.darknet_text()  # batch=8, subdivisions=2, max_batches=6
    said = training.options(tmp_path, data, text=text, epochs=None, batch_size=None, update_batch=None)
    told = run(said, tmp_path / "runs")
    assert "6 iterations of 8 images (2 parts of 4), 3 epochs of 16 images" in told
    rows = [line for line in told if line.startswith("iteration")]
    assert [line.split("  ")[:2] for line in rows] == [
        ["iteration 2/6", "epoch 1/3"],
        ["iteration 4/6", "epoch 2/3"],
        ["iteration 6/6", "epoch 3/3"],
    ]
    assert " left" in rows[0] and " left" not in rows[-1]
    monkeypatch.chdir(tmp_path)
    result = tiny.yolor("train", said.cfg, "--data", data, "--dry-run")
    assert "6 iterations of 8 images (2 parts of 4), 3 epochs of 16 images" in result.stderr


def test_epochs_count_alike_on_screen_and_in_the_files(tmp_path, data):
    told = run(training.options(tmp_path, data), tmp_path / "runs")
    assert "2 epochs of 16 images: 4 batches of 4 images, an update of the weights every 2 batches" in told
    on_screen = [line.split("/")[0] for line in told if line.startswith("epoch")]
    rows = list(csv.DictReader(open(tmp_path / "runs/exp/results.csv")))
    lines = (tmp_path / "runs/exp/metrics.jsonl").read_text().splitlines()
    assert on_screen == [f"epoch {float(row['epoch']):.0f}" for row in rows] == ["epoch 1", "epoch 2"]
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h"), (260000, "3.0 days")],
)
def test_times_are_told_in_the_largest_unit_of_which_there_are_two(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_a_run_that_fails_at_once_leaves_no_folder(tmp_path, data, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    cfg = tmp_path / "small.cfg"
    cfg.write_text(training.yolor_text())
    folder = Path(shutil.copytree(data.parent, tmp_path / "set"))
    for name in (folder / "train.txt").read_text().split():
        image = folder / name
        data_bytes = image.read_bytes()
        image.write_bytes(data_bytes[:40] + bytes(max(len(data_bytes) - 52, 0)) + data_bytes[-12:])
    result = tiny.yolor("train", cfg, "--data", folder / data.name, "--workers", 0, *options)
    assert result.exit_code == 3, result.output
    assert not Path("runs").exists()


def test_a_folder_with_something_to_keep_stays(tmp_path):
    with pytest.raises(OSError), trial_folder(tmp_path / "a/b", "exp") as folder:
        raise OSError
    assert not (tmp_path / "a").exists()
    with pytest.raises(OSError), trial_folder(tmp_path / "a/b", "exp", proof="last.pt") as folder:
        (folder / "last.pt").write_text("x")
        raise OSError
    assert (tmp_path / "a/b/exp/last.pt").exists()
