"""What the processes of one run share. With torch.distributed not initialised there is one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from yolor_cfg.errors import YolorError
from yolor_cfg.model import find_device

CONNECTION_LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL")
"""What torch says where a process that is waited for is gone; gloo has no error class of its own."""


class ProcessInfo(NamedTuple):
    """Which of how many processes this is."""

    rank: int = 0
    world_size: int = 1


def this_process() -> ProcessInfo:
    """This process."""
    if distributed.is_available() and distributed.is_initialized():
        return ProcessInfo(distributed.get_rank(), distributed.get_world_size())
    return ProcessInfo()


def gather_objects(value: Any) -> list[Any]:
    """The values of all processes in process 0, an empty list in the others."""
    here = this_process()
    if here.world_size == 1:
        return [value]
    values: list[Any] | None = [None] * here.world_size if here.rank == 0 else None
    distributed.gather_object(value, values, dst=0)
    return values or []


def broadcast_object(value: Any) -> Any:
    """The value that process 0 has, in every process."""
    if this_process().world_size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def process_group(device: str) -> Iterator[ProcessInfo]:
    """This process among those that torchrun, SLURM and others started, by WORLD_SIZE and RANK; a process
    group that is there already is used and left alone."""
    if this_process().world_size > 1 or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield this_process()
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(find_device(local_device(device)))  # where NCCL puts what it is to exchange
    store, number, world = next(rendezvous("env://"))
    # torchrun keeps the store when it starts the processes anew, with the addresses of those that are gone.
    store = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=world)
    try:
        yield this_process()
    except RuntimeError as fault:
        if not any(word in str(fault) for word in CONNECTION_LOST):
            raise
        raise YolorError("another process of this run has ended", hint="its own message says why") from fault
    finally:
        distributed.destroy_process_group()


def local_device(device: str) -> str:
    """`cuda` as this process's own GPU where there are several processes on the machine."""
    local = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{local}" if device == "cuda" and local else device


def all_reduce(values: Tensor) -> Tensor:
    """The sum of the values of all processes, without gradients; the same tensor where there is one
    process."""
    if this_process().world_size == 1:
        return values
    everywhere = values.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere


class _AllReduceSum(torch.autograd.Function):
    """The sum over the processes; what it is for all losses together is its gradient in each process."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return all_reduce(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce(gradient)


all_reduce_sum: Callable[[Tensor], Tensor] = _AllReduceSum.apply
"""As `all_reduce`, with gradients."""


def local_batch_size(batch_size: int) -> int:
    """The images of a global batch for this process; the processes must be able to share them evenly."""
    world = this_process().world_size
    if batch_size % world:
        raise YolorError(
            "the batch cannot be shared out evenly",
            found=f"--batch-size {batch_size}",
            allowed=f"multiples of {world}, the number of processes",
        )
    return batch_size // world


def broadcast_buffers(network: nn.Module) -> None:
    """Give every process the buffers of process 0: without synchronised norms their statistics differ."""
    if this_process().world_size > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)
