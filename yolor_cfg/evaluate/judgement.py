"""What became of each detection and each true box of an image, and the images with the most and the fewest
errors. The pairs are those of the confusion matrix.

Legend: N images, T true boxes, D detections [D, 7] as in `ground_truth.ROW`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth
from yolor_cfg.evaluate.matching import CONFUSION_IOU, pair_boxes, touches

RIGHT, WRONG, DUPLICATE, BACKGROUND, MISSED, IGNORED = range(6)
VERDICTS = ("right", "wrong class", "duplicate", "background", "missed", "ignored")
"""Of a detection: its true box has its class; has another; has a better detection; there is none. Of a true
box: found with its class; with another; missed. Crowds, and detections on difficult objects, are ignored."""
MOST_IMAGES, MOST_BOXES = 12, 100
"""Images of a kind that are shown, and boxes of an image."""
VerdictCodes = NDArray[np.int64]


class Judgement(NamedTuple):
    """The detections above the confidence [D, 7] with the verdict of each [D], and the verdict of each true
    box [T]: numbers of VERDICTS."""

    detections: Doubles
    found: VerdictCodes
    truth: VerdictCodes


def judge_boxes(
    ground: GroundTruth, detections: Doubles, *, confidence: float, iou: float = CONFUSION_IOU
) -> Judgement:
    """The verdicts on detections with a score above the confidence, and on the true boxes."""
    shown = detections[detections[:, 5] > confidence]
    pairs, nothing = pair_boxes(ground, shown, iou=iou), len(ground.names)
    found = np.where(pairs.true == shown[:, 6], RIGHT, WRONG)
    objects = ground.select_boxes(~ground.crowd)
    second = pairs.stray & touches(objects, shown, above=iou)
    found = np.where(pairs.true == nothing, np.where(pairs.stray, BACKGROUND, IGNORED), found)
    found = np.where(second, DUPLICATE, found)
    truth = np.where(pairs.seen == ground.classes, RIGHT, np.where(pairs.seen == nothing, MISSED, WRONG))
    return Judgement(shown, found, np.where(ground.crowd, IGNORED, truth))


def count_verdicts(judged: Judgement) -> dict[str, int]:
    """How many detections have each verdict, and how many true boxes are missed."""
    counts = np.bincount(judged.found, minlength=len(VERDICTS))
    counts[MISSED] = (judged.truth == MISSED).sum()
    return dict(zip(VERDICTS, counts.tolist(), strict=True))


class Ranking(NamedTuple):
    """By image [N]: right detections, errors (detections that are not right, objects that are missed), and
    F1, NaN where there is neither an object nor a detection."""

    right: VerdictCodes
    errors: VerdictCodes
    f1: Doubles


def rank_images(ground: GroundTruth, judged: Judgement) -> Ranking:
    """The figures of each image."""
    count = len(ground.image_ids)
    images = judged.detections[:, 0].astype(np.int64)

    def tally(places: VerdictCodes, verdicts: VerdictCodes, *kinds: int) -> VerdictCodes:
        return np.bincount(places[np.isin(verdicts, kinds)], minlength=count)

    right = tally(images, judged.found, RIGHT)
    false = tally(images, judged.found, WRONG, DUPLICATE, BACKGROUND)
    missed = tally(ground.images, judged.truth, MISSED)
    unfound = missed + tally(ground.images, judged.truth, WRONG)
    whole = 2 * right + false + unfound
    f1 = np.divide(2 * right, whole, out=np.full(count, np.nan), where=whole > 0)
    return Ranking(right, false + missed, f1)


def choose_images(ranking: Ranking) -> tuple[list[int], list[int]]:
    """The images with errors that have the lowest F1, of equal ones those with the most errors first; and of
    the others those with the highest F1, of equal ones those with the most right detections first."""
    judged = np.flatnonzero(~np.isnan(ranking.f1))
    order = np.lexsort((judged, -ranking.errors[judged], ranking.f1[judged]))
    worst = [i for i in judged[order].tolist() if ranking.errors[i]][:MOST_IMAGES]
    order = np.lexsort((judged, -ranking.right[judged], -ranking.f1[judged]))
    best = [i for i in judged[order].tolist() if i not in worst][:MOST_IMAGES]
    return worst, best


def describe_judgement(
    ground: GroundTruth, detections: Doubles, *, confidence: float, skipped: Sequence[int] = ()
) -> dict[str, Any]:
    """A JSON object: confidence, IoU, the number of images, how often each verdict was given, and the worst
    and the best images with their boxes. `skipped` are the indices of unreadable images."""
    seen = ground.drop_images(skipped)
    judged = judge_boxes(seen, detections, confidence=confidence)
    ranking = rank_images(seen, judged)
    worst, best = choose_images(ranking)
    return {
        "confidence": confidence,
        "iou": CONFUSION_IOU,
        "images": len(ground.image_ids) - len(skipped),
        "faulty": int((ranking.errors > 0).sum()),
        "counts": count_verdicts(judged),
        "worst": [_describe_image(seen, judged, ranking, image=image) for image in worst],
        "best": [_describe_image(seen, judged, ranking, image=image) for image in best],
    }


def _describe_image(
    ground: GroundTruth, judged: Judgement, ranking: Ranking, *, image: int
) -> dict[str, Any]:
    true, rows = np.flatnonzero(ground.images == image), np.flatnonzero(judged.detections[:, 0] == image)
    drawn = judged.detections[rows]
    truth = _describe_boxes(ground.boxes_ltwh[true], ground.classes[true], judged.truth[true])
    found = _describe_boxes(drawn[:, 1:5], drawn[:, 6], judged.found[rows])
    scores = drawn[:, 5].round(4).tolist()
    return {
        "file": ground.files[image],
        "size": ground.sizes[image].tolist(),
        "right": int(ranking.right[image]),
        "errors": int(ranking.errors[image]),
        "truth": truth,
        "found": [{**box, "score": score} for box, score in zip(found, scores, strict=False)],
        "boxes": len(true) + len(rows),
    }


def _describe_boxes(boxes: Doubles, classes: NDArray[Any], verdicts: VerdictCodes) -> list[dict[str, Any]]:
    rows = zip(boxes.round(1).tolist(), classes.tolist(), verdicts.tolist(), strict=True)
    found = [{"box": box, "class": int(k), "verdict": VERDICTS[verdict]} for box, k, verdict in rows]
    return found[:MOST_BOXES]
