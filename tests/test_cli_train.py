"""`yolor train`: what it takes, says and writes, how it stops and goes on."""

import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
import torch
import training
import yaml
from click.testing import Result

from yolor_cfg import cli
from yolor_cfg.cli.train import _ProgressBar
from yolor_cfg.train.run import RunLogger, start_run

FILES = {
    "args.yaml",
    "env.json",
    "model.cfg",
    "results.csv",
    "metrics.jsonl",
    "results.png",
    "labels.png",
    "train_batch0.jpg",
    "train_batch1.jpg",
    "train_batch2.jpg",
    "val_batch0_labels.jpg",
    "val_batch0_pred.jpg",
    "P_curve.png",
    "R_curve.png",
    "F1_curve.png",
    "PR_curve.png",
    "confusion_matrix.png",
    "weights/last.pt",
    "weights/best.pt",
    "weights/best.weights",
}


class Terminal(io.StringIO):
    """What is written to it is kept, and it says that people look at it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(cli.COMMANDS, "train", "yolor_cfg.cli.train:train")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "small.cfg"
    path.write_text(training.yolor_text())
    return path


def run(*args: object) -> Result:
    return tiny.yolor("train", *args)


def test_a_run_says_where_its_results_are_and_prints_one_document(cfg, data, tmp_path):
    result = run(cfg, "--data", data, "--epochs", 2, "--json", "--workers", 0)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["folder"] == "runs/train/exp"
    assert [row["epoch"] for row in document["rows"]] == [0, 1]
    assert document["best_AP"] == max(row["AP"] for row in document["rows"])
    assert "epoch 2/2" in result.stderr
    folder = tmp_path / "runs/train/exp"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES
    pictures = [path for path in folder.iterdir() if path.suffix in (".png", ".jpg")]
    assert len(pictures) == 12
    assert all(training.is_picture(cv2.imread(str(path))) for path in pictures)


def test_without_matplotlib_a_run_leaves_its_numbers_as_csv(cfg, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(cfg, "--data", data, "--epochs", 1, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert (
        result.stderr.count("pip install 'yolor-cfg[plot]'; the numbers are in the folder's .csv files") == 1
    )
    folder = tmp_path / "runs/train/exp"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {name.replace(".png", ".csv") for name in FILES}
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    assert header == "class,labels" and sum(int(row.split(",")[1]) for row in rows) > 0


def test_the_batch_is_by_default_the_cfgs(cfg, data):
    assert run(cfg, "--data", data, "--epochs", 1, "-q").exit_code == 0
    document = yaml.safe_load(Path("runs/train/exp/args.yaml").read_text())
    assert document["batch_size"] is None
    result = run(cfg, "--data", data, "--dry-run")
    assert "4 batches of 4 images" in result.stderr  # 16 pictures, batch=8 subdivisions=2


def test_a_dry_run_draws_the_first_batches_and_trains_nothing(cfg, data):
    result = run(cfg, "--data", data, "--dry-run", "--name", "look", "--batch-size", 4)
    assert result.exit_code == 0, result.output
    folder = Path("runs/train/look")
    assert sorted(path.name for path in folder.iterdir()) == [f"train_batch{i}.jpg" for i in range(3)]
    assert training.is_picture(cv2.imread(str(folder / "train_batch0.jpg")))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(cfg, data, monkeypatch, number, code):
    noted = RunLogger.log_batch

    def batch(self, state, batch, losses):
        noted(self, state, batch, losses)
        if state.count == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(RunLogger, "batch", batch)
        result = run(cfg, "--data", data, "--epochs", 2, "--workers", 0)
    assert result.exit_code == code, result.output
    assert "go on with: yolor train --resume runs/train/exp" in result.stderr
    result = run("--resume")
    assert result.exit_code == 0, result.output
    assert "going on in runs/train/exp after batch 4 of epoch 1" in result.stderr
    assert len(Path("runs/train/exp/metrics.jsonl").read_text().splitlines()) == 2


def test_what_stands_beside_resume_and_differs_is_told_to_count_for_nothing(cfg, data):
    run(cfg, "--data", data, "--epochs", 1, "-q")
    result = run(cfg, "--data", data, "--epochs", 1, "--resume", "runs/train/exp")
    assert result.exit_code == 0, result.output
    assert "not used" not in result.stderr
    result = run("--resume", "--epochs", 7, "--sync-bn")
    assert result.exit_code == 0, result.output
    assert "not used: epochs, sync-bn; the run goes on as runs/train/exp/args.yaml has it" in result.stderr
    assert len(Path("runs/train/exp/metrics.jsonl").read_text().splitlines()) == 1


def test_mended_labels_and_pictures_that_cannot_be_read_are_named(cfg, data, tmp_path):
    folder = tmp_path / "spoilt"
    shutil.copytree(data.parent, folder)
    names = (folder / "train.txt").read_text().split()
    pictures = [folder / name for name in names[:3]]
    label = folder / "labels" / f"{pictures[0].stem}.txt"
    label.write_text(label.read_text() + "0 .5 .5 1.5 .5\n")
    pictures[1].write_bytes(b"no picture")
    whole = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    pictures[2].write_bytes(whole[:40] + bytes(len(whole) - 52) + whole[-12:])  # looks whole from outside
    args = (cfg, "--data", folder / data.name, "--epochs", 1, "--workers", 0)
    assert run(*args).exit_code == 3
    result = run(*args, "--fix-labels", "clip")
    assert result.exit_code == 0, result.output
    for word in (f"{label.name}:", pictures[1].name, f"{pictures[2].name}: ", "that cannot be read: 1"):
        assert word in result.stderr
    assert run(*args, "--fix-labels", "clip", "--strict").exit_code == 3


def test_progress_is_told_by_batch_in_each_epoch(tmp_path, data):
    said = training.options(tmp_path, data, epochs=None, max_batches=3)  # 3 updates of 2 batches, 4 an epoch
    told = []
    drawing = training.DRAWING._replace(show_progress=lambda *progress: told.append(progress))
    state = start_run(said, project="runs", name="exp", drawing=drawing, say=lambda text: None).state
    assert [progress[:2] for progress in told] == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 2), (2, 2)]
    losses = [loss for *_, loss in told]
    assert sum(losses[:4]) / 4 == pytest.approx(state.rows[0]["loss"])


def test_a_bar_shows_how_far_an_epoch_is_on_a_terminal_and_nowhere_else(monkeypatch):
    for hidden, terminal in ((False, Terminal()), (True, Terminal()), (False, io.StringIO())):
        monkeypatch.setattr(sys, "stderr", terminal)
        bar = _ProgressBar(hidden=hidden)
        bar.show(3, 8, 1.25)
        bar.say("a word")
        text = terminal.getvalue()
        seen = not hidden and terminal.isatty()
        assert text.endswith("a word\n")
        assert (text != "a word\n") == seen
        assert ("2/8" in text) == seen  # the bar began at the batch before
        bar.show(8, 8, 1.25)
        assert bar.bar is None


def test_weights_of_another_run_are_told(cfg, data):
    run(cfg, "--data", data, "--epochs", 1, "-q")
    result = run(cfg, "--data", data, "--epochs", 1, "--weights", "runs/train/exp/weights/best.pt")
    assert result.exit_code == 0, result.output
    assert "tensors were taken as they are" in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["small.cfg"], 2, "give CFG and --data"),
        (["--resume"], 3, "no run to go on with"),
        (["small.cfg", "--data", "nothing.data"], 3, "no such file"),
        (["nothing.cfg", "--data", "DATA"], 2, "cannot be read"),
        (["small.cfg", "--data", "DATA", "--weights", "nothing.pt"], 4, "nothing.pt"),
        (["small.cfg", "--data", "DATA", "--hyp", "nothing.yaml"], 1, "nothing.yaml"),
    ],
)
def test_faults_are_one_message_and_an_exit_code(cfg, data, args, code, text):
    result = run(*[data if arg == "DATA" else arg for arg in args])
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not Path("runs").exists()
