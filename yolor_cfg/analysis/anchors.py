"""How well a set of anchors fits the boxes of a data set, and the search for a better set.

Legend: B boxes, A anchors. Shapes are pairs of width and height, [B, 2] or [A, 2], in pixels of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from yolor_cfg.data.types import Sample
from yolor_cfg.images.types import Size

Shapes = NDArray[np.float64]
FitRank = tuple[float, float]

ANCHOR_T = 4.0
"""An anchor fits a box when both sides differ by less than this factor (YOLOR's anchor_t)."""
LEAST_SIDE = 2.0
"""Pixels; boxes with a shorter side are not used, since YOLOR's training drops them."""
MOST_SEARCHED = 20_000
"""Boxes that the search uses; of more than that it takes a sample."""
KMEANS_ROUNDS = 100
"""k-means stops after this many rounds even if boxes still change their cluster."""
MUTATION_CHANCE = 0.3
"""The probability that a mutation changes a given side."""
MUTATION_SPREADS = (0.002, 0.2)
"""The smallest and the largest standard deviation of a mutation of the logarithm of a side."""


class AnchorFit(NamedTuple):
    """How well anchors fit boxes: three figures from 0 to 1.

    `recall` is the best possible recall: the share of boxes that some anchor fits, which means that the
    larger of w/aw, aw/w, h/ah and ah/h is below `ANCHOR_T`. `fitness` is the mean over the boxes of the
    smallest of those four for the anchor where it is largest, 0 where no anchor fits. `mean_iou` is the mean
    over the boxes of the largest IoU with an anchor of the same centre.
    """

    recall: float
    fitness: float
    mean_iou: float


class Goal(NamedTuple):
    """What makes a set better. In Darknet every box goes to its most similar anchor, so with `uses_iou` the
    mean IoU decides; otherwise fitness does, once the recall is no lower than `recall`, the old set's."""

    uses_iou: bool
    recall: float

    def rank(self, boxes: Shapes, anchors: Shapes) -> FitRank:
        """Larger is better."""
        if self.uses_iou:
            return 0.0, float(wh_iou(boxes, anchors).max(axis=0).mean())
        recall, fitness = _recall_and_fitness(boxes, anchors)
        return min(recall, self.recall), fitness


class SearchOptions(NamedTuple):
    """The number of anchors, of k-means runs (the best is kept), and of the mutations that follow."""

    number: int
    runs: int = 10
    generations: int = 1000


def box_shapes(samples: Iterable[Sample], size: Size, *, stretched: bool) -> Shapes:
    """Shapes [B, 2] of all boxes except crowds, in an input of `size`.

    Both sides of an image are scaled alike (letterbox), or each on its own (`stretched`, as C Darknet does).
    """
    parts = [np.zeros((0, 2))]
    for sample in samples:
        original, whole = np.array(sample.size[::-1], np.float64), np.array(size[::-1], np.float64)
        inner = whole if stretched else original * (whole / original).min()
        parts.append(sample.boxes_xywh[~sample.crowd, 2:] * inner)
    return np.concatenate(parts)


def wh_iou(boxes: Shapes, anchors: Shapes) -> NDArray[np.float64]:
    """[A, B] the IoU of each anchor with each box, both at the same centre."""
    table = np.empty((len(anchors), len(boxes)))
    w, h = np.ascontiguousarray(boxes.T)
    areas = w * h
    for (aw, ah), row in zip(
        anchors, table, strict=True
    ):  # row by row: a row fits into the processor's cache
        overlap = np.minimum(w, aw) * np.minimum(h, ah)
        np.divide(overlap, areas + aw * ah - overlap, out=row)
    return table


def wh_ratios(boxes: Shapes, anchors: Shapes) -> NDArray[np.float64]:
    """[A, B] the smallest of w/aw, aw/w, h/ah and ah/h: 1 for equal shapes."""
    table = np.empty((len(anchors), len(boxes)))
    w, h = np.ascontiguousarray(boxes.T)
    for (aw, ah), row in zip(anchors, table, strict=True):
        across = np.minimum(w, aw) / np.maximum(w, aw)
        down = np.minimum(h, ah) / np.maximum(h, ah)
        np.minimum(across, down, out=row)
    return table


def measure_fit(boxes: Shapes, anchors: Shapes) -> AnchorFit:
    """All three figures of a set."""
    return AnchorFit(*_recall_and_fitness(boxes, anchors), float(wh_iou(boxes, anchors).max(axis=0).mean()))


def _recall_and_fitness(boxes: Shapes, anchors: Shapes) -> tuple[float, float]:
    best = wh_ratios(boxes, anchors).max(axis=0)
    fits = best > 1 / ANCHOR_T
    return float(fits.mean()), float((best * fits).mean())


def search_anchors(
    boxes: Shapes,
    own: Shapes,
    wanted: SearchOptions,
    *,
    goal: Goal,
    rng: Generator,
    progress: Callable[[], object] = lambda: None,
) -> Shapes:
    """The best anchors [A, 2] found, sorted by area: k-means, then evolution of its result. The old set `own`
    is evolved too if it has as many anchors, so that nothing good is lost. `progress` is called after each
    mutation."""
    seen = boxes
    if len(boxes) > MOST_SEARCHED:
        seen = boxes[rng.choice(len(boxes), MOST_SEARCHED, replace=False)]
    clusters = [kmeans(seen, wanted.number, rng=rng) for _ in range(wanted.runs)]
    starts = [max(clusters, key=lambda anchors: goal.rank(seen, anchors))]
    if len(own) == wanted.number:
        starts.append(own)
    found = [
        evolve_anchors(seen, start, generations=wanted.generations, goal=goal, rng=rng, progress=progress)
        for start in starts
    ]
    best = max(found, key=lambda anchors: goal.rank(boxes, anchors))
    return best[np.argsort(best.prod(axis=1), kind="stable")]


def kmeans(boxes: Shapes, count: int, *, rng: Generator) -> Shapes:
    """[A, 2] the mean shapes of `count` clusters of boxes, with 1 - IoU as the distance.

    Clusters start at boxes that are far apart (k-means++); a cluster that loses all its boxes stays in place.
    """
    centres = _kmeans_plus_plus(boxes, count, rng)
    before = np.full(len(boxes), -1)
    for _ in range(KMEANS_ROUNDS):
        nearest = wh_iou(boxes, centres).argmax(axis=0)
        if (nearest == before).all():
            break
        before = nearest
        sizes = np.bincount(nearest, minlength=count)[:, None]
        sums = np.stack([np.bincount(nearest, side, minlength=count) for side in boxes.T], axis=1)
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
    return centres


def _kmeans_plus_plus(boxes: Shapes, count: int, rng: Generator) -> Shapes:
    """[A, 2] boxes, each drawn with a probability proportional to its squared distance from the others."""
    chosen = [int(rng.integers(len(boxes)))]
    far = np.ones(len(boxes))
    while len(chosen) < count:
        far = np.minimum(far, 1 - wh_iou(boxes, boxes[chosen[-1:]])[0])
        chance = far**2
        even = chance.sum() <= 0  # fewer different shapes than anchors
        chosen.append(int(rng.choice(len(boxes), p=None if even else chance / chance.sum())))
    return boxes[chosen]


def evolve_anchors(
    boxes: Shapes,
    anchors: Shapes,
    *,
    generations: int,
    goal: Goal,
    rng: Generator,
    progress: Callable[[], object] = lambda: None,
) -> Shapes:
    """The anchors after `generations` mutations. Each changes some sides at random and is kept if the new set
    ranks higher."""
    rank = goal.rank(boxes, anchors)
    for _ in range(generations):
        spread = np.exp(rng.uniform(*np.log(MUTATION_SPREADS)))
        changes = rng.normal(0, spread, anchors.shape) * (rng.random(anchors.shape) < MUTATION_CHANCE)
        child = anchors * np.exp(changes)
        childs_rank = goal.rank(boxes, child)
        if childs_rank > rank:
            anchors, rank = child, childs_rank
        progress()
    return anchors
