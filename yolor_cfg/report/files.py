"""What a test leaves in its folder: metrics.json, predictions.json, per_class.csv, and charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from yolor_cfg.evaluate.curves import AXIS, Curves
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
from yolor_cfg.evaluate.image_labels import PLACES, LabelScores
from yolor_cfg.evaluate.matching import confusion_matrix
from yolor_cfg.evaluate.results import to_coco_results
from yolor_cfg.evaluate.scores import Scores
from yolor_cfg.report.charts import ClassCurves, confusion_chart, confusion_rows, curves_chart
from yolor_cfg.report.figures import save_chart
from yolor_cfg.report.tables import classes_csv, labels_csv
from yolor_cfg.runs import save_text


def save_test_results(
    folder: Path, scores: Scores, *, ground: GroundTruth, detections: Doubles, metrics: dict[str, Any]
) -> None:
    """Write all files of a test; predictions.json gives the same COCO numbers again."""
    save_metrics(folder, metrics)
    save_text(folder / "predictions.json", json.dumps(to_coco_results(detections, ground)) + "\n")
    save_text(folder / "per_class.csv", classes_csv(scores, ground))
    save_curves(folder, scores.classes, ground=ground)
    save_confusion_matrix(folder, ground, detections, confidence=scores.classes.confidence)


def save_label_scores(folder: Path, labels: Sequence[LabelScores]) -> None:
    """Of each head that classifies images labels_per_class.csv and labels_PR_curve.png, and where each image
    has one class labels_confusion_matrix.png; the second head's with a 2, and so on."""
    for number, scores in enumerate(labels, 1):
        end = "" if number == 1 else str(number)
        save_text(folder / f"labels_per_class{end}.csv", labels_csv(scores))
        title = f"precision by recall, mAP {scores.map:.3f}"
        lines = ClassCurves(title, "recall", "precision", PLACES, scores.envelope, scores.names)
        _save_curve(folder / f"labels_PR_curve{end}.png", lines, "all")
        if scores.kind == "single":
            chart = confusion_chart(scores.confusion, scores.names, found="predicted")
            rows = partial(confusion_rows, scores.confusion, scores.names, found="predicted")
            save_chart(folder / f"labels_confusion_matrix{end}.png", chart, rows=rows)


def save_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """metrics.json: what a test found, as JSON."""
    save_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")


def save_confusion_matrix(
    folder: Path, ground: GroundTruth, detections: Doubles, *, confidence: float
) -> None:
    """confusion_matrix.png, or .csv where there is no matplotlib; of detections above the confidence."""
    counts = confusion_matrix(ground, detections, conf=confidence)
    names = [*ground.names, "background"]
    chart = confusion_chart(counts, names, confidence=confidence)
    rows = partial(confusion_rows, counts, names, confidence=confidence)
    save_chart(folder / "confusion_matrix.png", chart, rows=rows)


def save_curves(folder: Path, curves: Curves, *, ground: GroundTruth) -> None:
    """PR_curve.png, and P_, R_ and F1_curve.png by confidence, where the best F1 is marked; .csv where there
    is no matplotlib."""
    best = curves.confidence
    for name, title, table in (
        ("P", "precision", curves.precision),
        ("R", "recall", curves.recall),
        ("F1", "F1", curves.f1),
    ):
        title_there = f"{title} by confidence, best F1 at {best:.3f}"
        lines = ClassCurves(title_there, "confidence", title, AXIS, table, ground.names, best)
        _save_curve(folder / f"{name}_curve.png", lines, _mean_curve_name(lines))
    title, mean = "precision by recall at IoU 0.5", f"all, mAP50 {curves.mean.map50:.3f}"
    lines = ClassCurves(title, "recall", "precision", AXIS, curves.envelope, ground.names)
    _save_curve(folder / "PR_curve.png", lines, mean)


def _save_curve(path: Path, curves: ClassCurves, mean_name: str) -> None:
    save_chart(path, curves_chart(curves, mean_name), rows=lambda: curves.rows)


def _mean_curve_name(curves: ClassCurves) -> str:
    """The name of the mean curve, and its height at the mark."""
    if not curves.present_ids or curves.mark is None:
        return ""
    return f"all, {curves.mean[np.abs(AXIS - curves.mark).argmin()]:.2f} at {curves.mark:.3f}"
