"""The loss of YOLOR's heads, some of which have embeddings: [jde] with `embedding`, our own form.

A cell learns the identity of the object that one of its anchors is matched with by YOLOR's rule; a cell that
several identities claim learns none. Legend: N images, E numbers of a vector, H W cells, M cells that learn
an identity, I identities.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from yolor_cfg.ops.heads import YoloHead
from yolor_cfg.train.losses import yolor
from yolor_cfg.train.losses.base import HeadKeys, HeadLoss, HeadOutput, LossInputs
from yolor_cfg.train.losses.jde import classify

FAR = 4.0
"""More than the squared distance of two unit vectors."""


class EmbeddingKeys(HeadKeys, Protocol):
    """A head with embeddings, which says how they learn."""

    @property
    def id_loss(self) -> str: ...
    @property
    def margin(self) -> float: ...


EmbeddingOutput = HeadOutput[EmbeddingKeys, YoloHead]
EmbeddingInputs = LossInputs[EmbeddingKeys, YoloHead]


class KnownCells(NamedTuple):
    """The vectors [M, E], of any length, of the cells of a head that learn an identity [M]."""

    vectors: Tensor
    identities: Tensor


def losses(inputs: EmbeddingInputs) -> list[HeadLoss]:
    """The loss of each head; that of identities is a mean over the cells of all processes, triplets are of
    one process."""
    plain = [head._replace(raw=head.layer.box_map(head.raw)) for head in inputs.heads]
    inside = inputs._replace(heads=tuple(plain))
    found = yolor.losses(inside)
    if all(head.learner is None for head in inputs.heads):
        return found
    matched = inputs.rules.all_reduce(inputs.targets.new_tensor([float(one.matches) for one in found]))
    cells = [find_cells(head, own, inside) for head, own in zip(inputs.heads, plain, strict=True)]
    counts = torch.tensor([float(len(one.identities)) for one in cells], device=inputs.targets.device)
    counts = inputs.rules.all_reduce(counts)
    return [
        loss
        if head.learner is None
        else _add_identity(head, loss, cells, place=place, inputs=inputs, counts=(matched, counts))
        for place, (head, loss) in enumerate(zip(inputs.heads, found, strict=True))
    ]


def _add_identity(
    head: EmbeddingOutput,
    loss: HeadLoss,
    cells: list[KnownCells],
    *,
    place: int,
    inputs: EmbeddingInputs,
    counts: tuple[Tensor, Tensor],
) -> HeadLoss:
    """The loss with that of identities, all parts weighted; a part that nothing in the batch teaches has
    neither a loss nor a weight that learns."""
    matched, known = (float(count[place]) for count in counts)
    gain = inputs.rules.identities * 3 / len(cells)
    identity = identity_loss(head, cells, place) * (gain * inputs.images / max(known, 1.0))
    assert head.learner is not None
    weights, here = head.learner.weights, len(head.raw)
    if weights is None:
        return loss._replace(identity=identity)
    classes = head.layer.box_map(head.raw).shape[-1] - 5
    return loss._replace(
        box=weights.weigh("s_r", loss.box, here) if matched else loss.box,
        objectness=weights.weigh("s_c", loss.objectness, here),
        classes=weights.weigh("s_cls", loss.classes, here) if matched and classes > 1 else loss.classes,
        identity=weights.weigh("s_id", identity, here) if known else identity,
    )


def find_cells(head: EmbeddingOutput, plain: EmbeddingOutput, inputs: EmbeddingInputs) -> KnownCells:
    """The cells of a head that learn an identity; `plain` is the head with its boxes alone."""
    nobody = inputs.targets.new_zeros(0).long()
    if head.learner is None:
        return KnownCells(head.raw.new_zeros(0, 0), nobody)
    vectors = head.layer.cell_vectors(head.raw)
    if inputs.identities is None:
        return KnownCells(vectors.permute(0, 2, 3, 1).flatten(0, 2)[nobody], nobody)
    matches = yolor.match_head(plain, inputs)
    height, width = vectors.shape[2:]
    who = inputs.identities.long()[matches.target]
    place = (matches.image * height + matches.row) * width + matches.column
    known = who >= 0
    cell, identity = _find_agreement(place[known], who[known])
    return KnownCells(vectors.permute(0, 2, 3, 1).flatten(0, 2)[cell], identity)


def _find_agreement(cells: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """The cells, ascending, of which all claims [C] name one identity, and that identity."""
    pairs = torch.stack([cells, identities], dim=1).unique(dim=0)
    _, where, count = pairs[:, 0].unique(return_inverse=True, return_counts=True)
    alone = count[where] == 1
    return pairs[alone, 0], pairs[alone, 1]


def identity_loss(head: EmbeddingOutput, cells: list[KnownCells], place: int) -> Tensor:
    """The sum over the cells of the head at this place."""
    mine, kind = cells[place], head.section.id_loss
    total = head.raw.new_zeros(())
    classifier = None if head.learner is None else head.learner.classifier
    if kind != "triplet" and classifier is not None:
        total = total + F.cross_entropy(classify(mine.vectors, classifier), mine.identities, reduction="sum")
    if kind != "ce":
        total = total + triplet_loss(mine, _join(cells), head.section.margin)
    return total


def _join(cells: list[KnownCells]) -> KnownCells:
    """The cells of all heads whose vectors are as long."""
    filled = [one for one in cells if len(one.identities)]
    if not filled:
        return cells[0]
    return KnownCells(*(torch.cat(parts) for parts in zip(*filled, strict=True)))


def triplet_loss(mine: KnownCells, others: KnownCells, margin: float) -> Tensor:
    """The sum over cells of how much, plus `margin`, the farthest vector of the same identity is farther than
    the nearest of another (arXiv 1703.07737): distances of unit vectors; 0 where there is no such pair."""
    if not len(mine.identities):
        return mine.vectors.sum()
    likeness = F.normalize(mine.vectors) @ F.normalize(others.vectors).T
    squared = (2 - 2 * likeness).clamp(min=0)
    same = mine.identities[:, None] == others.identities
    far = torch.where(same, squared, -1.0).amax(dim=1)
    near = torch.where(same, 2 * FAR, squared).amin(dim=1)
    has_other = near <= FAR
    step = _root(far[has_other]) - _root(near[has_other]) + margin
    return step.clamp(min=0).sum()


def _root(squared: Tensor) -> Tensor:
    """The root, whose gradient is finite at 0."""
    return (squared + 1e-12).sqrt()
