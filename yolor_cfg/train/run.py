"""A training with its folder: what was asked for, results by epoch, pictures of batches, weights.

In it: args.yaml, env.json, model.cfg, results.csv, metrics.jsonl, results.png, train_batch*.jpg and
weights/{last.pt, best.pt, best.weights}. last.pt holds all that is needed to go on.
"""

from __future__ import annotations

import csv
import io
import json
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import yaml

from yolor_cfg import graph as graphs
from yolor_cfg.data.types import Batch
from yolor_cfg.errors import DataError
from yolor_cfg.evaluate.ground_truth import problem_lines
from yolor_cfg.evaluate.scores import Scores
from yolor_cfg.graph import ReadOptions
from yolor_cfg.images.types import Image
from yolor_cfg.model import Network, find_device
from yolor_cfg.parallel import broadcast_object, local_device, this_process
from yolor_cfg.runs import new_folder, save_image, save_text
from yolor_cfg.train.dist import convert_sync_batchnorm
from yolor_cfg.train.loop import CHANNELS_LAST, Ending, train
from yolor_cfg.train.loss import NonFiniteLoss, initialize_biases
from yolor_cfg.train.memory import keep_freed_memory
from yolor_cfg.train.optim import ModelEMA, build_optimizer, parameter_groups
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job, freeze, prepare_job, set_deterministic
from yolor_cfg.train.state import EpochResults, TrainState, load_state, save_state, saved_names
from yolor_cfg.train.transfer import transfer
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import WeightsHeader

SHEETS = 3
"""Batches of which a picture is kept."""
MAX_WARNINGS = 20
"""Warnings about the cfg that are told."""
LAST, BEST = "weights/last.pt", "weights/best.pt"
COLUMNS = ("epoch", "updates", "lr", "loss", "box", "objectness", "classes", "P", "R", "AP50", "AP")
Printer = Callable[[str], None]


class TrainDrawing(NamedTuple):
    """Who draws: a batch with its boxes, and the curves of the results by epoch; and who shows how far an
    epoch is: batches done, of how many, the loss of an image."""

    draw_batch: Callable[[Batch, Sequence[str]], Image]
    draw_results: Callable[[Sequence[EpochResults]], Image]
    show_progress: Callable[[int, int, float], None] = lambda done, of, loss: None


class TrainResult(NamedTuple):
    """Where the results are, how it ended, and the state it ended in."""

    folder: Path
    ending: Ending
    state: TrainState
    job: Job


class StopSignal:
    """Becomes true at SIGINT or SIGTERM; a second one ends the program as it always would."""

    def __init__(self) -> None:
        self.signal = 0

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Signals are noted in here and have their old meaning afterwards."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        old = {kind: signal.signal(kind, self._note) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in old.items():
                signal.signal(kind, handler)

    def _note(self, number: int, frame: Any) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


class RunLogger:
    """Keeps in the folder what happens, and says it; only the first process does either."""

    def __init__(
        self, folder: Path, job: Job, *, drawing: TrainDrawing, say: Printer, stop: StopSignal
    ) -> None:
        self.folder, self.job, self.drawing, self.say, self.stop = folder, job, drawing, say, stop
        self.first = this_process().rank == 0
        self.began = time.perf_counter()
        self.unreadable = 0

    @property
    def is_stop_requested(self) -> bool:
        """Whether a signal came."""
        return bool(self.stop.signal)

    def log_batch(self, state: TrainState, batch: Batch, losses: list[float]) -> None:
        """A picture of each of the first batches, and how far the epoch is."""
        if not self.first:
            return
        number, left = state.count - 1, self.job.count - self.job.per_epoch * state.epoch
        self.drawing.show_progress(state.batch, min(self.job.per_epoch, left), losses[0])
        if number < SHEETS:
            sheet = self.drawing.draw_batch(batch, self.job.dataset.names)
            save_image(self.folder / f"train_batch{number}.jpg", sheet)

    def log_epoch(self, state: TrainState, scores: Scores | None, *, best: bool) -> None:
        """The table and the curves so far; the best network; one line for people."""
        if not self.first:
            return
        save_rows(self.folder, state.rows)
        save_image(self.folder / "results.png", self.drawing.draw_results(state.rows))
        if best:
            self._save_network(state, "best")
            write_weights(
                state.eval_network,
                self.folder / "weights/best.weights",
                force=True,
                header=WeightsHeader(seen=state.count * self.job.batch_size),
            )
        period = self.job.options.save_period
        if period and state.epoch % period == 0:
            self._save_network(state, f"epoch{state.epoch}")
        self._report_unreadable()
        self.say(self._format_row(state.rows[-1]))

    def save(self, state: TrainState) -> None:
        """last.pt, complete or as it was before."""
        save_state(state, self.folder / LAST, names=self.job.dataset.names)

    def _save_network(self, state: TrainState, name: str) -> None:
        save_checkpoint(
            state.eval_network,
            self.folder / f"weights/{name}.pt",
            names=self.job.dataset.names,
            numbers=state.rows[-1],
            force=True,
        )

    def _report_unreadable(self) -> None:
        """Name the pictures for which others had to stand since the last epoch."""
        skipped = self.job.phases[0].loader.images.skipped
        for path, reason in list(skipped.items())[self.unreadable :]:
            self.say(f"{path}: {reason}; the next picture stands for it")
        if len(skipped) > self.unreadable:
            self.say(f"pictures that cannot be read: {len(skipped)}")
        self.unreadable = len(skipped)

    def _format_row(self, row: EpochResults) -> str:
        seconds = time.perf_counter() - self.began
        parts = [f"epoch {row['epoch'] + 1:.0f}/{self.job.epochs}", f"{seconds:.0f} s"]
        parts += [f"{name} {row[name]:.4g}" for name in COLUMNS[2:] if name in row]
        return "  ".join(parts)


def save_rows(folder: Path, rows: Sequence[EpochResults]) -> None:
    """results.csv and metrics.jsonl, a line for each epoch; an empty cell where nothing was tested."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    save_text(folder / "results.csv", text.getvalue())
    save_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def start_run(
    options: TrainOptions, *, project: str, name: str, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    """Train anew, in a folder of its own."""
    keep_freed_memory()
    torch.manual_seed(options.seed)
    set_deterministic(options)
    job = prepare_job(options)
    report_faults(job, say)
    state = build_state(job, say=say)
    folder = Path(broadcast_object(str(new_folder(project, name)) if this_process().rank == 0 else ""))
    if this_process().rank == 0:
        save_run_info(folder, job)
    return _run_training(folder, job, state, drawing=drawing, say=say)


def resume_run(folder: Path, *, drawing: TrainDrawing, say: Printer) -> TrainResult:
    """Go on in the folder of a run where it stopped, with the options it was begun with."""
    keep_freed_memory()
    options = load_options(folder)
    torch.manual_seed(options.seed)
    set_deterministic(options)
    reading = ReadOptions(options.dialect, options.img_size, strict=options.strict)
    graph = graphs.load_graph(folder / "model.cfg", reading)
    job = prepare_job(options, graph=graph, names=saved_names(folder / LAST))
    report_faults(job, say)
    state = build_state(job, say=say, starts=False)
    load_state(state, folder / LAST)
    say(f"going on in {folder} after batch {state.batch} of epoch {state.epoch + 1}")
    return _run_training(folder, job, state, drawing=drawing, say=say)


def load_options(folder: Path) -> TrainOptions:
    """What a run was begun with."""
    try:
        values = yaml.safe_load((folder / "args.yaml").read_text(encoding="utf-8"))
        return TrainOptions.from_dict(values)
    except (OSError, TypeError, yaml.YAMLError) as fault:
        raise DataError(
            "is not the folder of a training",
            path=str(folder),
            found=str(fault)[:200],
            hint="give the folder that has args.yaml and weights/last.pt",
        ) from None


def report_faults(job: Job, say: Printer) -> None:
    """What is odd in the cfg, and what was wrong with labels and pictures."""
    warnings = [str(warning) for warning in job.graph.warnings]
    more = [f"{len(warnings)} warnings in all, yolor cfg check shows them"] if warnings[MAX_WARNINGS:] else []
    problems = [line for dataset in (job.dataset, job.holdout) for line in problem_lines(dataset)]
    for line in [*warnings[:MAX_WARNINGS], *more, *problems]:
        say(line)


def build_state(job: Job, *, say: Printer, starts: bool = True) -> TrainState:
    """The state before the first batch; `starts` False where another state is put in its place anyway."""
    options = job.options
    network = Network(job.graph)
    if starts:
        _initialize_weights(network, job, say)
    device = find_device(local_device(options.device))
    network.to(device, memory_format=CHANNELS_LAST)  # type: ignore[call-overload]
    if options.sync_bn:
        convert_sync_batchnorm(network)
    freeze(network, options)
    optimizer = build_optimizer(parameter_groups(network), **job.optimizer)
    if job.is_darknet:
        for group in optimizer.param_groups:
            group.update({"nesterov": False} if "nesterov" in group else {})
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    return TrainState(network, ModelEMA(network) if job.ema else None, optimizer, scaler)


def _initialize_weights(network: Network, job: Job, say: Printer) -> None:
    """YOLOR's first biases, then the weights that were given."""
    initialize_biases(network)
    if job.options.weights:
        names = job.dataset.names
        taken = transfer(network, job.options.weights, names=names, cutoff=job.options.cutoff)
        for line in taken.describe():
            say(f"{job.options.weights}: {line}")


def save_run_info(folder: Path, job: Job) -> None:
    """args.yaml, env.json and the cfg."""
    (folder / "weights").mkdir(exist_ok=True)
    save_text(folder / "args.yaml", yaml.safe_dump(job.options.to_dict(), sort_keys=False))
    save_text(folder / "env.json", json.dumps(environment(), indent=1) + "\n")
    save_text(folder / "model.cfg", job.graph.document.text)


def environment() -> dict[str, Any]:
    """On what a run was computed."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "processes": this_process().world_size,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def _run_training(
    folder: Path, job: Job, state: TrainState, *, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    stop = StopSignal()
    journal = RunLogger(folder, job, drawing=drawing, say=say, stop=stop)
    try:
        with stop.listen():
            ending = train(job, state, journal)
    except NonFiniteLoss as fault:
        kept = (folder / LAST).exists()
        fault.hint += f"; the last good state is {folder / LAST}" if kept else ""
        raise
    if ending.reason == "interrupted" and stop.signal == signal.SIGTERM:
        ending = Ending("terminated")
    return TrainResult(folder, ending, state, job)


def dry_run(options: TrainOptions, *, folder: Path, drawing: TrainDrawing) -> Job:
    """Prepare everything and draw the first batches; nothing is trained."""
    job = prepare_job(options)
    build_state(job, say=lambda text: None)
    for number, batch in zip(range(SHEETS), job.phases[0].loader.epoch(0), strict=False):
        save_image(folder / f"train_batch{number}.jpg", drawing.draw_batch(batch, job.dataset.names))
    return job
