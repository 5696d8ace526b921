"""The tree of classes of YOLO9000: its probabilities. K classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.ops.losses import SoftmaxLayer, grouped_softmax


class ClassTree(NamedTuple):
    """A tree of K classes: `runs` are the lengths of its softmax groups; `levels` are the classes below the
    roots, level by level from the top, each as (classes, their parents)."""

    runs: tuple[int, ...]
    levels: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @staticmethod
    def from_parents(parents: tuple[int, ...], runs: tuple[int, ...]) -> ClassTree:
        """Build from each class's parent (-1: none; parents come first) and the softmax group lengths."""
        depths: list[int] = []
        for parent in parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        levels: list[list[int]] = [[] for _ in range(max(depths) + 1)]
        for k, depth in enumerate(depths):
            levels[depth].append(k)
        below = (tuple(level) for level in levels[1:])
        return ClassTree(runs, tuple((level, tuple(parents[k] for k in level)) for level in below))

    def conditional_probabilities(self, logits: Tensor) -> Tensor:
        """The probability of each class [..., K] given its parent."""
        return grouped_softmax(logits, self.runs)

    def absolute_probabilities(self, conditional: Tensor) -> Tensor:
        """Each probability [..., K] times those of all its ancestors."""
        product = conditional
        for classes, parents in self.levels:
            below = torch.tensor(classes, device=product.device)
            above = torch.tensor(parents, device=product.device)
            product = product.index_copy(-1, below, product[..., below] * product[..., above])
        return product


class TreeSoftmax(SoftmaxLayer):
    """The probability of each class of a tree, given its parent; as a label, with those of its ancestors."""

    def __init__(self, tree: ClassTree, temperature: float) -> None:
        super().__init__(tree.runs, temperature)
        self.tree = tree

    def label_scores(self, raw: Tensor) -> Tensor:
        """[N, n, 1, 1] -> the probabilities [N, n]."""
        return self.tree.absolute_probabilities(super().label_scores(raw))


def keep_deepest_class(absolute: Tensor) -> Tensor:
    """[..., K] with only the last class above 0.5: C Darknet reports one, and parents come first."""
    likely = absolute > 0.5
    from_here_on = likely.flip(-1).cumsum(-1).flip(-1)
    return absolute * (likely & (from_here_on == 1))
