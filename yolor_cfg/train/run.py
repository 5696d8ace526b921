"""A training run and its folder: options, results per epoch, sample batches, weights.

The folder has args.yaml, env.json, model.cfg, results.csv, metrics.jsonl, results.png, train_batch*.jpg and
weights/{last.pt, best.pt, best.weights}. last.pt has everything needed to resume.
"""

from __future__ import annotations

import csv
import io
import json
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import yaml

from yolor_cfg import graph as graphs
from yolor_cfg.data.types import Batch
from yolor_cfg.errors import DataError, YolorError
from yolor_cfg.evaluate.ground_truth import problem_lines
from yolor_cfg.evaluate.scores import Scores
from yolor_cfg.graph import ReadOptions
from yolor_cfg.images.types import Image
from yolor_cfg.model import Network, find_device
from yolor_cfg.parallel import broadcast_object, local_device, this_process
from yolor_cfg.runs import folder_lock, new_folder, save_image, save_text
from yolor_cfg.train.dist import convert_sync_batchnorm
from yolor_cfg.train.hyperparameters import unused_hyperparameters
from yolor_cfg.train.loop import CHANNELS_LAST, Ending, train
from yolor_cfg.train.loss import NonFiniteLoss, initialize_biases
from yolor_cfg.train.memory import keep_freed_memory
from yolor_cfg.train.optim import ModelEMA, build_optimizer, parameter_groups
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import (
    Job,
    freeze,
    prepare_job,
    set_deterministic,
)
from yolor_cfg.train.state import EpochResults, TrainState, load_state, save_state, saved_names
from yolor_cfg.train.transfer import transfer
from yolor_cfg.train.updates import apply_rules, rate_factors
from yolor_cfg.weights.checkpoint import save_checkpoint
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import WeightsHeader

SHEETS = 3
"""The number of batches drawn as images."""
MAX_WARNINGS = 20
"""The most warnings about the cfg that are printed."""
LAST, BEST = "weights/last.pt", "weights/best.pt"
COLUMNS = ("epoch", "updates", "lr", "loss", "box", "objectness", "classes", "P", "R", "AP50", "AP")
Printer = Callable[[str], None]


class TrainDrawing(NamedTuple):
    """Functions that draw a batch with its boxes and the curves of the results by epoch (None where nothing
    can draw them), and one that shows the progress of an epoch: batches done, in all, loss per image."""

    draw_batch: Callable[[Batch, Sequence[str]], Image]
    draw_results: Callable[[Sequence[EpochResults]], Image | None]
    show_progress: Callable[[int, int, float], None] = lambda done, of, loss: None


class TrainResult(NamedTuple):
    """The folder of the run, how it ended, its final state, and its job."""

    folder: Path
    ending: Ending
    state: TrainState
    job: Job


class StopSignal:
    """Records SIGINT or SIGTERM; a second signal has its default effect."""

    def __init__(self) -> None:
        self.signal = 0

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Record signals inside the context; the old handlers are restored afterwards."""
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
    """Writes progress to the folder of the run and prints it; only the first process does."""

    def __init__(
        self, folder: Path, job: Job, *, drawing: TrainDrawing, say: Printer, stop: StopSignal
    ) -> None:
        self.folder, self.job, self.drawing, self.say, self.stop = folder, job, drawing, say, stop
        self.first = this_process().rank == 0
        self.began = time.perf_counter()
        self.unreadable = 0

    @property
    def is_stop_requested(self) -> bool:
        """Whether a signal was received."""
        return bool(self.stop.signal)

    def log_batch(self, state: TrainState, batch: Batch, losses: list[float]) -> None:
        """Draw the first batches and show the progress of the epoch."""
        if not self.first:
            return
        number, left = state.count - 1, self.job.count - self.job.per_epoch * state.epoch
        self.drawing.show_progress(state.batch, min(self.job.per_epoch, left), losses[0])
        if number < SHEETS:
            sheet = self.drawing.draw_batch(batch, self.job.dataset.names)
            save_image(self.folder / f"train_batch{number}.jpg", sheet)

    def log_epoch(self, state: TrainState, scores: Scores | None, *, best: bool) -> None:
        """Write the table and the curves, save the best network, print one line."""
        if not self.first:
            return
        save_rows(self.folder, state.rows)
        chart = self.drawing.draw_results(state.rows)
        if chart is not None:
            save_image(self.folder / "results.png", chart)
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
        """Save last.pt atomically."""
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
        """Print the unreadable images found since the last epoch, which others replaced."""
        skipped = self.job.phases[0].loader.images.skipped
        for path, reason in list(skipped.items())[self.unreadable :]:
            self.say(f"{path}: {reason}; replaced by the next image")
        if len(skipped) > self.unreadable:
            self.say(f"unreadable images: {len(skipped)}")
        self.unreadable = len(skipped)

    def _format_row(self, row: EpochResults) -> str:
        seconds = time.perf_counter() - self.began
        parts = [f"epoch {row['epoch'] + 1:.0f}/{self.job.epochs}", f"{seconds:.0f} s"]
        parts += [f"{name} {row[name]:.4g}" for name in COLUMNS[2:] if name in row]
        return "  ".join(parts)


def save_rows(folder: Path, rows: Sequence[EpochResults]) -> None:
    """Write results.csv and metrics.jsonl, one line per epoch; cells are empty if there was no test."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    save_text(folder / "results.csv", text.getvalue())
    save_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def start_run(
    options: TrainOptions, *, project: str, name: str, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    """Start a new run in a new folder."""
    keep_freed_memory()
    torch.manual_seed(options.seed)
    set_deterministic(options)
    job = prepare_job(options)
    report_faults(job, say)
    state = build_state(job, say=say)
    folder = Path(broadcast_object(str(new_folder(project, name)) if this_process().rank == 0 else ""))
    if this_process().rank == 0:
        save_run_info(folder, job)
    with _sole_use(folder):
        return _run_training(folder, job, state, drawing=drawing, say=say)


def resume_run(folder: Path, *, drawing: TrainDrawing, say: Printer) -> TrainResult:
    """Resume a run in its folder where it stopped, with its original options; refused while it is running."""
    keep_freed_memory()
    options = load_options(folder)
    with _sole_use(folder):
        return _resume_training(folder, options, drawing=drawing, say=say)


def _resume_training(
    folder: Path, options: TrainOptions, *, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    torch.manual_seed(options.seed)
    set_deterministic(options)
    reading = ReadOptions(options.dialect, options.img_size, strict=options.strict)
    graph = graphs.load_graph(folder / "model.cfg", reading)
    job = prepare_job(options, graph=graph, names=saved_names(folder / LAST))
    report_faults(job, say)
    state = build_state(job, say=say, starts=False)
    load_state(state, folder / LAST)
    say(f"resuming {folder} after batch {state.batch} of epoch {state.epoch + 1}")
    return _run_training(folder, job, state, drawing=drawing, say=say)


def load_options(folder: Path) -> TrainOptions:
    """The options that a run was started with."""
    try:
        values = yaml.safe_load((folder / "args.yaml").read_text(encoding="utf-8"))
        return TrainOptions.from_dict(values)
    except (OSError, TypeError, yaml.YAMLError) as fault:
        raise DataError(
            "not the folder of a training run",
            path=str(folder),
            found=str(fault)[:200],
            hint="give the folder with args.yaml and weights/last.pt",
        ) from None


def report_faults(job: Job, say: Printer) -> None:
    """Print the warnings about the cfg and the problems of the data."""
    warnings = [str(warning) for warning in job.graph.warnings]
    more = [f"{len(warnings)} warnings in all, yolor cfg check lists them"] if warnings[MAX_WARNINGS:] else []
    problems = [line for dataset in (job.dataset, job.holdout) for line in problem_lines(dataset)]
    unused = unused_hyperparameters(job.options)
    foreign = [f"{job.options.hyp}: no effect here: {', '.join(unused)}"] if unused else []
    for line in [*warnings[:MAX_WARNINGS], *more, *foreign, *problems]:
        say(line)


def build_state(job: Job, *, say: Printer, starts: bool = True) -> TrainState:
    """The state before the first batch; with `starts` False weights are not set, as a saved state follows."""
    options = job.options
    network = Network(job.graph)
    if starts:
        _initialize_weights(network, job, say)
    device = find_device(local_device(options.device))
    network.to(device, memory_format=CHANNELS_LAST)  # type: ignore[call-overload]  # torch's stubs lack it
    if options.sync_bn:
        convert_sync_batchnorm(network)
    freeze(network, options)
    apply_rules(network)
    factors = rate_factors(network)
    optimizer = build_optimizer(parameter_groups(network), job.optimizer, factors=factors)
    if job.is_darknet:
        for group in optimizer.param_groups:
            group.update({"nesterov": False} if "nesterov" in group else {})
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    return TrainState(network, ModelEMA(network) if job.ema else None, optimizer, scaler)


def _initialize_weights(network: Network, job: Job, say: Printer) -> None:
    """YOLOR's initial biases, then the weights given by the user, if any."""
    initialize_biases(network)
    if job.options.weights:
        names = job.dataset.names
        taken = transfer(network, job.options.weights, names=names, cutoff=job.options.cutoff)
        for line in taken.describe():
            say(f"{job.options.weights}: {line}")


def save_run_info(folder: Path, job: Job) -> None:
    """Write args.yaml, env.json and model.cfg."""
    (folder / "weights").mkdir(exist_ok=True)
    save_text(folder / "args.yaml", yaml.safe_dump(job.options.to_dict(), sort_keys=False))
    save_text(folder / "env.json", json.dumps(environment(), indent=1) + "\n")
    save_text(folder / "model.cfg", job.graph.document.text)


def environment() -> dict[str, Any]:
    """The software and hardware of the run."""
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


@contextmanager
def _sole_use(folder: Path) -> Iterator[None]:
    """Raise YolorError, in every process, if another training writes to this folder."""
    with folder_lock(folder) if this_process().rank == 0 else nullcontext(True) as has_it:
        if not broadcast_object(has_it):
            hint = "wait until it ends, or start a new run with --weights"
            raise YolorError("another process is training this run", path=str(folder), hint=hint)
        yield


def _run_training(
    folder: Path, job: Job, state: TrainState, *, drawing: TrainDrawing, say: Printer
) -> TrainResult:
    stop = StopSignal()
    logger = RunLogger(folder, job, drawing=drawing, say=say, stop=stop)
    try:
        with stop.listen():
            ending = train(job, state, logger)
    except NonFiniteLoss as fault:
        is_saved = (folder / LAST).exists()
        fault.hint += f"; the last good state is {folder / LAST}" if is_saved else ""
        raise
    if ending.reason == "interrupted" and stop.signal == signal.SIGTERM:
        ending = Ending("terminated")
    return TrainResult(folder, ending, state, job)


def dry_run(options: TrainOptions, *, folder: Path, drawing: TrainDrawing, say: Printer) -> Job:
    """Prepare everything, say what is left out, and draw the first batches, without training."""
    job = prepare_job(options)
    report_faults(job, say)
    build_state(job, say=lambda text: None)
    for number, batch in zip(range(SHEETS), job.phases[0].loader.epoch(0), strict=False):
        save_image(folder / f"train_batch{number}.jpg", drawing.draw_batch(batch, job.dataset.names))
    return job
