"""Pictures of a training: its course, its labels, and what the best network finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from yolor_cfg.data.eval_transforms import YolorEvalTransform, boxes_to_input
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader
from yolor_cfg.data.samplers import SequentialBatchSampler
from yolor_cfg.data.types import Batch, Dataset
from yolor_cfg.evaluate.ground_truth import dataset_ground_truth
from yolor_cfg.evaluate.matching import confusion_matrix
from yolor_cfg.evaluate.run import EvalSettings, NetworkDetections, collect_detections, score_network
from yolor_cfg.graph import ReadOptions
from yolor_cfg.images.draw import class_color, drawable_name
from yolor_cfg.images.types import Image
from yolor_cfg.parallel import broadcast_object, local_device
from yolor_cfg.report.batch_sheet import MAX_IMAGES, contact_sheet
from yolor_cfg.report.files import save_curves
from yolor_cfg.report.plots import MAX_NAMED_CURVES, Axes, Curve, plot_confusion_matrix, plot_curves
from yolor_cfg.runs import save_image
from yolor_cfg.train.setup import Job
from yolor_cfg.train.state import EpochResults
from yolor_cfg.weights.loading import open_network

CURVE_COLORS = ((20, 70, 200), (200, 60, 30), (30, 140, 60), (150, 60, 170))
LOSS_COLUMNS = ("loss", "box", "objectness", "classes")
SCORE_COLUMNS = ("AP", "AP50", "P", "R")
MAX_POINTS, POINT_WIDTH = 3000, 0.002
MIN_DRAWN_SCORE = 0.25
"""The confidence above which a detection is drawn."""


def plot_results(rows: Sequence[EpochResults]) -> Image:
    """Losses above, scores below; epochs counted from 1."""
    highest = max([row["loss"] for row in rows if np.isfinite(row["loss"])], default=1.0)
    return np.concatenate(
        [
            _plot_panel(rows, LOSS_COLUMNS, title="loss of an image", top=max(highest, 1e-9)),
            _plot_panel(rows, SCORE_COLUMNS, title="held-out pictures", top=1.0),
        ]
    )


def _plot_panel(rows: Sequence[EpochResults], names: Sequence[str], *, title: str, top: float) -> Image:
    curves = []
    for name, colour in zip(names, CURVE_COLORS, strict=True):
        there = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
        if there:
            x, y = np.array(there, np.float64).T
            curves.append(Curve(x, y, f"{name} {y[-1]:.4g}", colour, 2))
    end = max([row["epoch"] + 1 for row in rows], default=1.0)
    axes = Axes(title, "epoch", title.partition(" ")[0], (0.0, max(end, 1.0)), (0.0, top))
    return plot_curves(curves, axes)


def plot_labels(dataset: Dataset) -> Image:
    """How many boxes each class has as bars, and their sizes as points: fractions of the picture."""
    classes = np.concatenate([sample.classes for sample in dataset.samples])
    boxes = np.concatenate([sample.boxes_xywh for sample in dataset.samples])
    counts = np.bincount(classes, minlength=len(dataset.names))
    bars = [
        Curve(
            np.array([k, k], np.float64),
            np.array([0, count], np.float64),
            f"{drawable_name(name, k)} {count}" if k < MAX_NAMED_CURVES else "",
            class_color(k),
            6,
        )
        for k, (name, count) in enumerate(zip(dataset.names, counts.tolist(), strict=True))
    ]
    ends = (-1.0, float(len(counts))), (0.0, float(max(counts.max(initial=0), 1)))
    sizes = zip(classes[:MAX_POINTS].tolist(), boxes[:MAX_POINTS, 2:].tolist(), strict=True)
    points = [
        Curve(np.array([w, w + POINT_WIDTH]), np.array([h, h]), "", class_color(label), 3)
        for label, (w, h) in sizes
    ]
    return np.concatenate(
        [
            plot_curves(bars, Axes("boxes of each class", "class", "boxes", *ends)),
            plot_curves(points, Axes("sizes of boxes", "width", "height")),
        ]
    )


def save_best_plots(folder: Path, job: Job) -> None:
    """Of the best network: curves, confusion matrix, and held-out pictures with their labels and with what it
    finds. All processes call it; the first one writes."""
    best = folder / "weights/best.pt"
    if not broadcast_object(
        best.exists()
    ):  # the first process wrote it before it asks; the others wait for its word
        return
    options = job.options
    reading = ReadOptions(options.dialect, options.img_size)
    device = local_device(options.device)
    network = open_network(folder / "model.cfg", best, reading=reading, device=device).network
    collected = collect_detections(network, job.holdout, settings=EvalSettings(batch_size=job.batch_size))
    if collected is None:
        return
    ground = dataset_ground_truth(job.holdout)
    save_curves(folder, score_network(ground, collected).classes, ground=ground)
    counts = confusion_matrix(ground, collected.detections)
    save_image(folder / "confusion_matrix.png", plot_confusion_matrix(counts, [*ground.names, "background"]))
    batch = holdout_batch(job)
    if batch is not None:
        pictures = {
            "labels": batch,
            "pred": batch._replace(targets=detections_to_targets(batch, job, collected)),
        }
        for word, shown in pictures.items():
            save_image(folder / f"val_batch0_{word}.jpg", contact_sheet(shown, job.holdout.names))


def holdout_batch(job: Job) -> Batch | None:
    """The first held-out pictures with grey around them."""
    image = job.graph.image
    pictures = ImageStore(job.holdout.samples[:MAX_IMAGES], channels=image.channels)
    plan = SequentialBatchSampler(len(pictures.samples), MAX_IMAGES)
    loader = Loader(pictures, YolorEvalTransform((image.height, image.width)), plan, workers=0)
    return next(loader.epoch(0), None)


def detections_to_targets(batch: Batch, job: Job, collected: NetworkDetections) -> torch.Tensor:
    """The more probable detections in these pictures as targets [T, 6]."""
    numbers = {sample.image: number for number, sample in enumerate(job.holdout.samples[:MAX_IMAGES])}
    rows = []
    for place, (sample, placement) in enumerate(zip(batch.samples, batch.placements, strict=True)):
        found = collected.detections[collected.detections[:, 0] == numbers[sample.image]]
        found = found[found[:, 5] > MIN_DRAWN_SCORE]
        height, width = sample.size
        centres = np.concatenate([found[:, 1:3] + found[:, 3:5] / 2, found[:, 3:5]], axis=1)
        boxes = boxes_to_input((centres / (width, height, width, height)).astype(np.float32), placement)
        rows.append(np.column_stack([np.full(len(found), place), found[:, 6], boxes]))
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))
