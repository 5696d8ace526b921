"""Data-parallel training: gradients over all processes, and batch norm over all of their images.

The process group is in `yolor_cfg.parallel`. Legend: N images, C channels, H W cells.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from yolor_cfg.graph import Graph
from yolor_cfg.model import Network
from yolor_cfg.ops.norms import OuterBatchNorm2d, drop_bias, has_bias, is_outside_root, norm_scale
from yolor_cfg.parallel import all_reduce_sum, gather_objects, this_process

# torch 2.13 renamed the option that turns off the synchronization of buffers.
BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, on any device; in evaluation mode an ordinary one."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the same size and dtype."""
        if not self.training or this_process().world_size == 1:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_tensor([x.numel() / x.shape[1]])
        sums = all_reduce_sum(torch.cat([wide.sum((0, 2, 3)), count]))  # [C + 1]
        total = sums[-1].detach()
        centred = wide - (sums[:-1] / total)[:, None, None]
        variance = all_reduce_sum(centred.square().sum((0, 2, 3))) / total  # [C]
        unbiased = variance * total / (total - 1).clamp(min=1)
        self._update_running_stats(sums[:-1].detach() / total, unbiased.detach())
        scale = norm_scale(self, unbiased if is_outside_root(self) else variance)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        assert self.momentum is not None
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class SyncOuterBatchNorm2d(SyncBatchNorm2d, OuterBatchNorm2d):
    """The same with the epsilon outside the root."""


SYNCED = {nn.BatchNorm2d: SyncBatchNorm2d, OuterBatchNorm2d: SyncOuterBatchNorm2d}


def convert_sync_batchnorm(network: nn.Module) -> None:
    """Replace every batch norm by a SyncBatchNorm2d with the same tensors."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and type(child) in SYNCED:
                setattr(parent, name, _convert_norm(child))


def _convert_norm(norm: nn.BatchNorm2d) -> SyncBatchNorm2d:
    new = SYNCED[type(norm)](norm.num_features, eps=norm.eps, momentum=norm.momentum)
    new.weight = norm.weight
    if has_bias(norm):
        new.bias = norm.bias
    else:
        drop_bias(new)
    for name, buffer in norm.named_buffers():
        if name != "bias":
            new.register_buffer(name, buffer)
    new.train(norm.training)
    return new


def data_parallel(network: Network, *, exact: bool = False, others: Iterable[str] = ()) -> nn.Module:
    """The network wrapped so that gradients are averaged over processes; unchanged if there is only one.

    From the second update on, torch reduces gradients in other buckets, so three or more processes that
    resume from a state sum in another order. `exact` prevents this, at the cost of a pass over all layers.
    Parameters with the names `others` are left alone.
    """
    if this_process().world_size == 1:
        return network
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, list(others))
    cut = not all(node.section.update_rules(0).passes for node in network.graph.nodes)
    unused = cut or len(used_nodes(network.graph)) < len(network.graph.nodes)
    buffers: dict[str, Any] = {BUFFERS: False}
    return DistributedDataParallel(network, find_unused_parameters=exact or unused, **buffers)


def used_nodes(graph: Graph) -> set[int]:
    """The nodes that the outputs of the network depend on."""
    found: set[int] = set()
    waiting = list(graph.outputs)
    while waiting:
        index = waiting.pop()
        if index >= 0 and index not in found:
            found.add(index)
            waiting += graph.nodes[index].sources
    return found


@contextmanager
def sync_gradients(model: nn.Module, now: bool) -> Iterator[None]:
    """All-reduce the gradients of forward passes in this context only if the weights are updated `now`."""
    if now or not isinstance(model, DistributedDataParallel):
        yield
        return
    with model.no_sync():
        yield


def pending_gradients(network: nn.Module) -> list[dict[str, Tensor]]:
    """The accumulated gradients of each process, gathered in process 0; empty right after an update.

    They are saved per process: with their mean, the resumed update would differ in the last digits.
    """
    named = network.named_parameters()
    return gather_objects({name: own.grad.cpu() for name, own in named if own.grad is not None})


def mean_gradients(each: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of the gradients of all processes, for resuming with another number of processes."""
    return {name: torch.stack([own[name] for own in each]).mean(0) for name in each[0]}
