"""How alike what layers and anchors learned is: cosines between implicit vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from yolor_cfg.analysis.implicit import HeadRefinement, LearnedValue
from yolor_cfg.evaluate.ground_truth import Doubles


class Similarity(NamedTuple):
    """The cosine of two things' values, and of how far they went from their starts; NaN where one is 0."""

    a: str
    b: str
    cosine: float
    of_change: float


def cosine_similarity(a: Doubles, b: Doubles) -> float:
    """The cosine of two vectors over the numbers that both have; NaN where one is 0."""
    both = ~(np.isnan(a) | np.isnan(b))
    lengths = np.linalg.norm(a[both]) * np.linalg.norm(b[both])
    return float(a[both] @ b[both] / lengths) if lengths > 0 else math.nan


def layer_similarities(layers: Sequence[LearnedValue]) -> list[Similarity]:
    """Every two values of one kind and equal length."""
    pairs = [
        (a, b) for a, b in combinations(layers, 2) if a.kind == b.kind and a.values.shape == b.values.shape
    ]
    return [
        Similarity(
            f"#{a.index}",
            f"#{b.index}",
            cosine_similarity(a.values.ravel(), b.values.ravel()),
            cosine_similarity(a.values.ravel() - a.start, b.values.ravel() - b.start),
        )
        for a, b in pairs
    ]


def anchor_similarities(refinements: Sequence[HeadRefinement]) -> list[Similarity]:
    """Every two anchors, also of different levels, whose values are refined in the same way."""
    rows = [
        (one, anchor.number, row)
        for one in refinements
        for anchor, row in zip(one.anchors, one.table, strict=True)
    ]
    pairs = [(a, b) for a, b in combinations(rows, 2) if a[0].type == b[0].type and len(a[2]) == len(b[2])]
    return [
        Similarity(
            f"{a.level}/{i}",
            f"{b.level}/{j}",
            cosine_similarity(x, y),
            cosine_similarity(x - a.start, y - b.start),
        )
        for (a, i, x), (b, j, y) in pairs
    ]
