"""`yolor train --log tensorboard`: its event files, read back by TensorBoard's own reader."""

import csv
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import training
from tiny_detector import yolor

from yolor_cfg.train.event_log import FOLDER, Progressed, TensorBoardLog
from yolor_cfg.train.logger import LAST
from yolor_cfg.train.record import load_options
from yolor_cfg.train.run import resume_run
from yolor_cfg.train.settings import TrainOptions

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")
event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
)


def read_back(run: Path) -> object:
    """All events of a run."""
    sizes = {"scalars": 0, "images": 0, "tensors": 0}
    found = event_accumulator.EventAccumulator(str(run / FOLDER), sizes)
    return found.Reload()


def table(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open() as file:
        return list(csv.DictReader(file))


def compare(run: Path) -> None:
    """Assert that the events of the epochs are the table."""
    events, rows = read_back(run), table(run)
    steps = [int(float(row["updates"])) for row in rows]
    for column in set(rows[0]) - {"updates"}:
        filled = [(step, float(row[column])) for step, row in zip(steps, rows, strict=True) if row[column]]
        if filled:
            got = [(one.step, one.value) for one in events.Scalars(f"epoch/{column}")]
            assert got == [(step, pytest.approx(value, rel=1e-6)) for step, value in filled], column
    rates = {one.step: one.value for one in events.Scalars("update/lr")}
    assert [rates[step] for step in steps] == [pytest.approx(float(row["lr"])) for row in rows]
    for tag in ("update/loss", "update/lr", "update/images_per_second"):
        told = events.Scalars(tag)
        assert [one.step for one in told] == list(range(1, steps[-1] + 1))
        assert all(one.value > 0 or tag == "update/lr" for one in told)


def test_the_events_are_the_table_the_sheets_and_the_options(tmp_path: Path) -> None:
    data = training.shapes(tmp_path)
    said = training.options(tmp_path, data, log="tensorboard", val_period=1, epochs=3)
    run = training.run(said, tmp_path / "runs").folder
    compare(run)
    events = read_back(run)
    assert "update/box" in events.scalars.Keys() and "update/identity" not in events.scalars.Keys()
    assert events.Scalars("epoch/AP") and len(events.Scalars("epoch/loss")) == 3
    for number in range(3):
        (sheet,) = events.Images(f"train_batch{number}")
        shown = cv2.imdecode(np.frombuffer(sheet.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert cv2.imencode(".jpg", shown)[1].tobytes() == (run / f"train_batch{number}.jpg").read_bytes()
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert plugin.plugin_name == "hparams" and b"batch_size" in plugin.content
    assert load_options(run).log == "tensorboard"


def test_a_run_that_goes_on_appends_at_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = training.options(tmp_path, training.shapes(tmp_path), log="tensorboard", epochs=3)
    whole = training.check_resume(said, tmp_path, monkeypatch, stop=5).folder
    parts = whole.with_name("parts")
    compare(parts)
    for tag in ("update/loss", "epoch/loss", "update/lr"):
        each = [{one.step: one.value for one in read_back(run).Scalars(tag)} for run in (whole, parts)]
        assert each[0].keys() == each[1].keys()
        others = [step for step in each[0] if each[0][step] != each[1][step]]
        assert len(others) <= (tag == "update/loss")  # that in whose middle it was stopped


def test_what_a_killed_run_wrote_after_its_last_state_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = training.options(tmp_path, training.shapes(tmp_path), log="tensorboard", epochs=3)
    with monkeypatch.context() as inner:
        training.stop_after(inner, 5)
        run = training.run(said, tmp_path).folder
    state = (run / LAST).read_bytes()
    for _ in range(2):
        (run / LAST).write_bytes(state)
        resume_run(run, drawing=training.DRAWING, say=lambda text: None)
        compare(run)


def test_without_the_extra_it_is_one_message_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = training.shapes(tmp_path)
    said = training.options(tmp_path, data)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    result = yolor("train", said.cfg, "--data", data, "--epochs", "1", "--log", "tensorboard")
    assert result.exit_code == 5 and "pip install 'yolor-cfg[tensorboard]'" in result.stderr
    assert not Path("runs").exists()
    assert yolor("train", said.cfg, "--data", data, "--log", "wandb").exit_code == 2


def test_images_in_a_second_are_those_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test behind an epoch takes eight seconds here, each update two."""
    clock = iter([0.0, 2.0, 10.0, 12.0])
    monkeypatch.setattr("yolor_cfg.train.event_log.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    told: list[tuple[str, float, int]] = []
    writer = SimpleNamespace(add_scalar=lambda *one: told.append(one), flush=lambda: None)
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", lambda *_, **__: writer)
    log = TensorBoardLog(Path("nowhere"), cast("TrainOptions", None), updates=4)
    log.log_batch(Progressed(4, [2.0, 1.0], 0.1, 3))  # a part of the update, told with it
    log.log_batch(Progressed(5, [4.0, 0.0], 0.1, 5))
    log.log_epoch({"updates": 5.0, "AP": 0.5})
    log.log_batch(Progressed(6, [1.0, 1.0], 0.1, 8))
    paces = [(value, step) for name, value, step in told if name == "update/images_per_second"]
    assert paces == [((3 + 5) / 2, 5), (8 / 2, 6)]
    assert ("update/loss", 3.0, 5) in told and ("update/box", 0.5, 5) in told and ("epoch/AP", 0.5, 5) in told
