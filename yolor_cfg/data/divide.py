"""Divides images into splits: each class in each split by its share, similar images in one of them.

Legend: N images, G groups, K classes, S splits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolor_cfg.data.types import Integers, Sample

Shares = Sequence[float]
Table = NDArray[np.float64]


def divide(
    samples: Sequence[Sample], groups: Integers, shares: Shares, *, seed: int, classes: int
) -> Integers:
    """The number of the split [N] of each image; `shares` are those of the splits, 1 together.

    Groups are dealt out class by class, the rarest first, each to the split that lacks most of that class
    (Sechidis et al., On the Stratification of Multi-Label Data, 2011); then groups move until the splits
    have their number of images, as far as groups allow it.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    counts = _class_counts(samples, group_of, classes)  # [G, K + 1], images with each class; last: all images
    wanted = np.outer(shares, counts.sum(axis=0))  # [S, K + 1]
    wanted[:, -1] = split_sizes(len(samples), shares)
    order = np.random.default_rng(seed).permutation(len(counts))
    split_of = _deal(counts, wanted, order)
    _even_out(split_of, counts, wanted=wanted, order=order)
    return split_of[group_of]


def split_sizes(count: int, shares: Shares) -> Integers:
    """The numbers of images of the splits; every split has one at least, if there are enough."""
    sizes = np.array([max(1, round(count * share)) if share else 0 for share in shares[1:]], np.int64)
    return np.concatenate([[count - sizes.sum()], sizes])


def _class_counts(samples: Sequence[Sample], group_of: Integers, classes: int) -> Table:
    counts = np.zeros((int(group_of.max(initial=-1)) + 1, classes + 1))
    for sample, group in zip(samples, group_of.tolist(), strict=True):
        counts[group, sample.image_classes] += 1
        counts[group, -1] += 1
    return counts


def _deal(counts: Table, wanted: Table, order: Integers) -> Integers:
    """The split [G] of each group, in the given order within a class."""
    missing = wanted.copy()
    split_of = np.full(len(counts), -1)
    rarest = np.argsort(counts[:, :-1].sum(axis=0), kind="stable")
    for label in [*rarest.tolist(), -1]:
        members = order[(counts[order, label] > 0) & (split_of[order] < 0)]
        # Large groups first: they are the hardest to fit.
        for group in members[np.argsort(-counts[members, -1], kind="stable")].tolist():
            lack = missing[:, label]
            open_ones = np.flatnonzero(missing[:, -1] >= counts[group, -1] - 0.5)
            among = open_ones if len(open_ones) else np.arange(len(missing))
            chosen = int(among[np.lexsort((-missing[among, -1], -lack[among].round(9)))[0]])
            split_of[group] = chosen
            missing[chosen] -= counts[group]
    return split_of


def _even_out(split_of: Integers, counts: Table, *, wanted: Table, order: Integers) -> None:
    """Move groups from splits with too many images to those with too few, at the least cost in classes."""
    while True:
        have = np.stack([counts[split_of == split].sum(axis=0) for split in range(len(wanted))])
        surplus = have[:, -1] - wanted[:, -1]
        giver, taker = int(surplus.argmax()), int(surplus.argmin())
        room = min(surplus[giver], -surplus[taker])
        movable = order[(split_of[order] == giver) & (counts[order, -1] <= room)]
        if room < 1 or not len(movable):
            return
        before = have[[giver, taker], :-1] - wanted[[giver, taker], :-1]
        moved = counts[movable, :-1]
        cost = np.abs(before[0] - moved).sum(axis=1) + np.abs(before[1] + moved).sum(axis=1)
        split_of[movable[cost.argmin()]] = taker
