"""Scores of classifiers of whole images: accuracy by the best classes, average precision, F1.

Legend: N images, K classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Dataset
from yolor_cfg.evaluate.ground_truth import Doubles, Flags

USUAL_TOP = 5
THRESHOLD = 0.5
"""The probability from which on a class counts as found."""
NONE = float("nan")
PLACES = np.linspace(0, 1, 1001)
"""The recalls of a curve."""
ROUNDING = 1e-9


class LabelScores(NamedTuple):
    """The scores of one head. `kind` is "single" if each image has one class, "multi" if it may have any
    number.

    `top1` and `top` are the fractions of images whose class is the best one, or among the best `k`; NaN for
    "multi". By class [K]: `positives`, images that have it; average precision `ap`, NaN without any such
    image; `precision`, `recall` and `f1` of the best class of an image, or of those above `THRESHOLD`.
    `confusion` [K, K] counts the images of each class by the best class, for "single" alone; `envelope`
    [K, X] is the best precision at a recall of each of `PLACES` or more, NaN without any such image.
    """

    kind: str
    names: tuple[str, ...]
    images: int
    k: int
    top1: float
    top: float
    positives: Doubles
    ap: Doubles
    precision: Doubles
    recall: Doubles
    f1: Doubles
    confusion: NDArray[np.int64]
    envelope: Doubles

    @property
    def present(self) -> Flags:
        """Which classes occur."""
        return np.asarray(self.positives > 0)

    @property
    def map(self) -> float:
        """The mean of the average precisions over the classes that occur; 0 if none does."""
        return _mean(self.ap[self.present])

    @property
    def mean_f1(self) -> float:
        """The mean of F1 over the classes that occur; 0 if none does."""
        return _mean(self.f1[self.present])

    @property
    def ranking(self) -> float:
        """What the best network is chosen by."""
        return self.top1 if self.kind == "single" else self.map


def score_labels(
    truth: Doubles, scores: Doubles, *, kind: str, names: tuple[str, ...], top: int = 0
) -> LabelScores:
    """The scores of the probabilities `scores` [N, K] against `truth` [N, K]: 1, 0, or NaN where it is not
    known whether an image has a class."""
    k = min(top or USUAL_TOP, scores.shape[1])
    first, among = _top_accuracies(truth, scores, k) if kind == "single" else (NONE, NONE)
    found = _best_class(scores) if kind == "single" else scores >= THRESHOLD
    known, there = np.isfinite(truth), truth > 0
    hits = (found & there).sum(axis=0)
    precision = _ratio(hits, (found & known).sum(axis=0))
    recall = _ratio(hits, there.sum(axis=0))
    return LabelScores(
        kind,
        names,
        len(truth),
        k,
        first,
        among,
        there.sum(axis=0).astype(float),
        np.array([_average_precision(*pair) for pair in zip(truth.T, scores.T, strict=True)]),
        precision,
        recall,
        _ratio(2 * precision * recall, precision + recall),
        _count_confusions(truth, scores) if kind == "single" else np.zeros((0, 0), np.int64),
        np.array([_precision_envelope(*pair) for pair in zip(truth.T, scores.T, strict=True)]),
    )


def _top_accuracies(truth: Doubles, scores: Doubles, k: int) -> tuple[float, float]:
    """As in C Darknet (validate_classifier_single) the first class of an image counts, and an image without
    any is always wrong."""
    labeled = (truth > 0).any(axis=1)
    wanted = np.where(labeled, (truth > 0).argmax(axis=1), -1)
    right = _best_classes(scores, k) == wanted
    return _mean(right[0]), _mean(right.any(axis=0))


def _best_classes(scores: Doubles, k: int) -> NDArray[np.int64]:
    """[k, N]: the best classes of each image, as top_k in utils.c finds them: class by class, each where it
    is better than what stands there, which then looks for a place below. Of equal scores the lower class is
    the first, but one that is moved goes behind those that equal it."""
    best, values = np.full((k, len(scores)), -1), np.zeros((k, len(scores)))
    for number, score in enumerate(scores.T):
        moved, value = np.full(len(scores), number), score
        for place in range(k):
            enters = (best[place] < 0) | (value > values[place])
            best[place], moved = np.where(enters, (moved, best[place]), (best[place], moved))
            values[place], value = np.where(enters, (value, values[place]), (values[place], value))
    return best


def _best_class(scores: Doubles) -> Flags:
    return np.asarray(scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]))


def _count_confusions(truth: Doubles, scores: Doubles) -> NDArray[np.int64]:
    """[K, K]: the images of each true class, which is the first that an image has, by their best class."""
    labeled = (truth > 0).any(axis=1)
    counts = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(counts, ((truth[labeled] > 0).argmax(axis=1), scores[labeled].argmax(axis=1)), 1)
    return counts


def _average_precision(truth: Doubles, scores: Doubles) -> float:
    """The sum over the thresholds of precision times the step in recall; NaN without positives. Equal scores
    are one threshold."""
    hits, precision = _count_hits(truth, scores)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1]) if len(hits) else NONE


def _precision_envelope(truth: Doubles, scores: Doubles) -> Doubles:
    """The best precision at a recall of each of PLACES or more; NaN without positives."""
    hits, precision = _count_hits(truth, scores)
    if not len(hits):
        return np.full(len(PLACES), NONE)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return np.asarray(best[np.searchsorted(hits / hits[-1], PLACES - ROUNDING)])


def _count_hits(truth: Doubles, scores: Doubles) -> tuple[Doubles, Doubles]:
    """The positives found and the precision at each threshold, from the highest on; nothing without
    positives."""
    known = np.isfinite(truth)
    order = np.argsort(-scores[known], kind="stable")
    there, ranked = truth[known][order] > 0, scores[known][order]
    if not there.any():
        return np.zeros(0), np.zeros(0)
    last = np.append(ranked[1:] != ranked[:-1], True)
    hits = there.cumsum()[last]
    return hits, hits / (np.flatnonzero(last) + 1)


def _ratio(part: Doubles, whole: Doubles) -> Doubles:
    """0 where there is nothing to divide by."""
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=np.asarray(whole) > 0))


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def label_truth(dataset: Dataset) -> Doubles:
    """[N, K]: whether each image has each class; NaN if it has it only as a difficult object."""
    truth = np.zeros((len(dataset.samples), len(dataset.names)))
    for row, sample in zip(truth, dataset.samples, strict=True):
        row[sample.image_classes] = 1
        if sample.labels is None and sample.difficult.any():
            hard = np.setdiff1d(sample.classes[sample.difficult], sample.classes[~sample.difficult])
            row[hard] = NONE
    return truth


def labels_to_dict(scores: LabelScores) -> dict[str, Any]:
    """The scores as a JSON object: of a single class top1 and the accuracy of the best k, of several mAP
    and F1, None if no class occurs; and a row for each class."""
    whole = {"top1": scores.top1, f"top{scores.k}": scores.top} if scores.kind == "single" else {}
    known = scores.present.any()
    means = {"mAP": scores.map if known else None, "F1": scores.mean_f1 if known else None}
    return {"images": scores.images, **whole, **means, "per_class": label_rows(scores)}


def label_rows(scores: LabelScores) -> list[dict[str, Any]]:
    """For each class: id, name, images, AP (None without images), P, R, F1."""
    columns = scores.positives, scores.ap, scores.precision, scores.recall, scores.f1
    rows = zip(scores.names, *(column.tolist() for column in columns), strict=True)
    return [
        {
            "class": number,
            "name": name,
            "images": int(images),
            "AP": None if ap != ap else ap,
            "P": precision,
            "R": recall,
            "F1": f1,
        }
        for number, (name, images, ap, precision, recall, f1) in enumerate(rows)
    ]
