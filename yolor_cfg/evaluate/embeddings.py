"""How well embeddings tell objects apart: re-identification's figures, on arrays alone.

The vector of an object is that of the predicted box that overlaps it most, whatever its score. Objects of one
image are never compared. Legend: O objects, E numbers of a vector, B predicted boxes, P pairs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Integers
from yolor_cfg.evaluate.ground_truth import Doubles

RANKS = (1, 5)
FALSE_ACCEPT_RATES = tuple(10.0**-power for power in range(1, 7))
MOST_OBJECTS = 5000
"""Of more objects so many are compared, evenly spread: their pairs fill the memory."""
NO_VECTORS = np.zeros((0, 2))
IMAGE, IDENTITY, VECTOR = 0, 1, 2
"""The columns of the rows [O, 2 + E]: index of the image, identity, and from there on the vector."""


class EmbeddingScores(NamedTuple):
    """Of `objects` with `identities` identities: the shares of objects whose most similar one, or one of
    whose five most similar, has the same identity; the mean average precision of all others ordered by
    similarity; and, of all pairs, the share of equal identities that is accepted where so large a share of
    different ones is. NaN where there is nothing to compare."""

    objects: int
    identities: int
    rank1: float
    rank5: float
    map: float
    accepted: tuple[float, ...]

    @property
    def ranking(self) -> float:
        """What the best network is chosen by."""
        return 0.0 if math.isnan(self.map) else self.map


def score_embeddings(rows: Doubles) -> EmbeddingScores:
    """The scores of rows [O, 2 + E], vectors of unit length."""
    if len(rows) > MOST_OBJECTS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_OBJECTS).astype(np.int64)]
    images, who = rows[:, IMAGE].astype(np.int64), rows[:, IDENTITY].astype(np.int64)
    vectors = rows[:, VECTOR:].astype(np.float32)
    likeness = vectors @ vectors.T
    same, apart = who[:, None] == who, images[:, None] != images
    queries = [_score_query(likeness[i][apart[i]], same[i][apart[i]]) for i in range(len(rows))]
    found = np.array([one for one in queries if one is not None]).reshape(-1, 1 + len(RANKS))
    rank1, rank5, mean = found.mean(axis=0).tolist() if len(found) else (math.nan,) * 3
    pairs = np.triu(apart, 1)
    accepted = accept_rates(likeness[pairs], same[pairs])
    return EmbeddingScores(len(rows), len(np.unique(who)), rank1, rank5, mean, accepted)


def _score_query(likeness: NDArray[np.float32], same: NDArray[np.bool_]) -> tuple[float, ...] | None:
    """Whether the identity is among the first ones, for each of RANKS, and the average precision; None if no
    other object has it."""
    if not same.any():
        return None
    order = np.argsort(-likeness, kind="stable")
    hits = same[order]
    return *(float(hits[:rank].any()) for rank in RANKS), average_precision(likeness[order], hits)


def average_precision(ordered: NDArray[np.float32], hits: NDArray[np.bool_]) -> float:
    """The area under the steps of precision by recall of scores in descending order; equal scores count at
    once."""
    right = np.cumsum(hits)
    last = np.append(ordered[1:] != ordered[:-1], True)
    precision = right[last] / (np.flatnonzero(last) + 1)
    return float((precision * np.diff(right[last], prepend=0)).sum() / right[-1])


def accept_rates(likeness: NDArray[np.float32], same: NDArray[np.bool_]) -> tuple[float, ...]:
    """The share of pairs [P] of one identity that is accepted at each of FALSE_ACCEPT_RATES, by linear
    interpolation of the ROC curve, as in JDE's test; where the curve is vertical, its top."""
    positives, negatives = int(same.sum()), int((~same).sum())
    if not positives or not negatives:
        return (math.nan,) * len(FALSE_ACCEPT_RATES)
    order = np.argsort(-likeness, kind="stable")
    ordered, hits = likeness[order], same[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    right, wrong = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    top = np.append(wrong[1:] != wrong[:-1], True)
    false, true = wrong[top] / negatives, right[top] / positives
    if false[0] > 0:
        false, true = np.append(0.0, false), np.append(0.0, true)
    return tuple(np.interp(FALSE_ACCEPT_RATES, false, true).tolist())


def embeddings_to_dict(scores: EmbeddingScores) -> dict[str, Any]:
    """The scores as a JSON object."""
    names = [f"1e-{power}" for power in range(1, 1 + len(FALSE_ACCEPT_RATES))]
    return {
        "objects": scores.objects,
        "identities": scores.identities,
        "rank1": _finite(scores.rank1),
        "rank5": _finite(scores.rank5),
        "mAP": _finite(scores.map),
        "tar_at_far": dict(zip(names, map(_finite, scores.accepted), strict=True)),
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def nearest_boxes(truth_xywh: NDArray[Any], boxes_xywh: NDArray[Any]) -> Integers:
    """Of the predicted boxes [B, 4] the numbers of those that overlap the objects [O, 4] most, the first of
    several."""
    return find_nearest(truth_xywh, boxes_xywh)[0]


def find_nearest(truth_xywh: NDArray[Any], boxes_xywh: NDArray[Any]) -> tuple[Integers, Doubles]:
    """Like `nearest_boxes`, with the IoU of each [O]."""
    with np.errstate(invalid="ignore"):  # boxes of an untrained network may be infinite
        overlap = _overlap(truth_xywh[:, None], boxes_xywh[None])
    return overlap.argmax(axis=1), overlap.max(axis=1)


def _overlap(truth_xywh: NDArray[Any], boxes_xywh: NDArray[Any]) -> Doubles:
    (low, high), (low2, high2) = _corners(truth_xywh), _corners(boxes_xywh)
    shared = (np.minimum(high, high2) - np.maximum(low, low2)).clip(0).prod(axis=-1)  # [O, B]
    whole = (high - low).prod(axis=-1) + (high2 - low2).prod(axis=-1) - shared
    sized = (whole > 0) & np.isfinite(whole)
    overlap: Doubles = np.divide(shared, whole, out=np.zeros_like(shared), where=sized)
    return overlap


def _corners(boxes_xywh: NDArray[Any]) -> tuple[Doubles, Doubles]:
    centre, half = boxes_xywh[..., :2].astype(np.float64), boxes_xywh[..., 2:].astype(np.float64) / 2
    return centre - half, centre + half
