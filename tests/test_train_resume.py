"""A run stopped at any moment resumes as if it had not been."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training
import yaml

from yolor_cfg.errors import DataError, WeightsError, YolorError
from yolor_cfg.train import run
from yolor_cfg.train.dist import mean_gradients
from yolor_cfg.train.logger import BEST, RunLogger
from yolor_cfg.train.origin import read_run_cfg
from yolor_cfg.train.record import load_options
from yolor_cfg.train.run import build_state, resume_run
from yolor_cfg.train.setup import prepare_job
from yolor_cfg.train.state import load_state, save_state
from yolor_cfg.weights.checkpoint import read_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

PROGRAM = """
import sys, torch, yaml
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import training
from yolor_cfg.train.run import start_run
from yolor_cfg.train.settings import TrainOptions
said = TrainOptions.from_dict(yaml.safe_load(Path(sys.argv[1]).read_text()))
drawing = training.DRAWING._replace(draw_results=lambda rows: None)
start_run(said, project=sys.argv[2], name="killed", drawing=drawing, say=print)
"""


def resume(folder: Path):
    return resume_run(folder, drawing=training.DRAWING, say=lambda text: None)


REGION = (
    "[net]\nwidth=64\nheight=64\nchannels=3\nbatch=8\nsubdivisions=2\nmax_batches=2\nlearning_rate=.0001\n"
    "[convolutional]\nfilters={1}\nsize=8\nstride=16\nactivation=linear\n"
    "[region]\nclasses={0}\nnum=2\ncoords=4\nanchors=1,1, 2,2\nsoftmax=1\ntree=named.tree\n"
)


def test_the_tree_of_a_run_is_found_beside_the_cfg_that_it_was_started_with(tmp_path, monkeypatch) -> None:
    (tmp_path / "cfgs").mkdir()
    data = training.shapes(tmp_path)
    (tmp_path / "cfgs/named.tree").write_text("".join(f"{name} -1\n" for name in training.NAMES))
    text = REGION.format(len(training.NAMES), 2 * (5 + len(training.NAMES)))
    said = training.options(tmp_path / "cfgs", data, text=text, epochs=1)
    monkeypatch.chdir(tmp_path)
    folder = training.run(said._replace(cfg="cfgs/small.cfg"), tmp_path / "runs").folder
    monkeypatch.chdir(tmp_path.parent)
    assert resume(folder).job.graph.path == str(tmp_path / "cfgs/small.cfg")
    record = folder / "env.json"  # of a run before this was written down
    record.write_text(json.dumps({"folder": json.loads(record.read_text())["folder"]}))
    assert resume(folder).job.graph.path == str(tmp_path / "cfgs/small.cfg")


def test_without_the_folder_of_its_cfg_a_run_keeps_the_name_and_looks_beside_its_copy(tmp_path) -> None:
    (tmp_path / "model.cfg").write_text(training.yolor_text())
    (tmp_path / "env.json").write_text(json.dumps({"cfg": str(tmp_path / "gone/yolov4-tiny.cfg")}))
    document = read_run_cfg(tmp_path, training.options(tmp_path, tmp_path))
    assert document.path == str(tmp_path / "yolov4-tiny.cfg")
    assert document.text == training.yolor_text()


def rows_of(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


@pytest.mark.parametrize(
    ("batches", "optimizer"),
    [
        (3, "sgd"),
        (4, "adamw"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(6, "sgd"), (3, "adamw"), (4, "sgd"), (6, "adamw")]
        ),
    ],
)
def test_a_run_stopped_at_any_batch_ends_bit_equal(tmp_path, data, monkeypatch, batches, optimizer):
    said = training.options(tmp_path, data, epochs=3, optimizer=optimizer, update_batch=12, val_period=2)
    training.check_resume(said, tmp_path / "runs", monkeypatch, stop=batches - 1)


def test_a_killed_run_ends_bit_equal(tmp_path, data):
    said = training.options(tmp_path, data, epochs=6, save_steps=1)
    args = tmp_path / "args.yaml"
    args.write_text(yaml.safe_dump(said.to_dict()))
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(args), str(tmp_path / "runs")],
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    last = tmp_path / "runs/killed" / run.LAST
    deadline = time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.random() * 0.4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert last.exists()
    resume(last.parents[1])
    whole = training.run(said, tmp_path / "runs", "whole")
    assert training.different(whole.folder / run.LAST, last) == []
    assert rows_of(whole.folder) == rows_of(last.parents[1])


def test_the_options_of_a_run_are_read_back(tmp_path, data):
    said = training.options(tmp_path, data, epochs=1, img_size=(64, 96))
    folder = training.run(said, tmp_path / "runs").folder
    assert load_options(folder) == said


def test_a_run_resumes_with_its_own_order_of_classes_and_refuses_others(tmp_path, monkeypatch):
    data = training.shapes(tmp_path)
    training.stop_after(monkeypatch, 1)
    folder = training.run(training.options(tmp_path, data), tmp_path / "runs").folder
    (names_file,) = data.parent.glob("*.names")
    names = names_file.read_text().split()
    names_file.write_text("\n".join(["x", *names[1:]]))
    with pytest.raises(DataError, match="the data set has other classes than the run"):
        resume(folder)
    names_file.write_text("\n".join(names[::-1]))
    said = []
    resumed = resume_run(folder, drawing=training.DRAWING, say=said.append)
    assert resumed.job.dataset.names == tuple(names)
    assert any("classes are numbered by their names, as in the run" in line for line in said)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="not the folder of a training run\n  found:   no args.yaml in it"):
        resume(tmp_path)


def test_weights_alone_are_refused(tmp_path, data):
    folder = training.run(training.options(tmp_path, data, epochs=1), tmp_path / "runs").folder
    (folder / run.LAST).write_bytes((folder / BEST).read_bytes())
    with pytest.raises(WeightsError, match="only weights"):
        resume(folder)


def test_a_finished_run_has_nothing_left_to_do(tmp_path, data):
    folder = training.run(training.options(tmp_path, data, epochs=1), tmp_path / "runs").folder
    before = (folder / run.LAST).read_bytes()
    assert resume(folder).ending.reason == "done"
    assert (folder / run.LAST).read_bytes() == before


@pytest.mark.parametrize("batches", [8, *(pytest.param(count, marks=pytest.mark.slow) for count in (6, 9))])
def test_the_papers_recipe_resumes_exactly_on_both_sides_of_its_phase_change(
    tmp_path, data, monkeypatch, batches
):
    said = training.options(tmp_path, data, epochs=3, recipe="paper", update_batch=12)
    job = prepare_job(said)
    assert [job.find_phase(epoch).loader.transform.tiles for epoch in range(3)] == [4, 4, 9]
    assert job.per_epoch == 4  # the last mosaic of four images is in batch 8
    whole = training.run(said, tmp_path / "runs", "whole")
    with monkeypatch.context() as patch:
        training.stop_after(patch, batches - 1)
        parts = training.run(said, tmp_path / "runs", "parts")
    assert parts.state.count == batches
    assert resume(parts.folder).ending.reason == "done"
    assert training.different(whole.folder / run.LAST, parts.folder / run.LAST) == []
    assert rows_of(whole.folder) == rows_of(parts.folder)


def test_a_run_killed_while_it_saves_the_results_of_an_epoch_finds_its_best_network_again(
    tmp_path, data, monkeypatch
):
    said = training.options(tmp_path, data, epochs=3, val_period=2)
    whole = training.run(said, tmp_path / "runs", "whole")
    assert whole.state.best_epoch == 1
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_between_what_an_epoch_keeps(patch, epoch=2)
        training.run(said, tmp_path / "runs", "parts")
    parts = tmp_path / "runs/parts"
    resume(parts)
    best = [read_checkpoint(folder / BEST).tensors for folder in (whole.folder, parts)]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())
    assert training.different(whole.folder / run.LAST, parts / run.LAST) == []


class Killed(Exception):
    """Stands for SIGKILL."""


def killed_between_what_an_epoch_keeps(monkeypatch, *, epoch: int) -> None:
    """Of the state and the results, only the first one is written."""
    came = []

    def spoilt(kept):
        def call(self, state, *args, **more):
            came.extend([kept] if state.epoch == epoch else [])
            if len(came) == 2:
                raise Killed
            kept(self, state, *args, **more)

        return call

    for name in ("save", "log_epoch"):
        monkeypatch.setattr(RunLogger, name, spoilt(getattr(RunLogger, name)))


def test_another_number_of_processes_resumes_with_the_mean_of_the_gradients(tmp_path, data):
    said = training.options(tmp_path, data)
    state = build_state(prepare_job(said), say=lambda text: None)
    save_state(state, tmp_path / "last.pt", names=("a",))
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    names = [name for name, _ in state.network.named_parameters()][:2]
    each = [{name: torch.full_like(content["model"][name], float(k)) for name in names} for k in (1, 2, 6)]
    content["training"] |= {"gradients": mean_gradients(each), "gradients_of_each": each}
    torch.save(content, tmp_path / "last.pt")
    load_state(state, tmp_path / "last.pt")
    found = {name: p.grad for name, p in state.network.named_parameters() if p.grad is not None}
    assert list(found) == names
    assert all((gradient == 3).all() for gradient in found.values())


def test_a_run_in_use_by_another_process_is_not_resumed(tmp_path, data, monkeypatch):
    with monkeypatch.context() as patch:
        training.stop_after(patch, 2)
        parts = training.run(training.options(tmp_path, data), tmp_path / "runs", "parts")
    before = (parts.folder / run.LAST).read_bytes()
    wait = "import sys; from pathlib import Path; from yolor_cfg.runs import folder_lock\n"
    wait += "with folder_lock(Path(sys.argv[1])) as has_it: print(has_it, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", wait, str(parts.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(YolorError, match="another process is training this run"):
            resume(parts.folder)
        assert (parts.folder / run.LAST).read_bytes() == before
        other.stdin.close()
    assert resume(parts.folder).ending.reason == "done"
