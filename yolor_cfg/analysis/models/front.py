"""The Pareto front: the networks than which no other is both cheaper and better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from yolor_cfg.analysis.models.types import Model


class Tradeoff(NamedTuple):
    """What a network costs, of which less is better, and what it reaches, of which more is."""

    cost: float
    gain: float

    def dominates(self, other: Tradeoff) -> bool:
        """Whether it is no worse in both and better in one."""
        return self.cost <= other.cost and self.gain >= other.gain and self != other


def find_dominators(points: Sequence[Tradeoff]) -> list[tuple[int, ...]]:
    """For each point those on the front that dominate it, cheapest first; none for a point of the front.
    Equal points do not dominate each other."""
    ranked = sorted(range(len(points)), key=lambda i: (points[i].cost, -points[i].gain))
    front: list[int] = []
    for i in ranked:
        if not front or points[i].gain > points[front[-1]].gain or points[i] == points[front[-1]]:
            front.append(i)
    return [tuple(j for j in front if points[j].dominates(point)) for point in points]


def rank_models(models: Sequence[Model], x: str, y: str) -> Mapping[int, tuple[int, ...]]:
    """By the index of each model that has both figures the indices of those that dominate it. Scores on
    different data are ranked apart."""
    found: dict[int, tuple[int, ...]] = {}
    for key in group_keys(models, y):
        members = [i for i, one in enumerate(models) if one.score and one.score.key == key]
        pairs = [(i, models[i].figure(x), models[i].figure(y)) for i in members]
        known = [
            (i, Tradeoff(cost, gain)) for i, cost, gain in pairs if cost is not None and gain is not None
        ]
        dominators = find_dominators([point for _, point in known])
        for (i, _), above in zip(known, dominators, strict=True):
            found[i] = tuple(known[j][0] for j in above)
    return found


def group_keys(models: Sequence[Model], y: str) -> list[tuple[str, ...]]:
    """The data that the scores are from, in the order of the models."""
    scored = (one.score for one in models if one.figure(y) is not None)
    return list(dict.fromkeys(score.key for score in scored if score is not None))


def name_data(models: Sequence[Model]) -> dict[tuple[str, ...], str]:
    """The name of each data set that scores are from; of those with the same one the paths too."""
    found = {one.score.key: one.score.data for one in models if one.score}
    counts = Counter(found.values())
    return {
        key: name if counts[name] == 1 else f"{name} ({', '.join(key[:-1])})" for key, name in found.items()
    }
