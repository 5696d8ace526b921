"""What the processes of one run share. If torch.distributed is not initialised there is one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from yolor_cfg.errors import YolorError
from yolor_cfg.ops.devices import find_device

CONNECTION_LOST = ("Connection closed by peer", "Connection reset by peer", "NCCL")
"""Parts of torch's messages when a peer process is gone; gloo has no error class of its own."""
LAST_WORK_S = 0.2
"""Seconds for gloo's threads to let go of what was exchanged last. Behind DistributedDataParallel they
outlive the group (torch 2.13), and one that does so while the interpreter ends would abort the process."""


class ProcessInfo(NamedTuple):
    """The rank of this process and the number of processes."""

    rank: int = 0
    world_size: int = 1


def this_process() -> ProcessInfo:
    """The rank and world size of this process."""
    if distributed.is_available() and distributed.is_initialized():
        return ProcessInfo(distributed.get_rank(), distributed.get_world_size())
    return ProcessInfo()


def gather_objects(value: Any) -> list[Any]:
    """The values of all processes in process 0; an empty list in the others."""
    here = this_process()
    if here.world_size == 1:
        return [value]
    values: list[Any] | None = [None] * here.world_size if here.rank == 0 else None
    distributed.gather_object(value, values, dst=0)
    return values or []


def broadcast_object(value: Any) -> Any:
    """The value of process 0, in every process."""
    if this_process().world_size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def process_group(device: str) -> Iterator[ProcessInfo]:
    """Join the processes started by torchrun, SLURM or others, by WORLD_SIZE and RANK; an existing process
    group is used and left alone."""
    if this_process().world_size > 1 or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield this_process()
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(find_device(local_device(device)))  # where NCCL allocates its buffers
    store, number, world = next(rendezvous("env://"))
    # torchrun keeps the store when it restarts the processes, with the addresses of those that are gone.
    store = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=world)
    try:
        yield this_process()
    except RuntimeError as fault:
        if not any(word in str(fault) for word in CONNECTION_LOST):
            raise
        raise YolorError(
            "another process of this run has ended", hint="see the message of that process"
        ) from fault
    finally:
        distributed.destroy_process_group()
        if backend == "gloo":
            time.sleep(LAST_WORK_S)


def local_device(device: str) -> str:
    """`cuda` as this process's own GPU if there are several processes on the machine."""
    local = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{local}" if device == "cuda" and local else device


def all_reduce(values: Tensor) -> Tensor:
    """The sum of the values of all processes, without gradients; the same tensor if there is one process."""
    if this_process().world_size == 1:
        return values
    everywhere = values.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere


def reduce_largest(value: Tensor) -> Tensor:
    """The largest of the values of all processes."""
    if this_process().world_size == 1:
        return value
    everywhere = value.detach().clone()
    distributed.all_reduce(everywhere, op=distributed.ReduceOp.MAX)
    return everywhere


class _AllReduceSum(torch.autograd.Function):
    """The sum over the processes; in each one its gradient is that of the sum of all processes' losses."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return all_reduce(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce(gradient)


all_reduce_sum: Callable[[Tensor], Tensor] = _AllReduceSum.apply
"""As `all_reduce`, with gradients."""


def local_batch_size(batch_size: int) -> int:
    """This process's share of a global batch, which must be divisible by the number of processes."""
    world = this_process().world_size
    if batch_size % world:
        raise YolorError(
            "the batch size is not divisible by the number of processes",
            found=f"--batch-size {batch_size}",
            allowed=f"multiples of {world}",
        )
    return batch_size // world


def broadcast_buffers(network: nn.Module) -> None:
    """Copy the buffers of process 0 to every process: without synchronised batch norms they differ."""
    if this_process().world_size > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)
