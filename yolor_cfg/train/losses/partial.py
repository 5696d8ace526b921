"""What is known of images whose data set does not label all classes.

Nobody knows whether an object of an unlabelled class is in such an image. So two things are not taught: that
a labelled object has none of these classes besides; and that there is nothing where the network itself finds
an object of such a class. docs/data.md has the comparison of the ways to do it.

Legend: M matches, K classes, `...` cells and anchors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class CellScores(NamedTuple):
    """The probabilities of an object [...], of its best unlabelled class and of its best class, given one."""

    objectness: Tensor
    unlabeled: Tensor
    best: Tensor

    @property
    def joint(self) -> Tensor:
        """The probability of an object of the best unlabelled class."""
        return self.objectness * self.unlabeled


CellRule = Callable[[CellScores, float], Tensor]


class UnlabeledRules(NamedTuple):
    """How unlabelled classes are spared: `cells` is the rule by which a cell without a label is not taught to
    be background (a key of `CELL_RULES`), `threshold` its number. `classes` says when a labelled object is
    taught that it has none of them: never ("mask"), always ("teach"), or unless the network gives such a
    class at least the probability `likely` ("spare")."""

    cells: str = "ignore"
    threshold: float = 0.05
    classes: str = "spare"
    likely: float = 0.25


class Labeling(NamedTuple):
    """The classes that the data set of some images labels, [K] bool, and how the others are spared."""

    known: Tensor
    rules: UnlabeledRules

    @torch.no_grad()
    def class_mask(self, own: Tensor, scores: Tensor, classes: Tensor | None = None) -> Tensor:
        """Which classes an object teaches [M, K] bool; `own` [M, K]: those that it has, labelled or not, and
        `scores` [M, K] what the network says. With `classes` [R] that of these alone, and both are [R]."""
        if self.rules.classes == "teach":
            return torch.ones_like(own)
        known = self.known if classes is None else self.known[classes]
        unlikely = scores < self.rules.likely if self.rules.classes == "spare" else torch.zeros_like(own)
        return known | own | unlikely

    def mask_logits(self, logits: Tensor, own: Tensor) -> Tensor:
        """The logits [M, K] before a softmax, by which an object has one class: a label says of all others
        that they are not there, so that only "mask" leaves out those that are not labelled."""
        if self.rules.classes != "mask":
            return logits
        return logits.masked_fill(~(self.known | own), torch.finfo(logits.dtype).min)

    @torch.no_grad()
    def cell_weights(self, objectness: Tensor, scores: Tensor) -> Tensor:
        """How much cells without a label are taught to be background [...], from 0 to 1, by their own
        probabilities of an object [...] and of its classes [..., K]."""
        unlabeled = scores.masked_fill(self.known, 0).amax(-1)
        cells = CellScores(objectness, unlabeled, scores.amax(-1))
        return CELL_RULES[self.rules.cells](cells, self.rules.threshold)


def _teach_all(cells: CellScores, threshold: float) -> Tensor:
    return torch.ones_like(cells.objectness)


def _ignore_found(cells: CellScores, threshold: float) -> Tensor:
    """0 where the best class is unlabelled and its score, objectness times class, is above the threshold."""
    found = (cells.unlabeled >= cells.best) & (cells.joint > threshold)
    return (~found).to(cells.objectness)


def _weigh_classes(cells: CellScores, threshold: float) -> Tensor:
    """1 less the probability of the best unlabelled class, given an object."""
    return 1 - cells.unlabeled


def _weigh_scores(cells: CellScores, threshold: float) -> Tensor:
    """1 less the score, objectness times class, of the best unlabelled class."""
    return 1 - cells.joint


CELL_RULES: Mapping[str, CellRule] = {
    "none": _teach_all,
    "ignore": _ignore_found,
    "weigh": _weigh_classes,
    "weigh_scores": _weigh_scores,
}
UNLABELED: Mapping[str, UnlabeledRules | None] = {
    "spare": UnlabeledRules(),
    "mask": UnlabeledRules(classes="mask"),
    "negative": None,
}
"""What `--unlabeled` may be."""
