"""The statistics of the experiments: intervals and tests of differences between runs of one seed, Holm's
correction for several tests, equivalence within a margin (TOST), and a permutation test of variance
explained by roles.

Student's t is computed from the incomplete beta function by its continued fraction (Abramowitz and Stegun
26.5.8), to about 1e-14.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TINY, TERMS, NEAR = 1e-300, 500, 1e-15
LEVEL = 0.05
MISSED = 0.2
"""Of experiments where a claim holds, the share that may fail to show it."""


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), the regularized incomplete beta function."""
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction by Lentz's method."""
    c, d = 1.0, _invert(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = _invert(1 + term * d)
            c = 1 + term / c if abs(1 + term / c) > TINY else TINY
            value *= c * d
        if abs(c * d - 1) < NEAR:
            break
    return value


def _invert(value: float) -> float:
    return 1 / value if abs(value) > TINY else 1 / TINY


def t_tail(t: float, degrees: int) -> float:
    """The probability that Student's t exceeds this value."""
    half = 0.5 * incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))
    return half if t >= 0 else 1 - half


def t_point(tail: float, degrees: int) -> float:
    """The value that Student's t exceeds with this probability (below one half), by bisection."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return high


class PairedDifference(NamedTuple):
    """The mean of n paired differences, its standard error, and the bounds of its 95 % interval."""

    mean: float
    error: float
    low: float
    high: float
    n: int

    @property
    def p(self) -> float:
        """Two-sided, that the mean is 0."""
        if self.error == 0:
            return float(self.mean == 0)
        return 2 * t_tail(abs(self.mean) / self.error, self.n - 1)

    def equivalence_p(self, margin: float) -> float:
        """TOST: the larger p of the two one-sided tests that the mean is beyond -margin or margin."""
        if self.error == 0:
            return float(abs(self.mean) >= margin)
        below = t_tail((self.mean + margin) / self.error, self.n - 1)
        above = t_tail((margin - self.mean) / self.error, self.n - 1)
        return max(below, above)


def paired_difference(ours: Sequence[float], base: Sequence[float]) -> PairedDifference:
    """Of pairs of runs, in the same order; at least two."""
    each = [a - b for a, b in zip(ours, base, strict=True)]
    mean, n = statistics.fmean(each), len(each)
    error = statistics.stdev(each) / math.sqrt(n)
    reach = t_point(LEVEL / 2, n - 1) * error
    return PairedDifference(mean, error, mean - reach, mean + reach, n)


def seeds_for_equivalence(difference: PairedDifference, margin: float, *, tests: int = 1) -> int:
    """How many pairs TOST needs, at the strictest of Holm's levels for so many tests, to show equivalence in
    four of five experiments, if there is no difference and pairs spread as these do."""
    spread = difference.error * math.sqrt(difference.n)

    def reach(n: int) -> float:
        return (t_point(LEVEL / tests, n - 1) + t_point(MISSED / 2, n - 1)) * spread / math.sqrt(n)

    low, high = 1, 2
    while reach(high) > margin:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(middle) <= margin else (middle, high)
    return high


def correct_holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each of a family of tests, in the same order."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted


def judge_difference(difference: PairedDifference, *, p: float, equivalence_p: float) -> str:
    """`higher` or `lower` by the adjusted p; `equivalent` by that of TOST; both may hold, or neither."""
    words = []
    if p < LEVEL:
        words.append("higher" if difference.mean > 0 else "lower")
    if equivalence_p < LEVEL:
        words.append("equivalent")
    return " but ".join(words) or "undecided"


def explained_share(values: NDArray[np.float64], roles: Sequence[int]) -> float:
    """The share of the variance of values [V] that their roles [V] explain (eta squared)."""
    return float(_explained_shares(values[None], roles)[0])


def _explained_shares(tables: NDArray[np.float64], roles: Sequence[int]) -> NDArray[np.float64]:
    """Of each row of tables [R, V]: the variance of the means of its roles, as a share of its variance."""
    centred = tables - tables.mean(axis=1, keepdims=True)
    members = np.equal.outer(np.array(roles), np.unique(roles))  # [V, roles]
    sums = centred @ members
    shares: NDArray[np.float64] = (sums**2 / members.sum(axis=0)).sum(axis=1) / (centred**2).sum(axis=1)
    return shares


def permutation_p(values: NDArray[np.float64], roles: Sequence[int], *, rounds: int, seed: int) -> float:
    """The probability of such a share, or a larger one, if the values were dealt out to the places by chance;
    the order that is there counts as one of the rounds."""
    dealt = np.random.default_rng(seed).permuted(np.tile(values, (rounds, 1)), axis=1)
    more = (_explained_shares(dealt, roles) >= explained_share(values, roles) - NEAR).sum()
    return float(more + 1) / (rounds + 1)
