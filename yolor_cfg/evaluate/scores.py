"""All metrics of one test, of boxes and of classes of whole images, without tensors or files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from yolor_cfg.data.kinds import leaf_flags
from yolor_cfg.data.types import Dataset
from yolor_cfg.data.union import select_part
from yolor_cfg.evaluate.coco import CATEGORY_METRICS, CocoScores, score_coco
from yolor_cfg.evaluate.curves import Curves, compute_curves
from yolor_cfg.evaluate.darknet_map import REPORT_CONF, DarknetScores, score_darknet
from yolor_cfg.evaluate.embeddings import EmbeddingScores, embeddings_to_dict
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
from yolor_cfg.evaluate.image_labels import LabelScores, label_truth, labels_to_dict, score_labels
from yolor_cfg.graph import Graph

JSON_KEYS = {"single": "classification", "multi": "multilabel"}


class Speed(NamedTuple):
    """Milliseconds per image: reading and preprocessing, inference and decoding, NMS."""

    pre: float = 0.0
    inference: float = 0.0
    nms: float = 0.0


class Scores(NamedTuple):
    """The metrics by COCO's rules, by YOLOR's and by Darknet's. `skipped` are the unreadable images; their
    boxes are not counted as missed."""

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
        """COCO's AP, the mean over IoU 0.5 to 0.95; 0 if the ground truth has no boxes."""
        return max(0.0, self.coco.numbers["AP"])

    @property
    def ap50(self) -> float:
        """COCO's AP at IoU 0.5; 0 if the ground truth has no boxes."""
        return max(0.0, self.coco.numbers["AP50"])


class MetricOptions(NamedTuple):
    """The engine for COCO's metrics, and for Darknet's AP the number of recall points (0: the area), the IoU
    above which an object is found, and the confidence above which true and false positives are counted."""

    engine: str = "auto"
    points: int = 0
    iou: float = 0.5
    reported: float = REPORT_CONF


DEFAULT_METRICS = MetricOptions()


def score_detections(
    ground: GroundTruth,
    detections: Doubles,
    *,
    darknet: Doubles | None = None,
    metric_options: MetricOptions = DEFAULT_METRICS,
) -> Scores:
    """The scores of detections [D, 7]; `darknet` are the detections by Darknet's rules, if they differ."""
    return Scores(
        score_coco(ground, detections, engine=metric_options.engine),
        compute_curves(ground, detections),
        score_darknet(
            ground,
            detections if darknet is None else darknet,
            points=metric_options.points,
            iou=metric_options.iou,
            reported=metric_options.reported,
        ),
        len(ground.image_ids),
        len(ground.classes),
        len(detections),
    )


def scores_to_dict(scores: Scores, ground: GroundTruth) -> dict[str, Any]:
    """The scores as a JSON object. `coco` and `per_category` (by category id) have pycocotools' -1 if the
    ground truth has no such boxes; the columns by other rules have null."""
    mean = scores.classes.mean
    by_darknet = scores.darknet
    return {
        "images": scores.images,
        "objects": scores.objects,
        "detections": scores.detections,
        "engine": scores.coco.engine,
        "coco": scores.coco.numbers,
        "yolor": {**mean._asdict(), "confidence": scores.classes.confidence},
        "darknet": {
            f"m{by_darknet.metric}": by_darknet.map,
            f"m{by_darknet.metric}_of_classes_there": _present_map50(scores),
            "true_positives": int(by_darknet.true_positives.sum()),
            "false_positives": int(by_darknet.false_positives.sum()),
            "false_negatives": by_darknet.false_negatives,
            "precision": by_darknet.precision,
            "recall": by_darknet.recall,
            "f1": by_darknet.f1,
            "average_iou": by_darknet.average_iou,
            "detections": by_darknet.detections,
        },
        "speed_ms": None if scores.speed is None else scores.speed._asdict(),
        "skipped": list(scores.skipped),
        "per_category": {str(row["id"]): row for row in class_rows(scores, ground)},
    }


def class_rows(scores: Scores, ground: GroundTruth) -> list[dict[str, Any]]:
    """For each class: id, name, images, labels, COCO's AP, P, R, F1 at the confidence of the best mean F1,
    YOLOR's AP, Darknet's AP50."""
    confidence = scores.classes.confidence
    precision, recall, f1 = scores.classes.precision_recall_f1(confidence)
    rows = []
    for k, (key, name) in enumerate(zip(ground.category_ids, ground.names, strict=True)):
        coco = dict(zip(CATEGORY_METRICS, scores.coco.categories[k].tolist(), strict=True))
        ours = {
            "confidence": confidence,
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
    """Darknet's mean over the classes that occur in the ground truth."""
    there = scores.classes.labels > 0
    return float(scores.darknet.ap[there].mean()) if there.any() else None


def _nan_to_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


class TaskScores(NamedTuple):
    """The scores of the boxes, None if there are none to score, of each head that classifies images, and of
    the embeddings. What is true of all of them: the number of images, the unreadable ones, the speed. Of
    several data sets the scores stand in `datasets`, and the figures are their means."""

    boxes: Scores | None
    labels: tuple[LabelScores, ...]
    images: int
    skipped: tuple[str, ...] = ()
    speed: Speed | None = None
    embedding: EmbeddingScores | None = None
    datasets: tuple[DatasetScores, ...] = ()

    @property
    def ranking(self) -> float:
        """What the best network is chosen by: the mean of AP, of top-1 or mAP of each other head, and of the
        mAP of embeddings; of several data sets the mean of theirs."""
        if self.datasets:
            return float(np.mean([one.scores.ranking for one in self.datasets]))
        boxes = [] if self.boxes is None else [self.boxes.ap]
        vectors = [] if self.embedding is None else [self.embedding.ranking]
        return float(np.mean(boxes + [one.ranking for one in self.labels] + vectors))

    @property
    def summary(self) -> dict[str, float]:
        """The main figures by the names of their columns; of several heads of one kind the last one's. Of
        several data sets the means, and the figures of each with its name before."""
        if self.datasets:
            return mean_summary(self.datasets)
        row: dict[str, float] = {}
        if self.boxes is not None:
            mean = self.boxes.classes.mean
            row = {"P": mean.precision, "R": mean.recall, "AP50": self.boxes.ap50, "AP": self.boxes.ap}
        for one in self.labels:
            found = {"top1": one.top1, "topk": one.top} if one.kind == "single" else {}
            row |= found or {"mAP": one.map, "F1": one.mean_f1}
        if self.embedding is not None:
            row |= {"rank1": self.embedding.rank1, "identity_mAP": self.embedding.map}
        return row


def main_word(graph: Graph) -> str:
    """What the figure that stands for a network is: AP, or if it classifies images alone top1 or mAP."""
    if graph.box_heads:
        return "AP"
    return "top1" if graph.label_heads[0].section.label_kind == "single" else "mAP"


class DatasetScores(NamedTuple):
    """The scores on one of several data sets, with its name and its task, "" if it has none."""

    name: str
    task: str
    scores: TaskScores


def mean_summary(datasets: Sequence[DatasetScores]) -> dict[str, float]:
    """The mean of each figure over the data sets that have it, then those of each, as `NAME.AP`."""
    rows = {one.name: one.scores.summary for one in datasets}
    words = dict.fromkeys(word for row in rows.values() for word in row)
    means = {word: float(np.mean([row[word] for row in rows.values() if word in row])) for word in words}
    return means | {f"{name}.{word}": value for name, row in rows.items() for word, value in row.items()}


def score_parts(dataset: Dataset, score: Callable[[Dataset, str], TaskScores]) -> TaskScores:
    """The scores of each of the data sets that it is made of, for its task, as one."""
    scored = [(part, score(select_part(dataset, part), part.task)) for part in dataset.parts]
    return unite_scores([DatasetScores(part.name, part.task, found) for part, found in scored])


def unite_scores(datasets: Sequence[DatasetScores]) -> TaskScores:
    """The scores on several data sets as one; the speed is the mean by images."""
    scores = [one.scores for one in datasets]
    images = sum(one.images for one in scores)
    skipped = tuple(reason for one in scores for reason in one.skipped)
    speeds = [np.array(one.speed) * one.images for one in scores if one.speed is not None]
    speed = Speed(*(np.sum(speeds, axis=0) / max(images, 1)).tolist()) if speeds else None
    return TaskScores(None, (), images, skipped, speed, datasets=tuple(datasets))


def score_label_heads(graph: Graph, dataset: Dataset, rows: Doubles) -> tuple[LabelScores, ...]:
    """The scores of each head that classifies images; `rows` [N, 1 + K] are the index of an image and the
    probabilities of its classes. In a class tree the leaves alone are ranked, as in C Darknet
    (validate_classifier_single): the others count as 0."""
    if rows.shape[1] == 1:
        return ()
    truth, scores = label_truth(dataset)[rows[:, 0].astype(np.int64)], rows[:, 1:].copy()
    unknown = sorted(set(range(scores.shape[1])) - set(dataset.known)) if dataset.annotated else []
    truth[:, unknown], scores[:, unknown] = np.nan, 0
    found, first = [], 0
    for node in graph.label_heads:
        part = slice(first, first + node.shape.size)
        names = tuple(dataset.names[part])
        ranked = np.where(leaf_flags(node, dataset.leaves, path=dataset.origin), scores[:, part], 0)
        kind = node.section.label_kind
        found.append(score_labels(truth[:, part], ranked, kind=kind, names=names, top=dataset.top))
        first = part.stop
    return tuple(found)


def label_documents(labels: Sequence[LabelScores]) -> dict[str, Any]:
    """The scores as entries of a JSON object: `classification` and `multilabel`, a list where there are
    several of a kind."""
    found: dict[str, Any] = {}
    for kind, key in JSON_KEYS.items():
        documents = [labels_to_dict(one) for one in labels if one.kind == kind]
        if documents:
            found[key] = documents if len(documents) > 1 else documents[0]
    return found


def scores_document(scores: TaskScores, ground: GroundTruth) -> dict[str, Any]:
    """The scores as a JSON object; without boxes it has none of their entries."""
    speed = None if scores.speed is None else scores.speed._asdict()
    plain = {"images": scores.images, "speed_ms": speed, "skipped": list(scores.skipped)}
    boxes = scores_to_dict(scores.boxes, ground) if scores.boxes else plain
    vectors = {"embedding": embeddings_to_dict(scores.embedding)} if scores.embedding else {}
    return {**boxes, **label_documents(scores.labels), **vectors}
