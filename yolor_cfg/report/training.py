"""Charts and images of a training run: its course, its labels, and what the best network detects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from yolor_cfg.data.eval_transforms import YolorEvalTransform, boxes_to_input
from yolor_cfg.data.images import ImageStore
from yolor_cfg.data.loader import Loader
from yolor_cfg.data.samplers import SequentialBatchSampler
from yolor_cfg.data.types import Batch, Dataset
from yolor_cfg.data.union import select_part
from yolor_cfg.errors import describe_fault
from yolor_cfg.evaluate.facts import TestFindings, describe_found
from yolor_cfg.evaluate.ground_truth import dataset_ground_truth
from yolor_cfg.evaluate.run import (
    TEST_FAULTS,
    EvalSettings,
    NetworkDetections,
    collect_detections,
    score_tasks,
)
from yolor_cfg.images.types import Image
from yolor_cfg.model import Network
from yolor_cfg.parallel import broadcast_object, local_device, this_process
from yolor_cfg.report.batch_sheet import MAX_IMAGES, contact_sheet
from yolor_cfg.report.charts import MAX_NAMED_CURVES
from yolor_cfg.report.figures import (
    BLUE,
    CYAN,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    Chart,
    Ink,
    can_draw,
    class_ink,
    mark_empty,
    number_axis,
    render_chart,
    save_chart,
    shorten_name,
)
from yolor_cfg.report.files import save_confusion_matrix, save_curves, save_label_scores
from yolor_cfg.runs import save_image
from yolor_cfg.train.logger import MAIN_SCORES, source_columns, weight_columns
from yolor_cfg.train.setup import Job
from yolor_cfg.train.state import EpochResults, large_column
from yolor_cfg.weights.loading import open_trained
from yolor_cfg.weights.task_choice import network_of_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_COLORS = (BLUE, RED, GREEN, PURPLE)
LOSS_COLORS = dict(
    zip(("loss", "box", "objectness", "classes", "labels"), (*CURVE_COLORS, ORANGE), strict=True)
)
LOSS_COLORS[large_column("loss")] = GRAY
SCORE_COLORS = {
    **dict(zip(("AP", "AP50", "P", "R"), CURVE_COLORS, strict=True)),
    **{large_column(name): GRAY for name in MAIN_SCORES},
    **{"top1": ORANGE, "topk": CYAN, "mAP": ORANGE, "F1": CYAN},
}
LOSS_WORDS = ("loss",)
"""The losses of a single data set that have a curve."""
MAX_MARKED_EPOCHS = 40
"""Up to so many epochs each have a dot."""
MAX_POINTS = 3000
"""Boxes drawn as points; of more, every second, third ... one."""
MAX_CLASS_TICKS = 100
"""Up to so many classes are named at the axis."""
MAX_LEVEL_LETTERS = 60
"""Up to so many letters of class names in all, they stand side by side; of more, upright."""
MIN_DRAWN_SCORE = 0.25
"""Only detections with a higher confidence are drawn."""


def plot_results(rows: Sequence[EpochResults]) -> Image | None:
    """The course of a training as an image; None where there is no matplotlib."""
    return render_chart(results_chart(rows)) if can_draw() else None


def results_chart(rows: Sequence[EpochResults]) -> Chart:
    """Losses above, scores below, then those of each of several data sets; epochs are counted from 1."""
    of_losses, of_scores = source_colors(rows, LOSS_WORDS), source_colors(rows, MAIN_SCORES)
    courses: list[tuple[str, Mapping[str, str | Ink], Mapping[str, str | Ink]]] = [
        ("", LOSS_COLORS, SCORE_COLORS)
    ]
    if of_losses or of_scores:
        courses.append((", by data set", of_losses, of_scores))

    weights = {name: class_ink(k) for k, name in enumerate(weight_columns(rows))}
    count = 2 * len(courses) + bool(weights)

    def draw(figure: Figure) -> None:
        places = figure.subplots(count, sharex=True)
        for number, (more, of_loss, of_score) in enumerate(courses):
            losses, scores = places[2 * number : 2 * number + 2]
            _draw_course(losses, rows, of_loss)
            _draw_course(scores, rows, of_score)
            losses.set(title=f"loss per image{more}", ylabel="loss")
            losses.set_ylim(bottom=0)
            scores.set(title=f"scores on held-out images{more}", ylabel="score", ylim=(0, 1.02))
        if weights:
            _draw_course(places[-1], rows, weights)
            places[-1].set(title="learned weights of the losses", ylabel="s")
        places[-1].set(xlabel="epoch")

    return Chart(draw, (10.0, 4.0 * count))


def source_colors(rows: Sequence[EpochResults], words: Sequence[str]) -> dict[str, str | Ink]:
    """A colour for each column of a single data set that ends with one of the words."""
    return {name: class_ink(k) for k, name in enumerate(source_columns(rows, words))}


def _draw_course(axes: Axes, rows: Sequence[EpochResults], colors: Mapping[str, str | Ink]) -> None:
    mark = "o" if len(rows) <= MAX_MARKED_EPOCHS else ""
    for name, ink in colors.items():
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if points:
            x, y = np.array(points, np.float64).T
            finite = np.where(np.isfinite(y), y, np.nan)
            axes.plot(x, finite, color=ink, marker=mark, ms=3.5, label=f"{name}  {y[-1]:.4g}")
    if axes.lines:
        axes.legend(title="at the end", loc="upper left", bbox_to_anchor=(1.01, 1), alignment="left")
    else:
        mark_empty(axes, "nothing measured yet")
    axes.set_xlim(0.5, max([row["epoch"] for row in rows], default=1.0) + 0.5)
    number_axis(axes.xaxis)
    axes.grid(True)


def save_labels(folder: Path, dataset: Dataset) -> None:
    """labels.png: how many labels each class has, and the sizes of their boxes; or labels.csv with the
    former."""
    found = (one.classes if dataset.has_boxes else one.image_classes for one in dataset.samples)
    classes = np.concatenate([np.zeros(0, np.int64), *found])
    boxes = np.concatenate([np.zeros((0, 4)), *(sample.boxes_xywh for sample in dataset.samples)])
    counts = np.bincount(classes, minlength=len(dataset.names))
    table = [("class", "labels"), *zip(dataset.names, counts.tolist(), strict=True)]
    chart = labels_chart(dataset.names, classes, sizes=boxes[:, 2:])
    save_chart(folder / "labels.png", chart, rows=lambda: table)


def labels_chart(names: Sequence[str], classes: NDArray[np.int64], *, sizes: NDArray[np.floating]) -> Chart:
    """The number of labels of each class as bars, and the sizes [B, 2] of boxes, fractions of the image, as
    points."""

    def draw(figure: Figure) -> None:
        bars, points = figure.subplots(2, height_ratios=(1, 1.6))
        _draw_label_counts(bars, names, np.bincount(classes, minlength=len(names)))
        step = max(1, -(-len(sizes) // MAX_POINTS))
        of_boxes = classes[::step][: len(sizes[::step])]  # none where images have classes alone
        inks = np.array([class_ink(k) for k in range(len(names))])[of_boxes]
        points.scatter(*sizes[::step].T, s=6, color=inks, alpha=0.5, lw=0)
        points.set(title="sizes of boxes as fractions of the image", xlabel="width", ylabel="height")
        points.set(xlim=(0, 1.01), ylim=(0, 1.01), aspect="equal", anchor="W")
        points.grid(True)

    return Chart(draw, (10.0, 11.0))


def _draw_label_counts(axes: Axes, names: Sequence[str], counts: NDArray[np.int64]) -> None:
    numbers = range(len(names))
    bars = axes.bar(numbers, counts, color=[class_ink(k) for k in numbers])
    if len(names) <= MAX_NAMED_CURVES:
        axes.bar_label(bars, padding=2, fontsize=9)
    if len(names) <= MAX_CLASS_TICKS:
        labels = [shorten_name(name, k) for k, name in enumerate(names)]
        turn = 90 if sum(map(len, labels)) > MAX_LEVEL_LETTERS else 0
        axes.set_xticks(numbers, labels, rotation=turn, fontsize=min(10.0, 500 / len(names)))
    else:
        number_axis(axes.xaxis)
        axes.set_xlabel("class id")
    number_axis(axes.yaxis)
    axes.set(title="labels of each class", ylabel="labels", xlim=(-0.7, max(len(names), 1) - 0.3))
    axes.set_ylim(0, 1.12 * max(1, counts.max(initial=0)))


def try_best_plots(folder: Path, job: Job, *, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Like `save_best_plots`; where the held-out images cannot be tested, that is told instead."""
    try:
        return save_best_plots(folder, job)
    except TEST_FAULTS as fault:
        if this_process().world_size > 1:
            raise
        say(f"no plots of held-out images: {describe_fault(fault)}")
        return []


def save_best_plots(folder: Path, job: Job) -> list[dict[str, Any]]:
    """For the best network: curves, the confusion matrix, and held-out images with their labels and with the
    detections. Every process calls this; only the first one writes, and gets what was found in each data set,
    as in `evaluate.facts`."""
    best = folder / "weights/best.pt"
    if not len(job.holdout.samples):
        return []
    if not broadcast_object(
        best.exists()
    ):  # the first process wrote it before it asks; the others wait for its word
        return []
    network = open_trained(job.graph, best, device=local_device(job.options.device))
    if not job.holdout.parts:
        return _save_plots(folder, job, network, dataset=job.holdout)
    tests = []
    for part in job.holdout.parts:
        place = folder / part.name
        if this_process().rank == 0:
            place.mkdir(parents=True, exist_ok=True)
        own = network_of_task(network, part.task)
        found = _save_plots(place, job, own, dataset=select_part(job.holdout, part))
        tests += [{**one, "name": part.name, "task": part.task} for one in found]
    return tests


def _save_plots(folder: Path, job: Job, network: Network, *, dataset: Dataset) -> list[dict[str, Any]]:
    """The plots of one data set; of the classes that it labels. What was found, in the first process."""
    collected = collect_detections(network, dataset, settings=EvalSettings(batch_size=job.batch_size))
    if collected is None:
        return []
    ground, scores = dataset_ground_truth(dataset), score_tasks(network.graph, dataset, collected)
    if scores.boxes:
        curves = scores.boxes.classes
        save_curves(folder, curves, ground=ground)
        save_confusion_matrix(folder, ground, collected.detections, confidence=curves.confidence)
    save_label_scores(folder, scores.labels)
    batch = holdout_batch(job, dataset) if scores.boxes else None
    if batch is not None:
        sheets = {
            "labels": batch,
            "pred": batch._replace(targets=detections_to_targets(batch, dataset, collected)),
        }
        for word, shown in sheets.items():
            save_image(folder / f"val_batch0_{word}.jpg", contact_sheet(shown, dataset.names))
    skipped = tuple(image for image, _ in collected.skipped)
    return [
        describe_found(TestFindings(scores, ground, collected.detections, collected.labels, skipped, dataset))
    ]


def holdout_batch(job: Job, dataset: Dataset) -> Batch | None:
    """The first held-out images, padded with grey."""
    image = job.graph.image
    images = ImageStore(dataset.samples[:MAX_IMAGES], channels=image.channels)
    plan = SequentialBatchSampler(len(images.samples), MAX_IMAGES)
    loader = Loader(images, YolorEvalTransform((image.height, image.width)), plan, workers=0)
    return next(loader.epoch(0), None)


def detections_to_targets(batch: Batch, dataset: Dataset, collected: NetworkDetections) -> torch.Tensor:
    """The detections in these images that are confident enough to be drawn, as targets [T, 6]."""
    numbers = {sample.image: number for number, sample in enumerate(dataset.samples[:MAX_IMAGES])}
    known = np.array(dataset.known)
    rows = []
    for place, (sample, placement) in enumerate(zip(batch.samples, batch.placements, strict=True)):
        found = collected.detections[collected.detections[:, 0] == numbers[sample.image]]
        found = found[found[:, 5] > MIN_DRAWN_SCORE]
        height, width = sample.size
        centres = np.concatenate([found[:, 1:3] + found[:, 3:5] / 2, found[:, 3:5]], axis=1)
        boxes = boxes_to_input((centres / (width, height, width, height)).astype(np.float32), placement)
        rows.append(np.column_stack([np.full(len(found), place), known[found[:, 6].astype(np.int64)], boxes]))
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))
