"""`yolor train`: what it takes, says and writes, how it stops and goes on."""

import json
import os
import signal
from pathlib import Path

import cv2
import pytest
import tiny_detector as tiny
import torch
import training
import yaml
from click.testing import Result

from yolor_cfg import cli
from yolor_cfg.train.run import Journal


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
    names = {path.name for path in (tmp_path / "runs/train/exp").iterdir()}
    assert {"PR_curve.png", "confusion_matrix.png", "labels.png"} <= names
    assert {"val_batch0_labels.jpg", "val_batch0_pred.jpg"} <= names


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
    noted = Journal.batch

    def batch(self, state, batch, losses):
        noted(self, state, batch, losses)
        if state.count == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "batch", batch)
        result = run(cfg, "--data", data, "--epochs", 2, "--workers", 0)
    assert result.exit_code == code, result.output
    assert "go on with: yolor train --resume runs/train/exp" in result.stderr
    result = run("--resume")
    assert result.exit_code == 0, result.output
    assert "going on in runs/train/exp after batch 4 of epoch 1" in result.stderr
    assert len(Path("runs/train/exp/metrics.jsonl").read_text().splitlines()) == 2


def test_weights_of_another_run_are_told(cfg, data):
    run(cfg, "--data", data, "--epochs", 1, "-q")
    result = run(cfg, "--data", data, "--epochs", 1, "--weights", "runs/train/exp/weights/best.pt")
    assert result.exit_code == 0, result.output
    assert "tensors were taken as they are" in result.stderr


@pytest.mark.parametrize(("args", "code", "text"), [
    (["small.cfg"], 2, "give CFG and --data"),
    (["--resume"], 3, "no run to go on with"),
    (["small.cfg", "--data", "nothing.data"], 3, "no such file"),
    (["nothing.cfg", "--data", "DATA"], 2, "cannot be read"),
    (["small.cfg", "--data", "DATA", "--weights", "nothing.pt"], 4, "nothing.pt"),
    (["small.cfg", "--data", "DATA", "--hyp", "nothing.yaml"], 1, "nothing.yaml"),
])  # fmt: skip
def test_faults_are_one_message_and_an_exit_code(cfg, data, args, code, text):
    result = run(*[data if arg == "DATA" else arg for arg in args])
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not Path("runs").exists()
