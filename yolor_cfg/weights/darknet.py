"""Reads and writes `.weights` files; a file's length is checked against the network before it is read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.errors import WeightsError
from yolor_cfg.files import replace_file
from yolor_cfg.model import Network
from yolor_cfg.weights.finite import non_finite_notes
from yolor_cfg.weights.layout import (
    FLOAT_BYTES,
    ReadPlan,
    TensorSlot,
    WeightsHeader,
    file_layout,
    new_header,
)
from yolor_cfg.weights.prefix import check_cutoff

LOG = logging.getLogger("yolor_cfg")


class LoadedWeights(NamedTuple):
    """What was read besides the tensors: the header (None for a checkpoint) and notes for the user."""

    header: WeightsHeader | None
    notes: tuple[str, ...] = ()


def fill_network(network: Network, plan: ReadPlan) -> LoadedWeights:
    """Read the planned tensors straight into the network's memory."""
    targets = _match_tensors(network, plan.slots)
    _read_targets(plan, targets)
    network.reset()
    return LoadedWeights(
        plan.header,
        (*plan.notes, *non_finite_notes(network.graph, ((slot.index, tensor) for slot, tensor in targets))),
    )


def read_tensors(plan: ReadPlan) -> dict[str, Tensor]:
    """The planned tensors by state-dict name, in the shapes of the plan."""
    targets = [(slot, torch.empty(slot.spec.shape)) for slot in plan.slots]
    _read_targets(plan, targets)
    return {slot.name: tensor for slot, tensor in targets}


def _read_targets(plan: ReadPlan, targets: Sequence[tuple[TensorSlot, Tensor]]) -> None:
    try:
        with open(plan.path, "rb") as file:
            file.seek(plan.header.size_bytes)
            for slot, target in targets:
                _read_tensor(file, slot, target=target, header=plan.header)
    except OSError as fault:
        raise WeightsError(
            "the weights cannot be read", path=plan.path, found=fault.strerror or str(fault)
        ) from fault


def write_weights(
    network: Network,
    path: str | Path,
    *,
    header: WeightsHeader | None = None,
    upto: int | None = None,
    force: bool = False,
) -> None:
    """Write the tensors (with `upto`, only those of the layers before it) in Darknet's format.

    Writing with the header that was read reproduces the file byte for byte. Kernels that `flipped=1`
    transposed on reading are written as they are used, as C Darknet does.
    """
    check_cutoff(network.graph, upto)
    head = header or new_header(network.graph)
    targets = _match_tensors(network, file_layout(network.graph, end=upto))
    if any(slot.spec.flipped for slot, _ in targets):
        LOG.warning(
            "%s: kernels are written unflipped: remove flipped=1 from the cfg before reading them", path
        )

    def write(file: BinaryIO) -> None:
        file.write(head.to_bytes())
        for slot, tensor in targets:
            _write_tensor(file, slot, tensor=tensor, header=head)

    replace_file(path, write, fault=WeightsError, force=force)


def _match_tensors(network: Network, slots: Sequence[TensorSlot]) -> list[tuple[TensorSlot, Tensor]]:
    """Each slot with the network's tensor for it."""
    state = network.state_dict()
    mismatches = [p.name for p in slots if p.name not in state or state[p.name].numel() != p.spec.size]
    if mismatches:
        raise WeightsError(
            "the network's tensors no longer match its cfg",
            path=network.graph.path,
            found=mismatches[0],
            hint="read and write weights before folding batch norms or implicit knowledge",
        )
    return [(slot, state[slot.name]) for slot in slots]


def _read_tensor(file: BufferedReader, slot: TensorSlot, *, target: Tensor, header: WeightsHeader) -> None:
    """Read one tensor at the current position of the file."""
    transposed = slot.spec.flipped or (slot.spec.transposable and header.is_transposed)
    direct = target.dtype == torch.float32 and target.device.type == "cpu" and target.is_contiguous()
    if direct and not transposed and sys.byteorder == "little":
        _read_numbers(file, target.view(-1).numpy(), slot)
        return
    numbers = np.empty(slot.spec.size, "<f4")
    _read_numbers(file, numbers, slot)
    read = torch.from_numpy(numbers.astype(np.float32, copy=False))
    if transposed:
        read = read.view(-1, slot.spec.shape[0]).T
    target.copy_(read.reshape(target.shape))


def _read_numbers(file: BufferedReader, numbers: np.ndarray, slot: TensorSlot) -> None:
    count = file.readinto(numbers.view(np.uint8).data)
    if count != FLOAT_BYTES * slot.spec.size:
        raise OSError(f"the file shrank while it was being read, at {slot.name}")


def _write_tensor(file: BinaryIO, slot: TensorSlot, *, tensor: Tensor, header: WeightsHeader) -> None:
    numbers = tensor.detach().to("cpu", torch.float32).reshape(slot.spec.shape)
    if slot.spec.transposable and header.is_transposed:
        numbers = numbers.T
    file.write(numbers.numpy().astype("<f4", copy=False).tobytes())
