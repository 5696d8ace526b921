"""What a training run tells another program while it goes on; the folder's own files are written anyway.

The step of everything is the number of updates of the weights, as in results.csv, so that a resumed run goes
on at its own place.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolor_cfg.images.types import Image
from yolor_cfg.parallel import this_process
from yolor_cfg.runs import LOSS_COLUMNS
from yolor_cfg.train.settings import TENSORBOARD, TrainOptions

FOLDER = "tensorboard"
SCORES = ("epoch/AP", "epoch/AP50", "epoch/top1", "epoch/loss")
"""What a table of several runs shows."""


class Progressed(NamedTuple):
    """A mini-batch: the updates so far, the losses per image (the total and its parts, as in `LOSS_COLUMNS`),
    the learning rate, and how many images it had in all processes."""

    updates: int
    losses: list[float]
    rate: float
    images: int


class EventLog:
    """Takes what is told and keeps nothing of it."""

    def log_batch(self, progressed: Progressed) -> None:
        """Called after each mini-batch."""

    def log_sheet(self, name: str, sheet: Image, updates: int) -> None:
        """Called for each sheet [H, W, 3] of a batch."""

    def log_epoch(self, row: dict[str, float]) -> None:
        """Called after each epoch with its row of results.csv."""


class TensorBoardLog(EventLog):
    """Writes event files of TensorBoard: `epoch/...` for each column of results.csv; `update/...` the losses,
    the learning rate and the images in a second; the sheets; and the options as hyperparameters."""

    def __init__(self, folder: Path, options: TrainOptions, *, updates: int) -> None:
        """A run that goes on after so many updates drops what was written of later ones."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=updates + 1 if updates else None)
        self._updates, self._since = updates, time.perf_counter()
        self._waiting: list[Progressed] = []
        if not updates:
            self._write_options(options)

    def log_batch(self, progressed: Progressed) -> None:
        """Write the means of the mini-batches of an update once it is done."""
        self._waiting.append(progressed)
        step = progressed.updates
        if step == self._updates:
            return
        losses = np.mean([one.losses[: len(LOSS_COLUMNS)] for one in self._waiting], axis=0)
        for name, value in zip(LOSS_COLUMNS, losses.tolist(), strict=False):
            if value:  # one that this network does not have is 0
                self.writer.add_scalar(f"update/{name}", value, step)
        now = time.perf_counter()
        pace = sum(one.images for one in self._waiting) / max(now - self._since, 1e-9)
        self.writer.add_scalar("update/lr", progressed.rate, step)
        self.writer.add_scalar("update/images_per_second", pace, step)
        self._updates, self._since, self._waiting = step, now, []

    def log_sheet(self, name: str, sheet: Image, updates: int) -> None:
        """Write the sheet as an image."""
        self.writer.add_image(name, sheet, updates, dataformats="HWC")

    def log_epoch(self, row: dict[str, float]) -> None:
        """Write each column; what was written so far can be read then."""
        for name, value in row.items():
            if name != "updates":
                self.writer.add_scalar(f"epoch/{name}", value, int(row["updates"]))
        self.writer.flush()
        self._since = time.perf_counter()  # the test of the epoch is no training

    def _write_options(self, options: TrainOptions) -> None:
        from torch.utils.tensorboard.summary import hparams

        kept = {name: value for name, value in options.to_dict().items() if value is not None}
        plain = (bool, int, float)
        told = {name: value if type(value) in plain else str(value) for name, value in kept.items()}
        for summary in hparams(told, dict.fromkeys(SCORES, 0.0)):
            self.writer.file_writer.add_summary(summary)


@contextmanager
def open_events(folder: Path, options: TrainOptions, *, updates: int) -> Iterator[EventLog]:
    """The log that the options name, of the first process; closed with the context."""
    if options.log != TENSORBOARD or this_process().rank:
        yield EventLog()
        return
    events = TensorBoardLog(folder, options, updates=updates)
    try:
        yield events
    finally:
        events.writer.close()
