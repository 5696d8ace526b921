"""What a test leaves in its folder: metrics.json, predictions.json, per_class.csv, and charts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from yolor_cfg.evaluate.curves import AXIS, Curves
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
from yolor_cfg.evaluate.matching import confusion_matrix
from yolor_cfg.evaluate.results import to_coco_results
from yolor_cfg.evaluate.scores import Scores
from yolor_cfg.report.charts import ClassCurves, confusion_chart, confusion_rows, curves_chart
from yolor_cfg.report.figures import save_chart
from yolor_cfg.report.tables import classes_csv
from yolor_cfg.runs import save_text


def save_test_results(
    folder: Path, scores: Scores, *, ground: GroundTruth, detections: Doubles, metrics: dict[str, Any]
) -> None:
    """Write all files of a test; predictions.json gives the same COCO numbers again."""
    save_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    save_text(folder / "predictions.json", json.dumps(to_coco_results(detections, ground)) + "\n")
    save_text(folder / "per_class.csv", classes_csv(scores, ground))
    save_curves(folder, scores.classes, ground=ground)
    save_confusion_matrix(folder, ground, detections)


def save_confusion_matrix(folder: Path, ground: GroundTruth, detections: Doubles) -> None:
    """confusion_matrix.png, or .csv where there is no matplotlib."""
    counts, names = confusion_matrix(ground, detections), [*ground.names, "background"]
    chart = confusion_chart(counts, names)
    save_chart(folder / "confusion_matrix.png", chart, rows=lambda: confusion_rows(counts, names))


def save_curves(folder: Path, curves: Curves, *, ground: GroundTruth) -> None:
    """PR_curve.png, and P_, R_ and F1_curve.png by confidence; .csv where there is no matplotlib."""
    for name, title, table in (
        ("P", "precision", curves.precision),
        ("R", "recall", curves.recall),
        ("F1", "F1", curves.f1),
    ):
        lines = ClassCurves(f"{title} by confidence", "confidence", title, AXIS, table, ground.names)
        _save_curve(folder / f"{name}_curve.png", lines, _mean_curve_name(lines))
    title, mean = "precision by recall at IoU 0.5", f"all, mAP50 {curves.mean.map50:.3f}"
    lines = ClassCurves(title, "recall", "precision", AXIS, curves.envelope, ground.names)
    _save_curve(folder / "PR_curve.png", lines, mean)


def _save_curve(path: Path, curves: ClassCurves, mean_name: str) -> None:
    save_chart(path, curves_chart(curves, mean_name), rows=lambda: curves.rows)


def _mean_curve_name(curves: ClassCurves) -> str:
    """The name of the mean curve, and where it is highest."""
    if not curves.present_ids:
        return ""
    mean = curves.mean
    return f"all, {mean.max():.2f} at {AXIS[mean.argmax()]:.3f}"
