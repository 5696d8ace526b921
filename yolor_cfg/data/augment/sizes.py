"""C Darknet's `random`: a new input size every ten batches."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from yolor_cfg.images.types import Size

USUAL_FACTOR = 1.4
SPELL, LAST = 10, 100
DRAWS = 0x512E
"""Separates these random numbers from those of the items and of their order."""


class RandomSizes(NamedTuple):
    """The input sizes of a training run around `size`: up to `factor` larger or smaller, in steps of `step`.

    The first ten batches, and each ten that begin among the last `LAST` of `batches`, have the largest size,
    so that a lack of memory shows at once. A batch here is one update of `subdivisions` mini-batches.
    """

    size: Size
    factor: float = USUAL_FACTOR
    step: int = 32
    batches: int = 0
    subdivisions: int = 1
    seed: int = 0

    def input_size(self, number: int) -> Size:
        """Height and width of mini-batch `number`, counted from the start of training; they depend only on
        the seed and the number."""
        spell = number // self.subdivisions // SPELL
        return self.draw_size(np.random.default_rng([DRAWS, self.seed, spell]), batch=spell * SPELL)

    def draw_size(self, rng: np.random.Generator, *, batch: int) -> Size:
        """A size for the ten batches from `batch` on."""
        gain = rng.uniform(min(1.0, self.factor), max(1.0, self.factor))
        gain = float(gain if rng.integers(2) else 1 / gain)
        if batch == 0 or (self.batches and batch > self.batches - LAST):
            gain = self.factor
        height, width = (max(self._scale_side(side, gain), self.step) for side in self.size)
        grows = height > self.size[0] or width > self.size[1]
        return self.size if gain < 1 and grows else (height, width)

    def _scale_side(self, side: int, gain: float) -> int:
        """The nearest multiple of the step, plus one step."""
        return math.floor(gain * side / self.step + 1 + 0.5) * self.step
