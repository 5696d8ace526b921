"""The scores of a test as text and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from yolor_cfg.errors import count_of
from yolor_cfg.evaluate.coco import ABSENT, COCO_DESCRIPTIONS, CocoScores
from yolor_cfg.evaluate.embeddings import FALSE_ACCEPT_RATES, EmbeddingScores
from yolor_cfg.evaluate.ground_truth import GroundTruth
from yolor_cfg.evaluate.image_labels import THRESHOLD, LabelScores, label_rows
from yolor_cfg.evaluate.scores import DatasetScores, Scores, class_rows, mean_summary

HEADERS = (
    "class",
    "images",
    "labels",
    "confidence",
    "P",
    "R",
    "F1",
    "AP50",
    "AP",
    "Darknet {}",
    "COCO AP50",
    "COCO AP",
)


def coco_rows(coco: CocoScores) -> list[tuple[str, ...]]:
    """COCO's 12 numbers, one per row, as pycocotools prints them."""
    head = ("COCO", "IoU", "area", "detections", "")
    return [
        head,
        *(
            (word, iou, area, str(most), _format_score(coco.numbers[name]))
            for name, (word, iou, area, most) in COCO_DESCRIPTIONS.items()
        ),
    ]


def class_table(scores: Scores, ground: GroundTruth, *, every: bool) -> list[tuple[str, ...]]:
    """A header, a row for all classes together, and with `every` a row for each class that has labels.

    P, R and F1 are at the confidence before them, that of the best mean F1. The first AP50 and AP follow
    YOLOR's rule; Darknet's and COCO's follow. A dash stands for a missing value.
    """
    mean, coco = scores.classes.mean, scores.coco.numbers
    ours = (scores.classes.confidence, mean.precision, mean.recall, mean.f1, mean.map50, mean.map)
    means: tuple[float | None, ...] = (*ours, scores.darknet.map, coco["AP50"], coco["AP"])
    count = int(scores.classes.labels.sum())
    if not count:  # nothing to find: no figure is 0, there is none
        means = (None,) * len(means)
    total = ("all", str(scores.images), str(count), *map(_format_score, means))
    metric = scores.darknet.metric
    rows = [_class_row(row, metric=metric) for row in class_rows(scores, ground) if every and row["labels"]]
    return [tuple(header.format(metric) for header in HEADERS), total, *rows]


def _class_row(row: dict[str, Any], *, metric: str) -> tuple[str, ...]:
    figures = ("confidence", "P", "R", "F1", "yolor_AP50", "yolor_AP", f"darknet_{metric}", "AP50", "AP")
    return (
        row["name"],
        str(row["images"]),
        str(row["labels"]),
        *(_format_score(row[name]) for name in figures),
    )


def dataset_table(datasets: Sequence[DatasetScores]) -> list[tuple[str, ...]]:
    """A header, a row for each of several data sets, and the mean of each figure over those that have it."""
    means = mean_summary(datasets)
    words = [word for word in means if "." not in word]
    rows = [("mean", "", str(sum(one.scores.images for one in datasets)), means)]
    rows += [(one.name, one.task, str(one.scores.images), one.scores.summary) for one in datasets]
    table = [(*start, *(_format_score(row.get(word)) for word in words)) for *start, row in rows]
    return [("data set", "task", "images", *words), *table]


def embedding_rows(scores: EmbeddingScores) -> list[tuple[str, ...]]:
    """A header, and how well embeddings tell objects apart."""
    rates = [f"TAR@FAR {rate:g}" for rate in FALSE_ACCEPT_RATES]
    numbers = (scores.rank1, scores.rank5, scores.map, *scores.accepted)
    counts = str(scores.objects), str(scores.identities)
    cells = (_format_score(None if math.isnan(number) else number) for number in numbers)
    return [
        ("embeddings", "objects", "identities", "rank-1", "rank-5", "mAP", *rates),
        ("all", *counts, *cells),
    ]


def label_line(scores: LabelScores) -> str:
    """What a head that classifies images comes to, in one line."""
    if scores.kind == "single":
        best = f"top-1 {scores.top1:.4f}, top-{scores.k} {scores.top:.4f}"
    elif not scores.present.any():
        best = "no image has a class, so there is no mAP"
    else:
        best = f"mAP {scores.map:.4f}, F1 {scores.mean_f1:.4f} at probability {THRESHOLD}"
    return f"image labels: {best}, {count_of(scores.images, 'image')}"


def label_table(scores: LabelScores, *, every: bool) -> list[tuple[str, ...]]:
    """A header, the means over the classes that occur, and with `every` a row for each of them."""
    there = scores.present
    means = (
        float(column[there].mean()) if there.any() else None
        for column in (scores.ap, scores.precision, scores.recall, scores.f1)
    )
    rows = [row for row in label_rows(scores) if every and row["images"]]
    return [
        ("class", "images", "AP", "P", "R", "F1"),
        ("all", str(scores.images), *map(_format_score, means)),
        *(
            (row["name"], str(row["images"]), *(_format_score(row[key]) for key in ("AP", "P", "R", "F1")))
            for row in rows
        ),
    ]


def labels_csv(scores: LabelScores) -> str:
    """The scores of each class as a classifier's; the AP of a class without images is empty."""
    return _format_csv(label_rows(scores))


def _format_score(value: float | None) -> str:
    return "-" if value is None or value == ABSENT else f"{value:.3f}"


def classes_csv(scores: Scores, ground: GroundTruth) -> str:
    """All scores of each class; the cells of a class without labels are empty."""
    return _format_csv(class_rows(scores, ground))


def _format_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["id", "name"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value in (None, ABSENT) else value for key, value in row.items()})
    return text.getvalue()
