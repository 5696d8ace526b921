"""Whole runs of training in several processes."""

from __future__ import annotations

from pathlib import Path

import yaml
from launching import processes

from yolor_cfg.train.settings import TrainOptions

TESTS = Path(__file__).parent
PROGRAM = f"""
import json, sys, torch, yaml
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {str(TESTS)!r})
import training
from yolor_cfg.parallel import process_group
from yolor_cfg.train.logger import RunLogger
from yolor_cfg.train.settings import TrainOptions
losses = []
noted = RunLogger.log_batch
def batch(self, state, batch, values):
    losses.append(values)
    noted(self, state, batch, values)
RunLogger.log_batch = batch
said = TrainOptions.from_dict(yaml.safe_load(Path(sys.argv[1]).read_text()))
with process_group("cpu") as rank:
    outcome = training.run(said, Path(sys.argv[2]), sys.argv[3])
    if rank.rank == 0:
        (outcome.folder / "losses.json").write_text(json.dumps(losses))
"""


def write_options(said: TrainOptions, folder: Path) -> Path:
    """The options in a file, as the program takes them."""
    args = folder / "args.yaml"
    args.write_text(yaml.safe_dump(said.to_dict()))
    return args


def run_in(world: int, said: TrainOptions, folder: Path) -> Path:
    """The folder of a run in so many processes, with `losses.json`: the losses of each batch."""
    name = f"of{world}"
    processes(PROGRAM, write_options(said, folder), folder / "runs", name, world=world)
    return folder / "runs" / name
