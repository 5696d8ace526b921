"""The two loops that tools/bench_train.py compares, each in a process of its own, a turn of steps at a time.

`run_yolor_loop` is the loop of `yolor train`. `run_plain_loop` is what one would write without our measures:
values [N, C, H, W] in torch's default layout, float32, torch's default settings, an optimizer and an EMA that
go tensor by tensor, and images prepared before each step by the computing thread. Network, first weights,
images, random numbers and the loss are the same.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.data.loader import Loader
from yolor_cfg.data.types import Batch
from yolor_cfg.evaluate.scores import TaskScores
from yolor_cfg.model import Network
from yolor_cfg.train.freezing import set_deterministic
from yolor_cfg.train.loop import LARGEST_BYTE, implicit_penalty, train
from yolor_cfg.train.loss import detection_loss, initialize_biases
from yolor_cfg.train.memory import keep_freed_memory
from yolor_cfg.train.optim import build_optimizer, ema_decay, parameter_groups, set_rates
from yolor_cfg.train.run import build_state
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job, prepare_job
from yolor_cfg.train.state import TrainState

MIB = 2**20


class StepStats(NamedTuple):
    """Seconds of a step, seconds of it spent waiting for images, loss per image, MiB resident afterwards."""

    seconds: float
    wait_seconds: float
    loss: float
    resident_mib: float


class NoMoreTurns(Exception):
    """No turns are left."""


class Pace:
    """Let a loop run turn by turn, each of a given number of steps, and report what they took."""

    def __init__(self, turns: Iterator[int], tell: Callable[[list[StepStats]], None]) -> None:
        self.turns, self.tell = turns, tell
        self.steps: list[StepStats] = []
        self.left, self.wait_seconds, self.last = 0, 0.0, 0.0

    def wait(self) -> None:
        """Wait for the next turn; raises Over when none is left."""
        self.steps, self.left = [], next(self.turns, 0)
        if not self.left:
            raise NoMoreTurns
        self.wait_seconds, self.last = 0.0, time.perf_counter()

    def end_step(self, loss: float) -> None:
        """Called at the end of each step; waits after the last one of a turn."""
        now = time.perf_counter()
        self.steps.append(StepStats(now - self.last, self.wait_seconds, loss, resident_mib()))
        self.wait_seconds, self.last, self.left = 0.0, now, self.left - 1
        if not self.left:
            self.tell(self.steps)
            self.wait()

    def time_batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the time spent waiting for them is counted."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.wait_seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch


def resident_mib() -> float:
    """MiB of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


class TimedLoader(NamedTuple):
    """A loader whose batches are timed."""

    loader: Loader
    pace: Pace

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """As the loader's own."""
        return self.pace.time_batches(self.loader.epoch(epoch, start))


class TimingCallback(NamedTuple):
    """Watch our loop and keep nothing."""

    pace: Pace
    is_stop_requested: bool = False

    def log_batch(self, state: TrainState, batch: Batch, losses: list[float]) -> None:
        """A step is done."""
        self.pace.end_step(losses[0])

    def log_test_fault(self, state: TrainState, fault: Exception) -> None:
        """There is no test."""

    def log_epoch(self, state: TrainState, scores: TaskScores | None, *, best: bool) -> None:
        """Nothing is shown."""

    def save(self, state: TrainState) -> None:
        """Nothing is written."""


def run_yolor_loop(options: TrainOptions, pace: Pace) -> None:
    """The loop of `yolor train` alone."""
    keep_freed_memory()
    torch.manual_seed(options.seed)
    set_deterministic(options)
    job = prepare_job(options)
    state = build_state(job, say=lambda text: None)
    loaders: list[Any] = [TimedLoader(phase.loader, pace) for phase in job.phases]
    phases = tuple(phase._replace(loader=loader) for phase, loader in zip(job.phases, loaders, strict=True))
    pace.wait()
    train(dataclasses.replace(job, phases=phases), state, TimingCallback(pace))


class PlainNetwork(Network):
    """The same network with all values [N, C, H, W] contiguous in memory."""

    def _check_images(self, images: Tensor) -> Tensor:
        return images


def run_plain_loop(options: TrainOptions, pace: Pace) -> None:
    """The plain loop; it computes in float32 whatever the options say."""
    torch.manual_seed(options.seed)
    job = prepare_job(options)
    network = PlainNetwork(job.graph).train()
    initialize_biases(network)
    pace.wait()
    train_plain(job, network, pace)


def train_plain(job: Job, network: PlainNetwork, pace: Pace) -> None:
    """Step after step."""
    phase = job.phases[0]
    loader = dataclasses.replace(phase.loader, workers=0)
    optimizer = build_optimizer(parameter_groups(network), job.optimizer)
    for group in optimizer.param_groups:
        group["foreach"] = False
    average = copy.deepcopy(network).eval()
    count = updates = 0
    for epoch in range(job.epochs):
        for batch in pace.time_batches(loader.epoch(epoch)):
            rates = phase.schedule(count)
            set_rates(optimizer, rates)
            images = ordered_pixels(batch.images)
            loss = detection_loss(network(images), batch.targets, network, rules=job.rules).total
            (loss + implicit_penalty(network) * len(images)).backward()
            if job.is_update_due(count, rates):
                optimizer.step()
                optimizer.zero_grad()
                updates += 1
                update_ema(average, network, ema_decay(updates))
            count += 1
            pace.end_step(loss.item() / len(images))


def ordered_pixels(images: Tensor) -> Tensor:
    """[N, C, H, W] float32 in 0..1, contiguous in memory."""
    ordered = images.contiguous()
    return ordered.float() / LARGEST_BYTE if ordered.dtype == torch.uint8 else ordered


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """The EMA, tensor by tensor."""
    for mine, live in zip(ema.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.mul_(decay).add_(live, alpha=1 - decay)
        else:
            mine.copy_(live)


LOOPS = {"ours": run_yolor_loop, "plain": run_plain_loop}


def main(loop: str, said: dict[str, Any]) -> None:
    """Run a loop: each line read is a number of steps, answered by a line of JSON."""
    pace = Pace(map(int, sys.stdin), lambda steps: print(json.dumps(steps), flush=True))
    try:
        LOOPS[loop](TrainOptions.from_dict(said), pace)
    except NoMoreTurns:
        return


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
