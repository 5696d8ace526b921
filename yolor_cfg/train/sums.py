"""The losses of an epoch: sums over its batches and over all processes."""

from __future__ import annotations

import torch

from yolor_cfg.parallel import all_reduce
from yolor_cfg.train.loss import BatchLoss


def reduce_losses(loss: BatchLoss, *, images: int, stop: bool) -> tuple[list[float], bool]:
    """The total and its parts per image, over all processes; and whether any of them should stop."""
    parts = torch.stack(loss.parts).double()
    whole = all_reduce(
        torch.cat([loss.total.detach().double()[None], parts, parts.new_tensor([images, stop])])
    )
    total, *shares, count, stops = whole.tolist()
    return [total / count, *shares], stops > 0


def add_sums(sums: list[float], more: list[float]) -> list[float]:
    """The sums of both, number by number; of nothing and something the latter."""
    return [a + b for a, b in zip(sums or [0.0] * len(more), more, strict=True)]


def add_source_sums(sums: list[list[float]], loss: BatchLoss) -> list[list[float]]:
    """The sums with those of a batch, over all processes."""
    if not loss.sources:
        return sums
    mine = torch.stack([torch.stack(one.parts) for one in loss.sources]).double()
    images = [float(one.images) for one in loss.sources]
    found = [[count, *row] for count, row in zip(images, all_reduce(mine).tolist(), strict=True)]
    return [add_sums(old, new) for old, new in zip(sums or [[]] * len(found), found, strict=True)]
