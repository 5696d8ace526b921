"""Which deltas of a [yolo] head are dropped: C Darknet's answer to wrong labels, and its equidistant point.

Facts from forward_yolo_layer in yolo_layer.c (745 to 853) and from train_network_waitkey in network.c: all
heads share the running numbers, each call of a head moves them, and the iteration counts the updates done.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.parallel import all_reduce, reduce_largest
from yolor_cfg.sections.net import NetSection

KEEP, ADD = 0.99, 0.01  # how running numbers move
STEP = 0.01  # how the limit of the percentage moves
LOW = 1.4  # deltas below so many times the mean are low, at the end of training
PERCENT = 100


@dataclass
class DeltaHistory:
    """Running numbers of the absolute deltas that are not 0: the largest, their mean, the deviation of the
    deltas from it, and the limit that `badlabels_rejection_percentage` has reached."""

    largest: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0
    limit: float = 0.0

    @staticmethod
    def from_values(values: object) -> DeltaHistory:
        """The inverse of `values`; raises ValueError or TypeError."""
        if not isinstance(values, list) or not all(math.isfinite(float(value)) for value in values):
            raise ValueError(f"deltas: {values!r:.100}")
        return DeltaHistory(*map(float, values))

    @property
    def values(self) -> list[float]:
        """The numbers, to be saved."""
        return list(astuple(self))


class DeltaRejection(NamedTuple):
    """The keys of [net], the numbers so far, how many updates are done, and of how many."""

    net: NetSection
    history: DeltaHistory
    updates: int
    of: int

    @property
    def start(self) -> int:
        """The update after which wrong labels are looked for."""
        return self.of * 3 // 4

    @property
    def rejects_labels(self) -> bool:
        """Whether wrong labels are looked for by now, where a key asks for it."""
        return self.start < self.updates

    @property
    def seeks_equidistant_point(self) -> bool:
        """Whether low deltas are dropped by now."""
        return 0 != self.net.equidistant_point < self.updates

    @property
    def is_active(self) -> bool:
        """Whether any key has an effect by now."""
        net = self.net
        asked = bool(net.badlabels_rejection_percentage or net.num_sigmas_reject_badlabels)
        return asked and self.rejects_labels or self.seeks_equidistant_point

    def select(self, deltas: Tensor, *, values: int) -> Tensor:
        """Which of the deltas of a head, `values` of each prediction, stay, as a mask; moves the numbers."""
        net, sizes, kept = self.net, deltas.abs(), deltas != 0
        progress = (self.updates - net.equidistant_point) / max(self.of - net.equidistant_point, 1)
        low = self.history.mean * progress * LOW  # by the mean before these deltas
        self._note_sizes(sizes[kept])
        if net.num_sigmas_reject_badlabels and self.rejects_labels:
            common = self.history.mean + self.history.deviation * net.num_sigmas_reject_badlabels
            low = min(common, self.history.mean) * progress
            most = self._falling_limit(common)
            self._note_deviation(deltas[kept])
            kept = kept & (sizes <= most)
        if net.badlabels_rejection_percentage and self.rejects_labels:
            kept = kept & self._reject_share(sizes, kept, values=values)
        return kept & (sizes >= low) if self.seeks_equidistant_point else kept

    def _note_sizes(self, sizes: Tensor) -> None:
        """Move the largest delta and the mean; sizes are those above 0."""
        history = self.history
        count, total = _totals(sizes.new_tensor(len(sizes)), sizes.sum())
        if not count:
            return
        most = reduce_largest(sizes.max() if len(sizes) else sizes.new_zeros(())).item()
        history.largest = (history.largest or most) * KEEP + most * ADD
        history.mean = history.mean * KEEP + total / count * ADD

    def _falling_limit(self, common: float) -> float:
        """From the largest delta down to `common`, the mean and some deviations, as training goes on."""
        progress = (self.updates - self.start) / max(self.start, 1)
        largest = self.history.largest
        return max(common, largest - progress * abs(largest - common))

    def _note_deviation(self, deltas: Tensor) -> None:
        """Move the deviation; the deltas have their signs, although the mean is that of their sizes."""
        off = (deltas - self.history.mean).square().sum()
        count, total = _totals(deltas.new_tensor(len(deltas)), off)
        deviation = math.sqrt(total / max(count, 1))
        self.history.deviation = self.history.deviation * KEEP + deviation * ADD

    def _reject_share(self, sizes: Tensor, kept: Tensor, *, values: int) -> Tensor:
        """The mask of those below the limit, which then moves towards the percentage."""
        history = self.history
        history.limit = history.limit or history.largest
        below = sizes <= history.limit
        count, out = _totals(kept.sum(), (kept & ~below).sum())
        if out * values / max(count, 1) * PERCENT > self.net.badlabels_rejection_percentage:
            history.limit += STEP
        elif history.limit > STEP:
            history.limit -= STEP
        return below


def read_rejection(net: NetSection, history: DeltaHistory, *, updates: int, of: int) -> DeltaRejection | None:
    """The rejection when so many of the updates are done; None as long as there is none."""
    found = DeltaRejection(net, history, updates, of)
    return found if found.is_active else None


def _totals(*numbers: Tensor) -> list[float]:
    """The sums of these numbers over all processes."""
    totals: list[float] = all_reduce(torch.stack([number.double() for number in numbers])).tolist()
    return totals
