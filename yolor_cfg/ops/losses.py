"""[softmax] and the output of a loss section. Legend: N images, C channels, H W cells, n = C*H*W."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def grouped_softmax(x: Tensor, lengths: tuple[int, ...], temperature: float = 1.0) -> Tensor:
    """x [..., n] -> [..., n], a softmax over each group of the last axis; `lengths` sum to n."""
    longest = max(lengths)
    if lengths == (longest,) * len(lengths):
        equal: Tensor = (x / temperature).unflatten(-1, (-1, longest))
        return equal.softmax(-1).flatten(-2)
    runs = (x / temperature).split(lengths, dim=-1)
    return torch.cat([run.softmax(-1) for run in runs], dim=-1)


class SoftmaxLayer(nn.Module):
    """The probabilities of n classes, in groups that sum to 1 each; `by_cell`, the channels of a cell do.

    In training it gives out its input, from which the loss is computed without loss of precision.
    """

    def __init__(self, lengths: tuple[int, ...], temperature: float, *, by_cell: bool = False) -> None:
        super().__init__()
        self.lengths, self.temperature, self.by_cell = lengths, temperature, by_cell

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, n, 1, 1]."""
        if self.training:
            return x.flatten(1)[:, :, None, None]
        if self.by_cell:
            return x.softmax(1).flatten(1)[:, :, None, None]
        return grouped_softmax(x.flatten(1), self.lengths, self.temperature)[:, :, None, None]

    def darknet_output(self, value: Tensor) -> Tensor:
        """[N, n, 1, 1] -> [N, n]."""
        flat = value.flatten(1)
        return grouped_softmax(flat, self.lengths, self.temperature) if self.training else flat

    def label_scores(self, raw: Tensor) -> Tensor:
        """[N, n, 1, 1] -> the probabilities [N, n]."""
        return self.darknet_output(raw)


class LogisticLayer(nn.Module):
    """The probabilities of what may be true at once. In training it gives out its input, as [softmax]."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size."""
        return x if self.training else x.sigmoid()

    def darknet_output(self, value: Tensor) -> Tensor:
        """[N, C, H, W] -> the same size."""
        return value.sigmoid() if self.training else value

    def label_scores(self, raw: Tensor) -> Tensor:
        """[N, C, H, W] -> the probabilities [N, n]."""
        return self.darknet_output(raw).flatten(1)

    def cost(self, x: Tensor, truth: Tensor) -> Tensor:
        """The sum of the cross entropies of x [N, C, H, W] with a truth of its size; its gradient is the
        probability minus the truth."""
        return F.binary_cross_entropy_with_logits(x, truth, reduction="sum")


class ZeroOutput(nn.Module):
    """The output of a loss section in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> zeros [N, n, 1, 1]."""
        return torch.zeros_like(x).reshape(x.shape[0], -1, 1, 1)

    def darknet_output(self, value: Tensor) -> Tensor:
        """[N, n, 1, 1] -> [N, n]."""
        return value.flatten(1)
