"""How similar layers and anchors are: cosines between the implicit vectors they learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from yolor_cfg.analysis.implicit import HeadRefinement, LearnedValue
from yolor_cfg.evaluate.ground_truth import Doubles


class Similarity(NamedTuple):
    """The cosine of two vectors, and of their changes since the start; NaN if one of them is 0."""

    a: str
    b: str
    cosine: float
    of_change: float


def cosine_similarity(a: Doubles, b: Doubles) -> float:
    """The cosine of two vectors over the places where neither is NaN; NaN if one of them is 0."""
    both = ~(np.isnan(a) | np.isnan(b))
    lengths = np.linalg.norm(a[both]) * np.linalg.norm(b[both])
    return float(a[both] @ b[both] / lengths) if lengths > 0 else math.nan


def layer_similarities(layers: Sequence[LearnedValue]) -> list[Similarity]:
    """Each pair of values of the same kind and length."""
    pairs = [
        (a, b) for a, b in combinations(layers, 2) if a.kind == b.kind and a.values.shape == b.values.shape
    ]
    return [
        Similarity(
            a.title,
            b.title,
            cosine_similarity(a.values.ravel(), b.values.ravel()),
            cosine_similarity(a.values.ravel() - a.start, b.values.ravel() - b.start),
        )
        for a, b in pairs
    ]


def anchor_similarities(refinements: Sequence[HeadRefinement]) -> list[Similarity]:
    """Each pair of anchors, also of different levels, that are refined by the same kind of section."""
    rows = [
        (one, anchor.number, row)
        for one in refinements
        for anchor, row in zip(one.anchors, one.table, strict=True)
    ]
    pairs = [(a, b) for a, b in combinations(rows, 2) if a[0].type == b[0].type and len(a[2]) == len(b[2])]
    return [
        Similarity(
            f"{a.level_title}/{i}",
            f"{b.level_title}/{j}",
            cosine_similarity(x, y),
            cosine_similarity(x - a.start, y - b.start),
        )
        for (a, i, x), (b, j, y) in pairs
    ]
