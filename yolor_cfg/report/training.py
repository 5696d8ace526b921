"""Pictures of a training: its course, its labels, and what the best network finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from yolor_cfg.data.images import Pictures
from yolor_cfg.data.loader import Loader
from yolor_cfg.data.order import InOrder
from yolor_cfg.data.plain import YolorPlain, moved
from yolor_cfg.data.types import Batch, Dataset
from yolor_cfg.evaluate.ground import of_dataset
from yolor_cfg.evaluate.matching import confusion_matrix
from yolor_cfg.evaluate.run import Collected, Settings, collect, scored
from yolor_cfg.graph import Reading
from yolor_cfg.images.draw import colour_of, drawable
from yolor_cfg.images.types import Image
from yolor_cfg.parallel import own_device, shared
from yolor_cfg.report.files import save_curves
from yolor_cfg.report.pictures import MOST, contact_sheet
from yolor_cfg.report.plots import MOST_NAMED, Axes, Curve, chart, matrix
from yolor_cfg.runs import save_image
from yolor_cfg.train.setup import Job
from yolor_cfg.train.state import Row
from yolor_cfg.weights.loading import open_network

COLOURS = ((20, 70, 200), (200, 60, 30), (30, 140, 60), (150, 60, 170))
LOSSES = ("loss", "box", "objectness", "classes")
SCORES = ("AP", "AP50", "P", "R")
MOST_POINTS, DOT = 3000, 0.002
SURE = 0.25
"""The confidence above which a detection is drawn."""


def results_picture(rows: Sequence[Row]) -> Image:
    """Losses above, scores below; epochs counted from 1."""
    highest = max([row["loss"] for row in rows if np.isfinite(row["loss"])], default=1.0)
    return np.concatenate(
        [
            _panel(rows, LOSSES, title="loss of an image", top=max(highest, 1e-9)),
            _panel(rows, SCORES, title="held-out pictures", top=1.0),
        ]
    )


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


def labels_picture(dataset: Dataset) -> Image:
    """How many boxes each class has as bars, and their sizes as points: fractions of the picture."""
    classes = np.concatenate([sample.classes for sample in dataset.samples])
    boxes = np.concatenate([sample.boxes_xywh for sample in dataset.samples])
    counts = np.bincount(classes, minlength=len(dataset.names))
    bars = [
        Curve(
            np.array([k, k], np.float64),
            np.array([0, count], np.float64),
            f"{drawable(name, k)} {count}" if k < MOST_NAMED else "",
            colour_of(k),
            6,
        )
        for k, (name, count) in enumerate(zip(dataset.names, counts.tolist(), strict=True))
    ]
    ends = (-1.0, float(len(counts))), (0.0, float(max(counts.max(initial=0), 1)))
    sizes = zip(classes[:MOST_POINTS].tolist(), boxes[:MOST_POINTS, 2:].tolist(), strict=True)
    points = [
        Curve(np.array([w, w + DOT]), np.array([h, h]), "", colour_of(label), 3) for label, (w, h) in sizes
    ]
    return np.concatenate(
        [
            chart(bars, Axes("boxes of each class", "class", "boxes", *ends)),
            chart(points, Axes("sizes of boxes", "width", "height")),
        ]
    )


def save_best(folder: Path, job: Job) -> None:
    """Of the best network: curves, confusion matrix, and held-out pictures with their labels and with what it
    finds. All processes call it; the first one writes."""
    best = folder / "weights/best.pt"
    if not shared(best.exists()):  # the first process wrote it before it asks; the others wait for its word
        return
    options = job.options
    reading = Reading(options.dialect, options.img_size)
    device = own_device(options.device)
    network = open_network(folder / "model.cfg", best, reading=reading, device=device).network
    collected = collect(network, job.holdout, settings=Settings(batch_size=job.batch_size))
    if collected is None:
        return
    ground = of_dataset(job.holdout)
    save_curves(folder, scored(ground, collected).classes, ground=ground)
    counts = confusion_matrix(ground, collected.detections)
    save_image(folder / "confusion_matrix.png", matrix(counts, [*ground.names, "background"]))
    batch = held_out_batch(job)
    if batch is not None:
        pictures = {"labels": batch, "pred": batch._replace(targets=detected(batch, job, collected))}
        for word, shown in pictures.items():
            save_image(folder / f"val_batch0_{word}.jpg", contact_sheet(shown, job.holdout.names))


def held_out_batch(job: Job) -> Batch | None:
    """The first held-out pictures with grey around them."""
    image = job.graph.image
    pictures = Pictures(job.holdout.samples[:MOST], channels=image.channels)
    plan = InOrder(len(pictures.samples), MOST)
    loader = Loader(pictures, YolorPlain((image.height, image.width)), plan, workers=0)
    return next(loader.epoch(0), None)


def detected(batch: Batch, job: Job, collected: Collected) -> torch.Tensor:
    """The more probable detections in these pictures as targets [T, 6]."""
    numbers = {sample.image: number for number, sample in enumerate(job.holdout.samples[:MOST])}
    rows = []
    for place, (sample, placement) in enumerate(zip(batch.samples, batch.placements, strict=True)):
        found = collected.detections[collected.detections[:, 0] == numbers[sample.image]]
        found = found[found[:, 5] > SURE]
        height, width = sample.size
        centres = np.concatenate([found[:, 1:3] + found[:, 3:5] / 2, found[:, 3:5]], axis=1)
        boxes = moved((centres / (width, height, width, height)).astype(np.float32), placement)
        rows.append(np.column_stack([np.full(len(found), place), found[:, 6], boxes]))
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))
