"""All figures of one test, from the truth and the detections; no tensor and no file is needed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from yolor_cfg.evaluate.coco import CATEGORY_METRICS, CocoScores, score_coco
from yolor_cfg.evaluate.curves import CONFIDENCE, Curves, compute_curves
from yolor_cfg.evaluate.darknet_map import DarknetScores, score_darknet
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth


class Speed(NamedTuple):
    """Milliseconds an image: reading and preparing it, running and decoding the network, suppression."""

    pre: float = 0.0
    inference: float = 0.0
    nms: float = 0.0


class Scores(NamedTuple):
    """How good detections are: by COCO's rules, by YOLOR's and by Darknet's. `skipped` are the images that
    could not be read; their boxes are not counted as missed."""

    coco: CocoScores
    classes: Curves
    darknet: DarknetScores
    images: int
    objects: int
    detections: int
    speed: Speed | None = None
    skipped: tuple[str, ...] = ()

    @property
    def ap(self) -> float:
        """COCO's AP, the mean over IoU 0.5 to 0.95; 0 where the truth has no boxes."""
        return max(0.0, self.coco.numbers["AP"])

    @property
    def ap50(self) -> float:
        """COCO's AP at IoU 0.5; 0 where the truth has no boxes."""
        return max(0.0, self.coco.numbers["AP50"])


class MetricOptions(NamedTuple):
    """How figures are made: who counts COCO's, and at how many recalls Darknet averages (0: the area) and
    above which IoU it finds an object."""

    engine: str = "auto"
    points: int = 0
    iou: float = 0.5


DEFAULT_METRICS = MetricOptions()


def score_detections(
    ground: GroundTruth,
    detections: Doubles,
    *,
    darknet: Doubles | None = None,
    metric_options: MetricOptions = DEFAULT_METRICS,
) -> Scores:
    """The scores of detections [D, 7]; `darknet` are those that Darknet's rules leave, if they differ."""
    return Scores(
        score_coco(ground, detections, engine=metric_options.engine),
        compute_curves(ground, detections),
        score_darknet(
            ground,
            detections if darknet is None else darknet,
            points=metric_options.points,
            iou=metric_options.iou,
        ),
        len(ground.image_ids),
        len(ground.classes),
        len(detections),
    )


def scores_to_dict(scores: Scores, ground: GroundTruth) -> dict[str, Any]:
    """The scores as JSON holds them. `coco` and `per_category` (by category id) have -1 where the truth has
    no such boxes, as pycocotools says it; the columns of other rules have null."""
    mean = scores.classes.mean
    judged = scores.darknet
    return {
        "images": scores.images,
        "objects": scores.objects,
        "detections": scores.detections,
        "engine": scores.coco.engine,
        "coco": scores.coco.numbers,
        "yolor": {**mean._asdict(), "confidence": CONFIDENCE},
        "darknet": {
            f"m{judged.metric}": judged.map,
            f"m{judged.metric}_of_classes_there": _present_map50(scores),
            "true_positives": int(judged.true_positives.sum()),
            "false_positives": int(judged.false_positives.sum()),
            "false_negatives": judged.false_negatives,
            "precision": judged.precision,
            "recall": judged.recall,
            "f1": judged.f1,
            "average_iou": judged.average_iou,
        },
        "speed_ms": None if scores.speed is None else scores.speed._asdict(),
        "skipped": list(scores.skipped),
        "per_category": {str(row["id"]): row for row in class_rows(scores, ground)},
    }


def class_rows(scores: Scores, ground: GroundTruth) -> list[dict[str, Any]]:
    """Of each class its id, name, images, labels, COCO's AP, P, R, F1, YOLOR's AP, Darknet's AP50."""
    precision, recall, f1 = scores.classes.precision_recall_f1(CONFIDENCE)
    rows = []
    for k, (key, name) in enumerate(zip(ground.category_ids, ground.names, strict=True)):
        coco = dict(zip(CATEGORY_METRICS, scores.coco.categories[k].tolist(), strict=True))
        ours = {
            "P": precision[k],
            "R": recall[k],
            "F1": f1[k],
            "yolor_AP50": scores.classes.ap[k, 0],
            "yolor_AP": scores.classes.ap[k].mean(),
            f"darknet_{scores.darknet.metric}": scores.darknet.ap[k],
        }
        counts = {"images": int(scores.classes.images[k]), "labels": int(scores.classes.labels[k])}
        others = {word: _nan_to_none(value) for word, value in ours.items()}
        rows.append({"id": key, "name": name, **counts, **coco, **others})
    return rows


def _present_map50(scores: Scores) -> float | None:
    """Darknet's mean without the zeros of classes that the truth has none of."""
    there = scores.classes.labels > 0
    return float(scores.darknet.ap[there].mean()) if there.any() else None


def _nan_to_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
