"""A run of several processes stopped at any moment resumes as if it had not been."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import training
from dist_runs import write_options
from launching import ROOT, processes, torchrun

from yolor_cfg.train.run import LAST

# In one start of the processes, since starting takes longer than training: a run that is not broken; one that
# is stopped after a batch by a signal to the last process alone; one that breaks between two checkpoints, as
# by SIGKILL: nothing is saved. Both then resume.
PROGRAM = f"""
import json, os, signal, sys, torch, yaml
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {str(Path(__file__).parent)!r})
import training
from yolor_cfg.parallel import process_group
from yolor_cfg.train import run
from yolor_cfg.train.settings import TrainOptions

class Broken(Exception):
    pass

noted = run.RunLogger.log_batch
ends = {{}}

def after(batches, what):
    def batch(self, state, batch, losses):
        noted(self, state, batch, losses)
        if state.count == batches:
            what()
    run.RunLogger.log_batch = batch

def break_off():
    raise Broken

def go_on(name):
    run.RunLogger.log_batch = noted
    torch.distributed.barrier()  # until the first process has written the state
    outcome = run.resume_run(project / name, drawing=training.DRAWING, say=lambda text: None)
    ends[name].append([outcome.ending.reason, outcome.state.count])

said = TrainOptions.from_dict(yaml.safe_load(Path(sys.argv[1]).read_text()))
project, stop, broken = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with process_group("cpu") as rank:
    training.run(said, project, "whole")
    after(stop - 1, lambda: rank.rank == rank.world_size - 1 and os.kill(os.getpid(), signal.SIGTERM))
    outcome = training.run(said, project, "stopped")
    ends["stopped"] = [[outcome.ending.reason, outcome.state.count]]
    go_on("stopped")
    after(broken, break_off)
    try:
        training.run(said, project, "broken")
    except Broken:
        ends["broken"] = []
    go_on("broken")
    (project / f"ends{{rank.rank}}.json").write_text(json.dumps(ends))
"""
# `yolor train` itself; at its first start, and if so asked, the second process is killed after its 6th batch.
COMMAND = """
import os, signal, sys, torch
torch.set_num_threads(1)
from yolor_cfg.cli import main
from yolor_cfg.train import run

noted = run.RunLogger.log_batch
def batch(self, state, batch, losses):
    noted(self, state, batch, losses)
    if "kill" in os.environ["NAME"] and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if state.count == 6 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
run.RunLogger.log_batch = batch
main(["train", *sys.argv[1:], "--name", os.environ["NAME"]])
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.shapes(tmp_path_factory.mktemp("data"), count=24)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"sync_bn": True}, {"world": 3, "deterministic": True}], ids=str)
def test_several_processes_stopped_or_killed_end_bit_equal(tmp_path, data, more):
    world = more.get("world", 2)
    more = {name: value for name, value in more.items() if name != "world"}
    said = training.options(
        tmp_path,
        data,
        epochs=3,
        batch_size=2 * world,
        update_batch=6 * world,
        val_period=2,
        save_steps=1,
        **more,
    )
    args, project = write_options(said, tmp_path), tmp_path / "runs"
    stop, broken = 8, 11
    processes(PROGRAM, args, project, stop, broken, world=world)
    for number in range(world):
        ends = json.loads((project / f"ends{number}.json").read_text())
        assert ends["stopped"][0] == ["interrupted" if number < world - 1 else "terminated", stop]
        assert ends["stopped"][1] == ends["broken"][0]
    for name in ("stopped", "broken"):
        assert training.different(project / "whole" / LAST, project / name / LAST) == [], name
        rows = [(project / run / "metrics.jsonl").read_text() for run in ("whole", name)]
        assert rows[0] == rows[1], name


@pytest.mark.slow
def test_torchrun_restarts_a_killed_run_and_it_resumes_by_itself(tmp_path, data):
    said = training.options(tmp_path, data)
    script, project = tmp_path / "command.py", tmp_path / "runs"
    script.write_text(COMMAND)
    launch = torchrun(2, "--max-restarts=1", str(script))
    options = {
        "epochs": 3,
        "batch-size": 4,
        "update-batch": 12,
        "workers": 0,
        "val-period": 0,
        "save-steps": 1,
        "project": project,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    for name in ("whole", "killed"):
        done = subprocess.run(
            [*launch, said.cfg, "--data", str(data), *words],
            cwd=ROOT,
            text=True,
            env={**os.environ, "NAME": name},
            capture_output=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert ("resuming" in done.stderr) == (name == "killed")
    assert sorted(folder.name for folder in project.iterdir()) == ["killed", "whole"]
    assert training.different(project / "whole" / LAST, project / "killed" / LAST) == []
