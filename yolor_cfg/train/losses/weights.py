"""Learned weights of the parts of a head's loss (arXiv 1705.07115, as in Zhongdao/Towards-Realtime-MOT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

JDE_START = {"s_c": -4.15, "s_r": -4.85, "s_id": -2.3}
"""Scores, boxes, identities: models.py of JDE."""
EVEN = -0.6931471805599453
"""-ln 2: such a part counts once, as with fixed weights."""
CLASSIFIER = "classifier"
"""The name of the classifier of identities in a network that is trained, as in JDE."""
JOINT = "joint"
"""The name of the maps of features in a network that learns from a large one."""
OWN_START = {"s_c": EVEN, "s_r": EVEN, "s_cls": EVEN, "s_id": EVEN}


class PartWeights(nn.Module):
    """The logarithms s [1] of the uncertainty of each part of a loss L: it counts as (exp(-s) L + s) / 2."""

    def __init__(self, start: Mapping[str, float]) -> None:
        super().__init__()
        for name, value in start.items():
            self.register_parameter(name, nn.Parameter(torch.full((1,), value)))

    def weigh(self, name: str, loss: Tensor, images: float) -> Tensor:
        """A loss that is a sum over so many images, weighted."""
        s: Tensor = getattr(self, name).to(loss)[0]
        return ((-s).exp() * loss + images * s) / 2


def weights_name(index: int) -> str:
    """The name of the weights of head number `index` in its layer, as in JDE."""
    return f"yolo_{index}"


class HeadLearner(NamedTuple):
    """What learns beside a head with embeddings: the classifier of identities that all heads share (None
    where no identity is known), and the weights of the parts of its loss (None: they are fixed)."""

    classifier: nn.Linear | None
    weights: PartWeights | None

    @staticmethod
    def find(network: nn.Module, layer: nn.Module, index: int) -> HeadLearner:
        """What a network in training has for the head number `index`."""
        return HeadLearner(getattr(network, CLASSIFIER, None), getattr(layer, weights_name(index), None))
