"""The losses of heads that classify whole images: C Darknet's of [softmax] and [logistic].

Legend: N images, M of them with known labels, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from yolor_cfg.ops.class_tree import ClassTree
from yolor_cfg.ops.losses import LogisticLayer, SoftmaxLayer
from yolor_cfg.train.losses.base import HeadKeys, HeadLoss, HeadOutput, LossInputs, attach_gradient

SoftmaxOutput = HeadOutput[HeadKeys, SoftmaxLayer]
LogisticOutput = HeadOutput[HeadKeys, LogisticLayer]


def softmax_losses(inputs: LossInputs[HeadKeys, SoftmaxLayer]) -> list[HeadLoss]:
    """Of each head the cross entropies of its groups."""
    return [_weigh(head, softmax_loss(head), inputs.rules.labels) for head in inputs.heads]


def logistic_losses(inputs: LossInputs[HeadKeys, LogisticLayer]) -> list[HeadLoss]:
    """Of each head the binary cross entropies of its classes."""
    return [_weigh(head, logistic_loss(head), inputs.rules.labels) for head in inputs.heads]


def _weigh(head: HeadOutput[Any, Any], loss: Tensor, gain: float) -> HeadLoss:
    zero = head.raw.new_zeros(())
    return HeadLoss(zero, zero, zero, 0, loss * (gain * head.weight))


def softmax_loss(head: SoftmaxOutput) -> Tensor:
    """The sum of -t log p over images and classes. As in C (softmax_x_ent_cpu), the gradient of the input is
    p - t whatever the temperature, and however much of all classes an image has in all.

    C's own figure differs where t is neither 0 nor 1: it counts each -log p in full.
    """
    assert head.truth is not None
    logits, layer = head.raw.flatten(1), head.layer
    if sum(layer.lengths) != logits.shape[1]:
        raise head.section.error(
            "", "a softmax of several cells is not trained", allowed="one cell: [avgpool]"
        )
    known = head.truth.isfinite().all(dim=1)
    logits, wanted = logits[known], head.truth[known]  # [M, K]
    runs = (logits / layer.temperature).split(layer.lengths, dim=1)
    logs = torch.cat([run.log_softmax(1) for run in runs], dim=1)
    tree = getattr(layer, "tree", None)
    if isinstance(tree, ClassTree):
        wanted = include_ancestors(wanted, tree)
    gradient = logs.exp() - wanted
    if tree is not None:
        gradient = gradient * _has_any(wanted, layer.lengths)
    return attach_gradient(-(wanted * logs).sum(), logits, gradient)


def include_ancestors(wanted: Tensor, tree: ClassTree) -> Tensor:
    """[M, K], where a class is as present as any class below it (fill_hierarchy in data.c)."""
    for below, above in reversed(tree.levels):
        places = torch.tensor(above, device=wanted.device).expand(len(wanted), -1)
        wanted = wanted.scatter_reduce(1, places, wanted[:, list(below)], "amax")
    return wanted


def _has_any(wanted: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """[M, K]: whether any class of the group is present; C Darknet leaves the others alone."""
    runs = wanted.split(lengths, dim=1)
    return torch.cat([(run > 0).any(dim=1, keepdim=True).expand_as(run) for run in runs], dim=1)


def logistic_loss(head: LogisticOutput) -> Tensor:
    """The sum over images and those classes of which is known whether they are there (logistic_x_ent_cpu)."""
    assert head.truth is not None
    known = head.truth.isfinite()
    return F.binary_cross_entropy_with_logits(head.raw.flatten(1)[known], head.truth[known], reduction="sum")
