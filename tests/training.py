"""A network that trains in seconds, drawn data for it, and runs of the command on both."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_detector as tiny
import torch

from yolor_cfg.data.shapes import NAMES
from yolor_cfg.data.types import Batch
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.images.types import Image
from yolor_cfg.report.batch_sheet import contact_sheet
from yolor_cfg.report.training import plot_results
from yolor_cfg.train.logger import LAST, RunLogger, TrainDrawing
from yolor_cfg.train.loop import Ending
from yolor_cfg.train.run import TrainResult, resume_run, start_run
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.state import TrainState

CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride={}\npad=1\nactivation=silu\n"
DRAWING = TrainDrawing(contact_sheet, plot_results)


def yolor_text(*, classes: int = len(NAMES), net: str = "batch=8\nsubdivisions=2\n") -> str:
    """Four convolutions and one head of the yolor dialect for 64 x 64."""
    body = "".join(CONV.format(filters, 2) for filters in (8, 16, 24, 32)[:3]) + CONV.format(32, 1)
    head = f"[convolutional]\nfilters={3 * (5 + classes)}\nsize=1\nactivation=linear\n"
    anchors = "[yolo]\nmask=0,1,2\nnum=3\nanchors=8,8, 14,14, 24,24\nclasses="
    return f"[net]\ndialect=yolor\nheight=64\nwidth=64\nchannels=3\n{net}{body}{head}{anchors}{classes}\n"


def darknet_text(net: str = "batch=8\nsubdivisions=2\nmax_batches=6\n") -> str:
    """The tiny detector of the darknet dialect."""
    return tiny.text(classes=len(NAMES), net=net)


def shapes(folder: Path, *, count: int = 20) -> Path:
    """Images of 64 x 64, a fifth of them held back."""
    return write_shapes(folder / "shapes", ShapesOptions(count, (64, 64)))


def options(
    folder: Path, data: Path | tuple[str, ...], *, text: str | None = None, **more: Any
) -> TrainOptions:
    """The options of a short run; the cfg is written into the folder."""
    cfg = folder / "small.cfg"
    cfg.write_text(text or yolor_text())
    usual: dict[str, Any] = {"epochs": 2, "batch_size": 4, "update_batch": 8, "workers": 0, "val_period": 0}
    return TrainOptions(str(cfg), data if isinstance(data, tuple) else str(data), **{**usual, **more})


def run(said: TrainOptions, project: Path, name: str = "exp") -> TrainResult:
    """A whole run in silence; a test in it that fails, which a run tells and survives, fails here."""
    told: list[str] = []
    done = start_run(said, project=str(project), name=name, drawing=DRAWING, say=told.append)
    faults = [line for line in told if "the test failed" in line]
    assert not faults, faults
    return done


def stop_after(patch: pytest.MonkeyPatch, batches: int) -> None:
    """Send every run a signal to stop after this many batches; it is seen after one more."""
    noted = RunLogger.log_batch

    def log_and_stop(self: RunLogger, state: TrainState, batch: Batch, losses: list[float]) -> None:
        noted(self, state, batch, losses)
        if state.count == batches:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(RunLogger, "log_batch", log_and_stop)


def check_resume(said: TrainOptions, folder: Path, patch: pytest.MonkeyPatch, *, stop: int) -> TrainResult:
    """Assert that a run that gets a signal after `stop` batches, ends one later and is resumed is in the end
    what the whole run is: the same bits, the same results. Returns the whole run."""
    whole = run(said, folder, "whole")
    with patch.context() as inner:
        stop_after(inner, stop)
        parts = run(said, folder, "parts")
    assert parts.ending == Ending("terminated")
    assert parts.state.count == stop + 1 < whole.state.count  # the signal comes after the look
    ended = resume_run(parts.folder, drawing=DRAWING, say=lambda text: None)
    assert (ended.ending.reason, ended.state.count) == ("done", whole.state.count)
    assert different(whole.folder / LAST, parts.folder / LAST) == []
    for name in ("results.csv", "metrics.jsonl"):
        assert (whole.folder / name).read_text() == (parts.folder / name).read_text()
    return whole


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """Live weights, EMA and momentum by name."""
    content = torch.load(path, weights_only=True)
    training = content["training"]
    found = {f"average.{name}": tensor for name, tensor in content["model"].items()}
    found |= {f"network.{name}": tensor for name, tensor in training["network"].items()}
    for number, slots in training["optimizer"]["state"].items():
        found |= {f"optimizer.{number}.{name}": v for name, v in slots.items() if isinstance(v, torch.Tensor)}
    return found


def different(one: Path, other: Path) -> list[str]:
    """The names of the tensors that are not bit-equal in two states."""
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def is_image(image: Image) -> bool:
    """More than one colour."""
    return bool(np.ptp(image) > 0)
