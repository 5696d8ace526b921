"""What a training run shows and writes: progress, a line and a row for each epoch, weights,
sample batches.

Darknet's recipe counts iterations, YOLOR's epochs. An iteration is an update of the weights.
"""

from __future__ import annotations

import csv
import io
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.data.samplers import EpochShares
from yolor_cfg.data.types import Batch
from yolor_cfg.errors import count_of, describe_fault
from yolor_cfg.evaluate.scores import TaskScores
from yolor_cfg.images.types import Image
from yolor_cfg.parallel import this_process
from yolor_cfg.runs import save_image, save_text
from yolor_cfg.train.event_log import EventLog, Progressed
from yolor_cfg.train.journal import Journal
from yolor_cfg.train.setup import Job
from yolor_cfg.train.state import (
    BOX_COLUMNS,
    COLUMNS,
    IDENTITY_COLUMNS,
    IMAGES_COLUMN,
    JOINT_COLUMN,
    LABEL_COLUMNS,
    LARGE,
    OWN_COLUMNS,
    EpochResults,
    TrainState,
    large_column,
    save_state,
)
from yolor_cfg.weights.checkpoint import plain_names, save_checkpoint
from yolor_cfg.weights.darknet import write_weights
from yolor_cfg.weights.layout import new_header
from yolor_cfg.weights.tasks import SUFFIX, save_task

SHEETS = 3
"""The number of batches drawn as images."""
LAST, BEST = "weights/last.pt", "weights/best.pt"
SOURCE_COLUMNS = (*COLUMNS, IMAGES_COLUMN)
MAIN_SCORES = ("AP", "top1", "mAP", "identity_mAP")
"""What an epoch's line says of each of several data sets."""
SHOWN = (*OWN_COLUMNS[2:], *map(large_column, ("loss", *MAIN_SCORES)))
"""What an epoch's line says."""
NO_EVENTS = EventLog()
UNITS = ((86400, "days"), (3600, "h"), (60, "min"))
"""Seconds in a unit, and its name; time is told in the largest unit of which there are two."""


class Progress(NamedTuple):
    """`done` batches `of` all in this epoch, the loss per image, and the place in the training."""

    done: int
    of: int
    loss: float
    place: str


class Clock:
    """The time since the training was begun or resumed, and how much is left at that pace."""

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, time.perf_counter()
        self.first = -1

    def start(self, count: int) -> None:
        """Note the batches that were done before; only the first call counts."""
        self.first = count if self.first < 0 else self.first

    def describe(self, count: int) -> str:
        """`12 s, 3 min left` after so many batches in all."""
        seconds = time.perf_counter() - self.began
        done, left = count - self.first, self.job.count - count
        more = f", {format_time(seconds / done * left)} left" if done > 0 and left > 0 else ""
        return format_time(seconds) + more


class TrainDrawing(NamedTuple):
    """Functions that draw a batch with its boxes and the curves of the results by epoch (None where nothing
    can draw them), and one that shows the progress of an epoch; and the command that the run was started
    with, as a shell takes it."""

    draw_batch: Callable[[Batch, Sequence[str]], Image]
    draw_results: Callable[[Sequence[EpochResults]], Image | None]
    show_progress: Callable[[Progress], None] = lambda progress: None
    command: str = ""


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
        self,
        folder: Path,
        job: Job,
        *,
        drawing: TrainDrawing,
        journal: Journal,
        stop: StopSignal,
        events: EventLog = NO_EVENTS,
    ) -> None:
        self.folder, self.job, self.drawing, self.journal, self.stop = folder, job, drawing, journal, stop
        self.events = events
        self.first = this_process().rank == 0
        self.clock = Clock(job)
        self.unreadable = 0

    @property
    def is_stop_requested(self) -> bool:
        """Whether a signal was received."""
        return bool(self.stop.signal)

    def log_batch(self, state: TrainState, batch: Batch, losses: list[float]) -> None:
        """Draw the first batches and show the progress of the epoch."""
        self.clock.start(state.count - 1)
        if not self.first:
            return
        self.journal.log_batch(self.job.batch_size)
        images = len(batch.images) * this_process().world_size
        rate = self.job.find_phase(state.epoch).schedule(state.count - 1).other  # that of the table
        self.events.log_batch(Progressed(state.updates, losses, rate, images))
        number, left = state.count - 1, self.job.count - self.job.per_epoch * state.epoch
        place = describe_place(self.job, state, epoch=state.epoch + 1)
        self.drawing.show_progress(Progress(state.batch, min(self.job.per_epoch, left), losses[0], place))
        if number < SHEETS:
            sheet = self.drawing.draw_batch(batch, self.job.dataset.names)
            save_image(self.folder / f"train_batch{number}.jpg", sheet)
            self.events.log_sheet(f"train_batch{number}", sheet, state.updates)

    def log_epoch(self, state: TrainState, scores: TaskScores | None, *, best: bool) -> None:
        """Write the table and the curves, save the best network, print one line."""
        if not self.first:
            return
        save_rows(self.folder, state.rows)
        self.events.log_epoch(state.rows[-1])
        chart = self.drawing.draw_results(state.rows)
        if chart is not None:
            save_image(self.folder / "results.png", chart)
        if best:
            self._save_best(state)
        if state.large is not None:
            self._save_large(state.large, best=state.large.best_epoch == state.epoch - 1)
        period = self.job.options.save_period
        if period and state.epoch % period == 0:
            self._save_networks(state, f"epoch{state.epoch}")
        self._report_unreadable()
        self.journal.log_epoch(state.epoch, best=state.best_epoch + 1)
        self.journal.print(self._format_row(state))

    def log_test_fault(self, state: TrainState, fault: Exception) -> None:
        """Say that the test of this epoch failed; until one succeeds, its network counts as the best."""
        if not self.first:
            return
        if state.best_epoch < 0:
            self._save_best(state)
            if state.large is not None:
                self._save_large(state.large, best=True)
        place = describe_place(self.job, state, epoch=state.epoch + 1)
        last = state.epoch + 1 >= self.job.epochs
        kept = "the weights are kept" if last else "the weights are kept and training goes on"
        self.journal.say(f"{place}: the test failed, {kept}: {describe_fault(fault)}")

    def save(self, state: TrainState) -> None:
        """Save last.pt atomically."""
        save_state(state, self.folder / LAST, names=self.job.dataset.names, task_names=self.job.task_names)

    def _save_best(self, state: TrainState) -> None:
        self._save_network(state, "best")
        write_weights(
            state.eval_network,
            self.folder / "weights/best.weights",
            force=True,
            header=new_header(state.eval_network.graph, state.count * self.job.batch_size),
        )

        if self.job.options.task:
            self._save_task(state, self.job.options.task)

    def _save_large(self, large: TrainState, *, best: bool) -> None:
        """Save a large network that learns too as the last one, and as the best one where it is."""
        for name in ("last", "best") if best else ("last",):
            self._save_network(large, f"{name}_{LARGE}")

    def _save_networks(self, state: TrainState, name: str) -> None:
        self._save_network(state, name)
        if state.large is not None:
            self._save_network(state.large, f"{name}_{LARGE}")

    def _save_task(self, state: TrainState, task: str) -> None:
        path = self.folder / f"weights/{task}{SUFFIX}"
        names = self.job.dataset.names
        save_task(state.eval_network, path, task=task, names=names, shared=state.network, force=True)

    def _save_network(self, state: TrainState, name: str) -> None:
        save_checkpoint(
            state.eval_network,
            self.folder / f"weights/{name}.pt",
            names=self.job.dataset.names,
            numbers=state.rows[-1] if state.rows else {},
            kept={"task_names": plain_names(self.job.task_names)},
            force=True,
        )

    def _report_unreadable(self) -> None:
        """Print the unreadable images found since the last epoch, which others replaced."""
        skipped = self.job.phases[0].loader.images.skipped
        for path, reason in list(skipped.items())[self.unreadable :]:
            self.journal.say(f"{path}: {reason}; replaced by the next image")
        if len(skipped) > self.unreadable:
            self.journal.say(f"unreadable images: {len(skipped)}")
        self.unreadable = len(skipped)

    def _format_row(self, state: TrainState) -> str:
        row = state.rows[-1]
        place = describe_place(self.job, state, epoch=state.epoch)
        parts = [place, self.clock.describe(state.count)]
        parts += [
            f"{name} {row[name]:.4g}" for name in (*SHOWN, *source_columns([row], MAIN_SCORES)) if name in row
        ]
        return "  ".join(parts)


def source_columns(rows: Sequence[EpochResults], words: Sequence[str] = SOURCE_COLUMNS) -> list[str]:
    """The columns of single data sets, `NAME.word`, that the rows have, as they come up."""
    names = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    return [name for name in names if name.rpartition(".")[2] in words]


def weight_columns(rows: Sequence[EpochResults]) -> list[str]:
    """The columns of learned weights of losses, `s(NAME)`, that the rows have."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith("s(")]


def save_rows(folder: Path, rows: Sequence[EpochResults]) -> None:
    """Write results.csv and metrics.jsonl, one line per epoch; cells are empty if there was no test. Only
    where images are classified, objects told apart, and a large network teaches or learns too, are there
    columns for that."""
    text = io.StringIO()
    more = {LABEL_COLUMNS[0], IDENTITY_COLUMNS[0], JOINT_COLUMN}
    known = set[str]().union(*rows) if any(more & row.keys() for row in rows) else set(BOX_COLUMNS)
    columns = [*(name for name in COLUMNS if name in known), *source_columns(rows), *weight_columns(rows)]
    writer = csv.DictWriter(text, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    save_text(folder / "results.csv", text.getvalue())
    save_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def format_time(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `2.5 days`."""
    for length, name in UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}" if length > 60 else f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def describe_course(job: Job) -> str:
    """The whole training in one line, before it begins."""
    images, size = count_of(len(job.dataset.samples), "image"), job.batch_size
    bare = count_unlabeled(job)
    told = f", {bare} of them without labels" if bare else ""
    epochs = f"{count_of(job.epochs, 'epoch')} of {images}{told}"
    if job.counts_iterations:
        parts = f" ({job.parts} parts of {size})" if job.parts > 1 else ""
        updates = f"{count_of(job.iterations, 'iteration')} of {count_of(job.parts * size, 'image')}"
        return f"{updates}{parts}, {epochs}"
    update = f", an update of the weights every {job.parts} batches" if job.parts > 1 else ""
    batches = count_of(job.per_epoch, "batch")
    return f"{epochs}: {batches} of {count_of(size, 'image')}{update}"


def count_unlabeled(job: Job) -> int:
    """How many images of an epoch have no labels."""
    parts, weights = job.dataset.parts, job.options.data_weights
    counts = [part.images for part in parts]
    if weights and parts:
        counts = list(EpochShares.from_weights(weights, counts).counts)
    return sum(count for part, count in zip(parts, counts, strict=True) if not part.is_labeled)


def describe_place(job: Job, state: TrainState, *, epoch: int) -> str:
    """`iteration 120/6000  epoch 3/150`, or the epoch alone; epochs are counted from 1 and `epoch` is one."""
    text = f"epoch {epoch}/{job.epochs}"
    done = state.count // job.parts
    return f"iteration {done}/{job.iterations}  {text}" if job.counts_iterations else text
