"""Weights of the kinds of loss of a training: fixed factors, or learned ones (Kendall et al., arXiv
1705.07115).

A learned weight is the logarithm s of an uncertainty: a loss L, a sum over N images, counts as
exp(-s) L + N s. That is twice the paper's form for regression, exp(-s) L / 2 + s / 2, and its form for
classification up to a factor on s. s starts at 0, where losses are as with fixed weights, and is at its best
at log(L / N): there all kinds pull alike, by the gradient of the sum of log L.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from yolor_cfg.errors import CfgError
from yolor_cfg.train.losses.base import HeadLoss

TERMS = "loss_terms"
"""The name of the learned weights in a network that is trained."""
LEARNED = "learned"
KINDS = ("boxes", "labels", "identities")


class LossTerms(nn.Module):
    """The learned weights s [T] of kinds of loss, by name: `boxes`, or `TASK.boxes`."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.s = nn.Parameter(torch.zeros(len(self.names)))

    def weigh(self, name: str, loss: Tensor, images: int) -> Tensor:
        """A loss that is a sum over so many images, weighted."""
        s = self.s[self.names.index(name)].to(loss)
        return (-s).exp() * loss + images * s

    @staticmethod
    def values_of(network: nn.Module) -> dict[str, float]:
        """Each s that a network in training has, by the column of its results."""
        terms = getattr(network, TERMS, None)
        if not isinstance(terms, LossTerms):
            return {}
        return {f"s({name})": value for name, value in zip(terms.names, terms.s.tolist(), strict=True)}


def term_name(kind: str, task: str) -> str:
    """The name of the weight of a kind of loss."""
    return f"{task}.{kind}" if task else kind


def split_kinds(loss: HeadLoss) -> dict[str, Tensor]:
    """The loss of a head by its kinds, those that it has."""
    if loss.labels is not None:
        return {"labels": loss.labels}
    boxes = {"boxes": loss.box + loss.objectness + loss.classes}
    return boxes if loss.identity is None else {**boxes, "identities": loss.identity}


def scale_loss(loss: HeadLoss, factors: Mapping[str, float], task: str) -> HeadLoss:
    """The loss of a head, each kind times its factor."""
    boxes, labels, identities = (factors.get(term_name(kind, task), 1.0) for kind in KINDS)
    return loss._replace(
        box=loss.box * boxes,
        objectness=loss.objectness * boxes,
        classes=loss.classes * boxes,
        labels=None if loss.labels is None else loss.labels * labels,
        identity=None if loss.identity is None else loss.identity * identities,
    )


def parse_factors(text: str | None, names: Sequence[str]) -> dict[str, float]:
    """The fixed factors of `--loss-weights`: `boxes=2,labels=0.5`; raises CfgError for anything else."""
    if text is None or text == LEARNED:
        return {}
    found: dict[str, float] = {}
    for entry in text.split(","):
        name, _, number = entry.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if name.strip() not in names or not 0 <= value < float("inf"):
            raise CfgError(
                "not a weight of a loss",
                found=f"--loss-weights {text}",
                allowed=f"{LEARNED}, or {','.join(f'{one}=NUMBER' for one in names)}",
            )
        found[name.strip()] = value
    return found
