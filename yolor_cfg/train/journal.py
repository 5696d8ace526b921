"""What a training run notes beside its figures, in run.json: how it was called, when it began, how it ended,
the time and the memory of each epoch, warnings, what is in its data, and what the best network finds.

The file is whole after each epoch, so a run that was killed has all but the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from yolor_cfg.engines.machine import describe_machine, describe_processes, used_memory
from yolor_cfg.errors import YolorError
from yolor_cfg.runs import list_objects, read_record, save_record

MOST_TOLD, MOST_EPOCHS = 200, 20_000
Printer = Callable[[str], None]


class Journal:
    """Notes of one call of the command; those of earlier ones, which this one resumes, are kept.

    Nothing is written before `open`; in all processes but the first nothing ever is.
    """

    def __init__(self, say: Printer, command: str = "") -> None:
        self.print = say
        self.folder: Path | None = None
        self.facts: dict[str, Any] = {"kind": "train", "sessions": [], "epochs": []}
        self.told: list[str] = []
        self.session: dict[str, Any] = {"command": command, "begun": now(), "ending": ""}
        self.began = self.epoch_began = self.last_batch = time.perf_counter()
        self.images = 0

    def say(self, text: str) -> None:
        """Print a warning or a note, and keep it."""
        self.told.append(text)
        self.print(text)

    def open(self, folder: Path, facts: Mapping[str, Any], *, epoch: int) -> None:
        """Begin to write, with the facts of the job, into the folder of the run, whose epoch `epoch` (from 0
        on) is next."""
        self.folder = folder
        old = read_record(folder)
        done = range(1, epoch + 1)
        self.facts |= facts
        self.facts["sessions"] = [*list_objects(old.get("sessions")), self.session]
        self.facts["epochs"] = [row for row in list_objects(old.get("epochs")) if row.get("epoch") in done]
        self.session |= {"first_epoch": epoch + 1, "environment": describe_machine() | describe_processes()}
        self._begin_epoch()
        self.save()

    def log_batch(self, images: int) -> None:
        """Note that a batch of so many images, of all processes, is done."""
        self.images += images
        self.last_batch = time.perf_counter()

    def log_epoch(self, epoch: int, *, best: int) -> None:
        """Note the time and the memory of an epoch, from 1 on, and the `best` one so far (0: none), and save
        all notes."""
        end = time.perf_counter()
        row = {
            "epoch": epoch,
            "images": self.images,
            "train_seconds": round(self.last_batch - self.epoch_began, 3),
            "other_seconds": round(end - self.last_batch, 3),
            "memory_mib": round(used_memory(), 1),
        }
        self.facts |= {"epochs": [*self.facts["epochs"], row][-MOST_EPOCHS:], "best_epoch": best}
        self.save()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.images, self.epoch_began = 0, time.perf_counter()
        self.last_batch = self.epoch_began

    def close(self, ending: str) -> None:
        """Note how the run ended."""
        self.session["ending"] = ending
        with suppress(YolorError):  # what ended the run, a full disk perhaps, is told in its place
            self.save()

    def save(self) -> None:
        """Write run.json, whole or not at all."""
        if self.folder is None:
            return
        self.session["seconds"] = round(time.perf_counter() - self.began, 3)
        self.session["told"] = self.told[:MOST_TOLD]
        self.session["told_in_all"] = len(self.told)
        save_record(self.folder, self.facts)


def now() -> str:
    """The time in UTC, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def add_tests(folder: Path, tests: Sequence[dict[str, Any]]) -> None:
    """Add to run.json what the best network found in each data set that it was tested on."""
    facts = read_record(folder)
    if facts and tests:
        save_record(folder, {**facts, "tests": list(tests)})
