"""What a test leaves in its folder: metrics.json, predictions.json, per_class.csv, curves and the matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from yolor_cfg.evaluate.curves import AXIS, Curves
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
from yolor_cfg.evaluate.matching import confusion_matrix
from yolor_cfg.evaluate.results import to_coco_results
from yolor_cfg.evaluate.scores import Scores
from yolor_cfg.report.plots import Axes, class_curves, plot_confusion_matrix, plot_curves
from yolor_cfg.report.tables import classes_csv
from yolor_cfg.runs import save_image, save_text


def save_test_results(
    folder: Path, scores: Scores, *, ground: GroundTruth, detections: Doubles, metrics: dict[str, Any]
) -> None:
    """Write all files of a test; predictions.json gives the same COCO numbers again."""
    save_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    save_text(folder / "predictions.json", json.dumps(to_coco_results(detections, ground)) + "\n")
    save_text(folder / "per_class.csv", classes_csv(scores, ground))
    save_curves(folder, scores.classes, ground=ground)
    counts = confusion_matrix(ground, detections)
    save_image(folder / "confusion_matrix.png", plot_confusion_matrix(counts, [*ground.names, "background"]))


def save_curves(folder: Path, curves: Curves, *, ground: GroundTruth) -> None:
    """PR_curve.png and P, R and F1 against the confidence."""
    for name, title, table in (
        ("P", "precision", curves.precision),
        ("R", "recall", curves.recall),
        ("F1", "F1", curves.f1),
    ):
        lines = class_curves(AXIS, table, names=ground.names, mean_name=_mean_curve_name(table))
        save_image(folder / f"{name}_curve.png", plot_curves(lines, Axes(title, "confidence", title)))
    mean = f"all, mAP50 {curves.mean.map50:.3f}"
    lines = class_curves(AXIS, curves.envelope, names=ground.names, mean_name=mean)
    axes = Axes("precision and recall at IoU 0.5", "recall", "precision")
    save_image(folder / "PR_curve.png", plot_curves(lines, axes))


def _mean_curve_name(table: Doubles) -> str:
    """The name of the mean curve, with where it is highest."""
    there = table[~(table != table).all(axis=1)]
    if not len(there):
        return ""
    mean = there.mean(axis=0)
    return f"all, {mean.max():.2f} at {AXIS[mean.argmax()]:.3f}"
