"""What a test found beside its figures, as a JSON object from which a report is made: curves, confusion,
images.

Legend: K classes, X places on the axis of a curve, N images, D detections [D, 7] as in `ground_truth.ROW`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.summary import summarize_dataset
from yolor_cfg.data.types import Dataset
from yolor_cfg.evaluate.curves import AXIS, Curves
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
from yolor_cfg.evaluate.image_labels import PLACES, THRESHOLD, LabelScores, label_truth
from yolor_cfg.evaluate.judgement import MOST_IMAGES, describe_judgement
from yolor_cfg.evaluate.matching import CONFUSION_IOU, confusion_matrix
from yolor_cfg.evaluate.scores import Scores, TaskScores, scores_document

STEP = 10
"""Every tenth point of a curve is kept."""
MOST_CURVES = 100
"""Of more classes, those with the most labels have curves."""
DIGITS = 4
MOST_CELLS = 4000
"""Cells of a confusion matrix that are not 0: of more, the largest."""
MOST_NAMES = 5
NO_LABELS = np.zeros((0, 1))


class TestFindings(NamedTuple):
    """What a test gave: the scores, the ground truth, the detections [D, 7], the indices of unreadable
    images, and of each other image its index and the probabilities of its classes [N, 1 + K]. `dataset` is
    None where detections of a file were scored."""

    scores: TaskScores
    ground: GroundTruth
    detections: Doubles
    labels: Doubles
    skipped: tuple[int, ...] = ()
    dataset: Dataset | None = None


def describe_found(found: TestFindings, *, name: str = "", task: str = "") -> dict[str, Any]:
    """The JSON object of one data set; `name` tells it from others."""
    scores, boxes = found.scores, found.scores.boxes
    return {
        "name": name,
        "task": task,
        "classes": list(found.ground.names),
        "metrics": scores_document(scores, found.ground),
        "data": summarize_dataset(found.dataset) if found.dataset else {},
        "boxes": _describe_boxes(found, boxes) if boxes else None,
        "labels": describe_label_heads(scores.labels, found),
    }


def _describe_boxes(found: TestFindings, scores: Scores) -> dict[str, Any]:
    confidence, ground = scores.classes.confidence, found.ground
    seen = ground.drop_images(found.skipped)
    counts = confusion_matrix(seen, found.detections, conf=confidence)
    return {
        "curves": _describe_curves(scores.classes),
        "confusion": {"confidence": confidence, "iou": CONFUSION_IOU, **_describe_cells(counts)},
        "judged": describe_judgement(ground, found.detections, confidence=confidence, skipped=found.skipped),
    }


def _describe_curves(curves: Curves) -> dict[str, Any]:
    """Of each class that has labels, at every tenth place: precision, recall, F1 by confidence and precision
    by recall; and the means over all such classes."""
    there = np.flatnonzero(curves.labels > 0)
    tables = {"P": curves.precision, "R": curves.recall, "F1": curves.f1, "PR": curves.envelope}
    return _pick_curves(tables, there, curves.labels, places=AXIS)


def _pick_curves(
    tables: dict[str, Doubles], there: NDArray[np.int64], labels: NDArray[Any], *, places: Doubles
) -> dict[str, Any]:
    """Of tables [K, X] the rows of the classes with the most labels, and the means over those `there`."""
    chosen = sorted(there[np.argsort(-labels[there], kind="stable")][:MOST_CURVES].tolist())
    each = {name: _to_lists(table[chosen, ::STEP]) for name, table in tables.items()}
    kept = {name: table[there, ::STEP] for name, table in tables.items()}
    means = {name: _to_lists(rows.mean(axis=0)) if len(rows) else [] for name, rows in kept.items()}
    axis = places[::STEP].round(DIGITS).tolist()
    return {"axis": axis, "classes": chosen, "there": len(there), "each": each, "mean": means}


def _to_lists(values: Doubles) -> Any:
    return values.round(DIGITS).tolist()


def _describe_cells(counts: NDArray[np.int64]) -> dict[str, Any]:
    """A matrix [K, K] by its size and its cells that are not 0: row, column, count."""
    rows, columns = counts.nonzero()
    values = counts[rows, columns]
    order = np.sort(np.argsort(-values, kind="stable")[:MOST_CELLS])
    cells = np.stack([rows, columns, values], axis=1)[order]
    return {"size": len(counts), "cells": cells.tolist(), "left_out": len(values) - len(order)}


def describe_label_heads(scores: Sequence[LabelScores], found: TestFindings) -> list[dict[str, Any]]:
    """Of each head that classifies images: kind, confusion, curves, and the images it is wrong about."""
    described, first = [], 1
    for one in scores:
        columns = slice(first, first + len(one.names))
        described.append(_describe_labels(one, found, columns))
        first = columns.stop
    return described


def _describe_labels(scores: LabelScores, found: TestFindings, columns: slice) -> dict[str, Any]:
    there = np.flatnonzero(scores.present)
    curves = _pick_curves({"PR": scores.envelope}, there, scores.positives, places=PLACES)
    single = scores.kind == "single"
    return {
        "kind": scores.kind,
        "k": scores.k,
        "classes": list(scores.names),
        "curves": curves,
        "confusion": _describe_cells(scores.confusion) if single else None,
        "threshold": THRESHOLD,
        "mistakes": _describe_mistakes(scores, found, columns) if found.dataset else None,
    }


def _describe_mistakes(scores: LabelScores, found: TestFindings, columns: slice) -> dict[str, Any]:
    """How many images are wrong, and those the network was surest of while it was wrong."""
    assert found.dataset is not None
    images = found.labels[:, 0].astype(np.int64)
    shares = found.labels[:, columns]
    truth = label_truth(found.dataset)[images][:, columns.start - 1 : columns.stop - 1]
    wrong = _wrong_classes(truth, shares, single=scores.kind == "single")
    surest = np.where(wrong, np.abs(shares - (truth > 0)), 0).max(axis=1, initial=0)
    order = np.argsort(-surest, kind="stable")[: min(MOST_IMAGES, int((surest > 0).sum()))]
    rows = [_describe_classified(found, truth[i] > 0, shares[i], image=int(images[i])) for i in order]
    return {"wrong": int(wrong.any(axis=1).sum()), "images": len(images), "worst": rows}


def _wrong_classes(truth: Doubles, shares: Doubles, *, single: bool) -> NDArray[np.bool_]:
    """[N, K] whether a class is said of an image that does not have it, or not said of one that has it."""
    best = shares.argmax(axis=1)[:, None] == np.arange(shares.shape[1])
    said = best if single else shares >= THRESHOLD
    return np.asarray(np.isfinite(truth) & (said != (truth > 0)))


def _describe_classified(
    found: TestFindings, truth: NDArray[np.bool_], shares: Doubles, *, image: int
) -> dict[str, Any]:
    best = np.argsort(-shares, kind="stable")[:MOST_NAMES]
    return {
        "file": found.ground.files[image],
        "size": found.ground.sizes[image].tolist(),
        "truth": np.flatnonzero(truth).tolist(),
        "found": [[int(k), round(float(shares[k]), DIGITS)] for k in best],
    }
