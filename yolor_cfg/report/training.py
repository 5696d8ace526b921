"""The course of a training as one picture: its losses and its scores by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolor_cfg.data.types import Image
from yolor_cfg.detect.write import save_image
from yolor_cfg.evaluate.ground import Ground
from yolor_cfg.evaluate.matching import confusion_matrix
from yolor_cfg.evaluate.run import Collected
from yolor_cfg.evaluate.scores import Scores
from yolor_cfg.report.files import save_curves
from yolor_cfg.report.plots import Axes, Curve, chart, matrix
from yolor_cfg.train.state import Row

COLOURS = ((20, 70, 200), (200, 60, 30), (30, 140, 60), (150, 60, 170))
LOSSES = ("loss", "box", "objectness", "classes")
SCORES = ("AP", "AP50", "P", "R")


def results_picture(rows: Sequence[Row]) -> Image:
    """Losses above, scores below; epochs counted from 1."""
    highest = max([row["loss"] for row in rows if np.isfinite(row["loss"])], default=1.0)
    return np.concatenate([
        _panel(rows, LOSSES, title="loss of an image", top=max(highest, 1e-9)),
        _panel(rows, SCORES, title="held-out pictures", top=1.0),
    ])  # fmt: skip


def _panel(rows: Sequence[Row], names: Sequence[str], *, title: str, top: float) -> Image:
    curves = []
    for name, colour in zip(names, COLOURS, strict=True):
        there = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
        if there:
            x, y = np.array(there, np.float64).T
            curves.append(Curve(x, y, f"{name} {y[-1]:.4g}", colour, 2))
    end = max([row["epoch"] + 1 for row in rows], default=1.0)
    axes = Axes(title, "epoch", title.partition(" ")[0], (0.0, max(end, 1.0)), (0.0, top))
    return chart(curves, axes)


def save_last_test(folder: Path, scores: Scores, *, ground: Ground, collected: Collected) -> None:
    """The curves and the confusion matrix of the best network."""
    save_curves(folder, scores.classes, ground=ground)
    counts = confusion_matrix(ground, collected.detections)
    save_image(folder / "confusion_matrix.png", matrix(counts, [*ground.names, "background"]))
