"""Training on data sets of several tasks: who learns from which images, names by task, and exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_detector as tiny
import torch
import training

from yolor_cfg import Detector, load
from yolor_cfg.errors import CfgError, DataError
from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.task_places import add_tasks_to_text
from yolor_cfg.train.setup import prepare_job
from yolor_cfg.weights.checkpoint import read_checkpoint

TASKS = ("day", "night")
NIGHT = ("owl", "bat", "moth", "fox", "cat", "mouse")
LABELS = """[route]
layers=-3
[avgpool]
[convolutional]
filters=6
size=1
activation=linear
[logistic]
task=what
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One set of images under two lists of names."""
    folder = tmp_path_factory.mktemp("data")
    day = training.shapes(folder)
    night = day.parent / "night.data"
    (day.parent / "night.names").write_text("\n".join(NIGHT))
    night.write_text(day.read_text().replace("shapes.names", "night.names"))
    return {"day": str(day), "night": str(night)}


def two_tasks() -> str:
    return add_tasks_to_text(training.yolor_text(), "small.cfg", TASKS)


def both(data: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{task}={path}" for task, path in data.items())


def values_of(path: Path) -> torch.Tensor:
    tensors = read_checkpoint(path).tensors
    return torch.stack([t for name, t in sorted(tensors.items()) if name.endswith(".implicit")])


def test_each_task_learns_values_of_its_own(tmp_path, data):
    said = training.options(tmp_path, both(data), text=two_tasks(), val_period=1)
    done = training.run(said, tmp_path / "runs")
    checkpoint = read_checkpoint(done.folder / "weights/best.pt")
    assert checkpoint.task_names == {"day": training.NAMES, "night": NIGHT}
    factor, summand = values_of(done.folder / "weights/last.pt")
    for values in (factor, summand):
        assert values.shape[0] == 2 and not torch.equal(values[0], values[1])
    header = (done.folder / "results.csv").read_text().splitlines()[0].split(",")
    assert {"shapes.AP", "night.AP", "shapes.loss", "night.loss"} <= set(header)
    detector = Detector(done.folder / "weights/best.pt", task="night")
    assert detector.names == NIGHT and detector.task("day").names == training.NAMES


def test_images_of_one_task_leave_the_values_of_the_other_alone(tmp_path, data):
    said = training.options(
        tmp_path, (f"night={data['night']}",), text=two_tasks(), weights=None, optimizer="sgd"
    )
    done = training.run(said, tmp_path / "runs")
    start = [torch.ones(32), torch.zeros(32)]
    for values, first in zip(values_of(done.folder / "weights/last.pt"), start, strict=True):
        assert not torch.equal(values[1].flatten(), first)
        if float(first[0]) == 0:  # a summand is not decayed, so that nothing else moves it
            torch.testing.assert_close(values[0].flatten().mean(), torch.zeros(()), atol=0.02, rtol=0)


def test_a_run_of_two_tasks_resumes_to_the_bit(tmp_path, data, monkeypatch):
    said = training.options(tmp_path, both(data), text=two_tasks(), epochs=2, deterministic=True)
    training.check_resume(said, tmp_path / "runs", monkeypatch, stop=3)


def test_heads_of_a_task_learn_from_its_images_alone(tmp_path, data):
    text = training.yolor_text().replace("classes=6\n", "classes=6\ntask=where\n") + LABELS
    network = Network(build_graph(parse(text, "small.cfg")))
    said = training.options(tmp_path, (f"what={data['day']}",), text=text, val_period=0)
    done = training.run(said, tmp_path / "runs")
    assert network.graph.tasks == ("where", "what")
    row = (done.folder / "results.csv").read_text().splitlines()
    assert float(row[1].split(",")[row[0].split(",").index("box")] or 0) == 0


def test_a_data_set_without_its_task_is_refused(tmp_path, data):
    said = training.options(tmp_path, data["day"], text=two_tasks())
    with pytest.raises(CfgError, match="say which task the data set teaches") as caught:
        training.run(said, tmp_path / "runs")
    assert "--data day=" in str(caught.value.allowed)
    with pytest.raises(CfgError, match="no such task in the cfg"):
        training.run(said._replace(data=(f"dusk={data['day']}",)), tmp_path / "runs")
    with pytest.raises(CfgError, match="the cfg has values for tasks of its own"):
        training.run(said._replace(task="night"), tmp_path / "runs")
    taught = said._replace(data=(f"day={data['day']}",))
    with pytest.raises(CfgError, match="say which task the data set tests") as caught:
        training.run(taught._replace(val_data=(str(data["day"]),)), tmp_path / "runs")
    assert caught.value.allowed == f"--val-data day={data['day']}"
    for given, match in (("=x", "no task before the ="), ("day=", "no path behind the =")):
        with pytest.raises(DataError, match=match):
            training.run(said._replace(data=(given,)), tmp_path / "runs")


def test_a_task_without_data_is_told(tmp_path, data):
    said = training.options(tmp_path, f"day={data['day']}", text=two_tasks())
    notes = [str(problem) for problem in prepare_job(said).dataset.problems]
    assert any("no data set of night: what is of this task learns nothing" in note for note in notes)
    told = prepare_job(said._replace(data=both(data))).dataset.problems
    assert not any("no data set of" in str(problem) for problem in told)


def test_a_task_without_boxes_is_refused_for_that(tmp_path, data):
    for name in "abc":
        tiny.save(tmp_path / f"classes/train/{name}/0.png", tiny.photo())
    said = training.options(tmp_path, f"day={tmp_path / 'classes'}", text=two_tasks())
    with pytest.raises(DataError, match="no boxes: the images have classes alone"):
        training.run(said, tmp_path / "runs")


def test_the_command_tests_a_task(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = training.options(tmp_path, both(data), text=two_tasks())
    done = training.run(said, tmp_path / "runs")
    best = done.folder / "weights/best.pt"
    result = tiny.yolor("test", best, "--data", data["night"], "--task", "night", "--json")
    assert result.exit_code == 0, result.stderr
    assert all(name in result.stdout for name in NIGHT)
    day, night = data.values()
    mixed = tiny.yolor("test", best, "--data", f"day={day}", "--data", night)
    assert (mixed.exit_code, "say which task it is of" in mixed.stderr) == (2, True)
    twice = tiny.yolor("test", best, "--data", f"night={night}", "--task", "day")
    assert (twice.exit_code, "--task day has chosen the task" in twice.stderr) == (2, True)
    strange = tiny.yolor("test", best, "--data", f"dusk={day}")
    assert (strange.exit_code, "no such task in the cfg (day, night)" in strange.stderr) == (2, True)
    taught = training.options(tmp_path, Path(day), joint=str(best))
    with pytest.raises(CfgError, match="values for several tasks"):
        training.run(taught, tmp_path / "runs")
    whole = load(best)
    assert whole.graph.tasks == TASKS and load(best, task="day").graph.tasks == ()
