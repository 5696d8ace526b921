"""`yolor train`: its options, messages and files, how it stops and resumes."""

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
import training
import yaml
from click.testing import Result

from yolor_cfg import cli
from yolor_cfg.cli.train import _ProgressBar
from yolor_cfg.train.logger import Progress, RunLogger
from yolor_cfg.train.run import start_run

FILES = {
    "args.yaml",
    "env.json",
    "model.cfg",
    "run.json",
    "report.html",
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
    """A stream that records what is written and claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def command(blank_charts: None, one_thread: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cli.COMMANDS, "train", "yolor_cfg.cli.train:train")
    monkeypatch.chdir(tmp_path)


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


def test_a_run_says_where_its_results_are_and_prints_one_document(cfg, data, tmp_path, monkeypatch):
    monkeypatch.undo()  # charts are painted here
    monkeypatch.chdir(tmp_path)
    result = run(cfg, "--data", data, "--epochs", 2, "--json", "--workers", 0)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["folder"] == "runs/train/exp"
    assert [row["epoch"] for row in document["rows"]] == [1, 2]
    assert document["best_AP"] == max(row["AP"] for row in document["rows"])
    assert "epoch 2/2" in result.stderr
    folder = tmp_path / "runs/train/exp"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES
    images = [path for path in folder.iterdir() if path.suffix in (".png", ".jpg")]
    assert len(images) == 12
    assert all(training.is_image(cv2.imread(str(path))) for path in images)


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


def test_the_batch_size_defaults_to_the_cfgs(cfg, data):
    assert run(cfg, "--data", data, "--epochs", 1, "-q").exit_code == 0
    document = yaml.safe_load(Path("runs/train/exp/args.yaml").read_text())
    assert document["batch_size"] is None
    result = run(cfg, "--data", data, "--dry-run")
    assert "4 batches of 4 images" in result.stderr  # 16 images, batch=8 subdivisions=2


def test_extra_keys_of_a_hyp_file_of_yolov5_are_told_and_the_rest_is_used(cfg, data):
    """Its data/hyps/hyp.scratch-low.yaml has copy_paste, and anchors in a comment that people open."""
    Path("v5.yaml").write_text("lr0: 1e-3\nanchors: 3\ncopy_paste: 0.0\n")
    result = run(cfg, "--data", data, "--hyp", "v5.yaml", "--epochs", 1, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert "v5.yaml: no effect here: anchors, copy_paste" in result.stderr


def test_a_dry_run_draws_the_first_batches_and_trains_nothing(cfg, data):
    result = run(cfg, "--data", data, "--dry-run", "--name", "look", "--batch-size", 4, "--json")
    assert result.exit_code == 0, result.output
    folder = Path("runs/train/look")
    assert json.loads(result.stdout) == {"folder": str(folder)}
    assert sorted(path.name for path in folder.iterdir()) == [f"train_batch{i}.jpg" for i in range(3)]
    assert training.is_image(cv2.imread(str(folder / "train_batch0.jpg")))


ENDINGS = {130: "interrupted", 143: "terminated"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_state_and_prints_how_to_resume(cfg, data, monkeypatch, number, code):
    noted = RunLogger.log_batch

    def batch(self, state, batch, losses):
        noted(self, state, batch, losses)
        if state.count == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(RunLogger, "log_batch", batch)
        result = run(cfg, "--data", data, "--epochs", 2, "--workers", 0, "--json")
    assert result.exit_code == code, result.output
    said = json.loads(result.stdout)
    assert (said["folder"], said["ending"]) == ("runs/train/exp", ENDINGS[code])
    assert "resume with: yolor train --resume runs/train/exp" in result.stderr
    result = run("--resume")
    assert result.exit_code == 0, result.output
    assert "resuming runs/train/exp after batch 4 of epoch 1" in result.stderr
    assert len(Path("runs/train/exp/metrics.jsonl").read_text().splitlines()) == 2


def test_options_beside_resume_that_differ_are_reported_as_ignored(cfg, data):
    run(cfg, "--data", data, "--epochs", 1, "-q")
    result = run(cfg, "--data", data, "--epochs", 1, "--resume", "runs/train/exp")
    assert result.exit_code == 0, result.output
    assert "ignored" not in result.stderr
    result = run("--resume", "--epochs", 7, "--sync-bn")
    assert result.exit_code == 0, result.output
    assert (
        "ignored: epochs, sync-bn; a resumed run keeps the options in runs/train/exp/args.yaml"
        in result.stderr
    )
    assert len(Path("runs/train/exp/metrics.jsonl").read_text().splitlines()) == 1


def test_fixed_labels_and_unreadable_images_are_reported(cfg, data, tmp_path):
    folder = tmp_path / "spoilt"
    shutil.copytree(data.parent, folder)
    names = (folder / "train.txt").read_text().split()
    images = [folder / name for name in names[:3]]
    label = folder / "labels" / f"{images[0].stem}.txt"
    label.write_text(label.read_text() + "0 .5 .5 1.5 .5\n")
    images[1].write_bytes(b"no image")
    whole = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    images[2].write_bytes(whole[:40] + bytes(len(whole) - 52) + whole[-12:])  # looks whole from outside
    args = (cfg, "--data", folder / data.name, "--epochs", 1, "--workers", 0)
    assert run(*args).exit_code == 3
    result = run(*args, "--fix-labels", "clip")
    assert result.exit_code == 0, result.output
    for word in (f"{label.name}:", images[1].name, f"{images[2].name}: ", "unreadable images: 1"):
        assert word in result.stderr
    assert run(*args, "--fix-labels", "clip", "--strict").exit_code == 3


def test_progress_is_reported_by_batch_in_each_epoch(tmp_path, data):
    said = training.options(tmp_path, data, epochs=None, max_batches=3)  # 3 updates of 2 batches, 4 an epoch
    calls = []
    drawing = training.DRAWING._replace(show_progress=calls.append)
    state = start_run(said, project="runs", name="exp", drawing=drawing, say=lambda text: None).state
    assert [progress[:2] for progress in calls] == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 2), (2, 2)]
    losses = [progress.loss for progress in calls]
    assert sum(losses[:4]) / 4 == pytest.approx(state.rows[0]["loss"])


def test_a_progress_bar_is_shown_on_a_terminal_only(monkeypatch):
    for hidden, terminal in ((False, Terminal()), (True, Terminal()), (False, io.StringIO())):
        monkeypatch.setattr(sys, "stderr", terminal)
        bar = _ProgressBar(hidden=hidden)
        bar.show(Progress(3, 8, 1.25, "epoch 1/2"))
        bar.say("a word")
        text = terminal.getvalue()
        seen = not hidden and terminal.isatty()
        assert text.endswith("a word\n")
        assert (text != "a word\n") == seen
        assert ("2/8" in text) == seen  # the bar began at the batch before
        bar.show(Progress(8, 8, 1.25, "epoch 1/2"))
        assert bar.bar is None


def test_transferred_weights_are_reported(cfg, data):
    run(cfg, "--data", data, "--epochs", 1, "-q")
    result = run(cfg, "--data", data, "--epochs", 1, "--weights", "runs/train/exp/weights/best.pt")
    assert result.exit_code == 0, result.output
    assert "layers 0-4 taken whole" in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["small.cfg"], 2, "give CFG and --data"),
        (["--resume"], 3, "no run to resume"),
        (["small.cfg", "--data", "nothing.data"], 3, "no such file"),
        (["nothing.cfg", "--data", "DATA"], 2, "cannot be read"),
        (["small.cfg", "--data", "DATA", "--weights", "nothing.pt"], 4, "nothing.pt"),
        (["small.cfg", "--data", "DATA", "--hyp", "nothing.yaml"], 2, "nothing.yaml"),
        (
            ["small.cfg", "--data", "DATA", "--hyp", "smal"],
            2,
            "scratch640, scratch1280, finetune1280, paper, jde, small, task",
        ),
    ],
)
def test_faults_are_one_message_and_an_exit_code(cfg, data, args, code, text):
    result = run(*[data if arg == "DATA" else arg for arg in args])
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """The folder of a run on `data/...`, as seen from work/, that was stopped in its first epoch."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    training.shapes(tmp_path / "work", count=14)
    Path("small.cfg").write_text(training.yolor_text())
    with monkeypatch.context() as patch:
        training.stop_after(patch, 1)
        run("small.cfg", "--data", "shapes/shapes.data", "--epochs", 1, "--workers", 0, "--no-val")
    return tmp_path / "work/runs/train/exp"


def test_a_run_is_resumed_from_any_folder(stopped, tmp_path, monkeypatch):
    """Its data stand where they stood when it was started: env.json names that folder."""
    monkeypatch.chdir(tmp_path)
    result = run("--resume", "work/runs/train/exp", "--project", "here", "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"note: paths are those of {tmp_path / 'work'}" in result.stderr
    assert (tmp_path / "here/exp/train_batch0.jpg").exists()
    result = run("--resume", "work/runs/train/exp")
    assert result.exit_code == 0, result.output
    assert "after batch 2 of epoch 1" in result.stderr and (stopped / "weights/best.pt").exists()
    assert Path.cwd() == tmp_path and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("record", [True, False])
def test_data_that_a_resumed_run_does_not_find_are_told_with_the_way_out(stopped, tmp_path, record):
    """With a record of the first start or, as in runs of earlier versions, without."""
    shutil.move(tmp_path / "work/shapes", tmp_path / "gone")
    environment = json.loads((stopped / "env.json").read_text())
    environment["folder"] = str(tmp_path / "other") if record else None
    (stopped / "env.json").write_text(json.dumps(environment))
    for more in ((), ("--dry-run",)):
        result = run("--resume", "runs/train/exp", *more)
        assert result.exit_code == 3 and "shapes/shapes.data" in result.stderr
        place = f"in {tmp_path / 'other'}" if record else "in another folder, perhaps: resume it there"
        assert f"paths of a run are those of the folder where it was started, {place}" in result.stderr


def test_a_dry_run_of_a_resumed_run_draws_its_next_batches_and_leaves_it_alone(stopped):
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    result = run("--resume", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "would go on after batch 2 of epoch 1" in result.stderr
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    drawn = sorted(path.name for path in Path("runs/train/exp2").iterdir())
    assert drawn and all(name.startswith("train_batch") for name in drawn)
