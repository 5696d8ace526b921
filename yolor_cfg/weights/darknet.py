"""`.weights` files into a network and back; a file's length is held against the network before it is read."""

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
from yolor_cfg.weights.fitting import (
    ReadPlan,
    check_cutoff,
    plan_read,
    read_prefix,
)
from yolor_cfg.weights.layout import FLOAT_BYTES, TensorSlot, WeightsHeader, file_layout

LOG = logging.getLogger("yolor_cfg")


class LoadedWeights(NamedTuple):
    """What was read beside the tensors: the header (None for a checkpoint) and what the user should know."""

    header: WeightsHeader | None
    notes: tuple[str, ...] = ()


def read_weights(network: Network, path: str | Path, *, cutoff: int | None = None) -> LoadedWeights:
    """Fill the network from a `.weights` file, with `cutoff` from one that holds just the layers before it.

    Raises WeightsError, before any tensor is changed, when the file is not what the network needs.
    """
    return fill_network(network, plan_read(network.graph, read_prefix(path), cutoff=cutoff))


def fill_network(network: Network, plan: ReadPlan) -> LoadedWeights:
    """Read the planned tensors straight into the memory of the network's own."""
    targets = _match_tensors(network, plan.slots)
    try:
        with open(plan.path, "rb") as file:
            file.seek(plan.header.size_bytes)
            for place, target in targets:
                _read_tensor(file, place, target=target, header=plan.header)
    except OSError as fault:
        raise WeightsError(
            "the weights cannot be read", path=plan.path, found=fault.strerror or str(fault)
        ) from fault
    network.reset()
    return LoadedWeights(plan.header, (*plan.notes, *non_finite_notes(network.graph, targets)))


def write_weights(
    network: Network,
    path: str | Path,
    *,
    header: WeightsHeader | None = None,
    upto: int | None = None,
    force: bool = False,
) -> None:
    """Write the tensors (those of the layers before `upto` where it is given) so that Darknet can read them.

    With the header that was read the file that was read comes out again. Kernels that `flipped=1` turned
    round on reading are written as they are used, as C Darknet does.
    """
    check_cutoff(network.graph, upto)
    head = header or WeightsHeader()
    targets = _match_tensors(network, file_layout(network.graph, end=upto))
    if any(place.spec.flipped for place, _ in targets):
        LOG.warning("%s: kernels are written unflipped: delete flipped=1 from the cfg that reads them", path)

    def write(file: BinaryIO) -> None:
        file.write(head.to_bytes())
        for place, tensor in targets:
            _write_tensor(file, place, tensor=tensor, header=head)

    replace_file(path, write, fault=WeightsError, force=force)


def _match_tensors(network: Network, places: Sequence[TensorSlot]) -> list[tuple[TensorSlot, Tensor]]:
    """Each place with the network's tensor for it."""
    state = network.state_dict()
    strangers = [p.name for p in places if p.name not in state or state[p.name].numel() != p.spec.size]
    if strangers:
        raise WeightsError(
            "the network no longer has the tensors of its cfg",
            path=network.graph.path,
            found=strangers[0],
            hint="read and write weights before folding batch norms or implicits",
        )
    return [(place, state[place.name]) for place in places]


def _read_tensor(file: BufferedReader, place: TensorSlot, *, target: Tensor, header: WeightsHeader) -> None:
    """Fill one tensor from where the file stands."""
    turned = place.spec.flipped or (place.spec.transposable and header.is_transposed)
    plain = target.dtype == torch.float32 and target.device.type == "cpu" and target.is_contiguous()
    if plain and not turned and sys.byteorder == "little":
        _read_numbers(file, target.view(-1).numpy(), place)
        return
    numbers = np.empty(place.spec.size, "<f4")
    _read_numbers(file, numbers, place)
    read = torch.from_numpy(numbers.astype(np.float32, copy=False))
    if turned:
        read = read.view(-1, place.spec.shape[0]).T
    target.copy_(read.reshape(target.shape))


def _read_numbers(file: BufferedReader, numbers: np.ndarray, place: TensorSlot) -> None:
    count = file.readinto(numbers.view(np.uint8).data)
    if count != FLOAT_BYTES * place.spec.size:
        raise OSError(f"the file became shorter while it was read, at {place.name}")


def _write_tensor(file: BinaryIO, place: TensorSlot, *, tensor: Tensor, header: WeightsHeader) -> None:
    numbers = tensor.detach().to("cpu", torch.float32).reshape(place.spec.shape)
    if place.spec.transposable and header.is_transposed:
        numbers = numbers.T
    file.write(numbers.numpy().astype("<f4", copy=False).tobytes())
