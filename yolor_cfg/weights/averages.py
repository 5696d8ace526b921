"""Weights made of other weights, as C Darknet's `average` and `oneoff` do (darknet.c)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolor_cfg.errors import CfgError, WeightsError, count_of
from yolor_cfg.files import open_regular, reason_of
from yolor_cfg.graph import Graph, Node
from yolor_cfg.model import Network
from yolor_cfg.weights.darknet import fill_network
from yolor_cfg.weights.fitting import plan_read
from yolor_cfg.weights.layout import FLOAT_BYTES, TensorSlot, count_floats, file_layout
from yolor_cfg.weights.prefix import read_prefix

NORM_ROLES = ("scale", "mean", "variance")
LEFT_ROLES = {"convolutional": (), "conv": (), "connected": NORM_ROLES, "conn": NORM_ROLES}
"""The sections that `average` takes the mean of, and the roles of their tensors that it leaves alone."""
ANCHORS = 3
"""Of the head that `oneoff` makes."""
BOX_NUMBERS = 5
"""The filters of an anchor before those of its classes."""


def average_networks(network: Network, others: Iterable[Network]) -> tuple[str, ...]:
    """Give the convolutions and connected layers of a network the mean of its own weights and those of others
    of the same cfg, as C Darknet computes it in float32. All else stays as it is, the batch norm of connected
    layers too; what that is, in words: `[gru]`, ..."""
    nodes, slots = network.graph.nodes, file_layout(network.graph)
    chosen = [slot for slot in slots if _is_averaged(nodes[slot.index], slot)]
    totals, count = network.state_dict(), 1
    with torch.no_grad():
        for other in others:
            _add_tensors(totals, other.state_dict(), chosen)
            count += 1
        for slot in chosen:
            totals[slot.name] *= float(np.float32(1 / count))
    left = (nodes[slot.index].section.type for slot in slots if slot not in chosen)
    return tuple(
        dict.fromkeys(f"batch norm of [{kind}]" if kind in LEFT_ROLES else f"[{kind}]" for kind in left)
    )


def _add_tensors(
    totals: Mapping[str, Tensor], terms: Mapping[str, Tensor], slots: Iterable[TensorSlot]
) -> None:
    for slot in slots:
        totals[slot.name] += terms[slot.name]


def _is_averaged(node: Node, slot: TensorSlot) -> bool:
    kind = node.section.type
    return kind in LEFT_ROLES and slot.spec.role not in LEFT_ROLES[kind]


def oneoff_network(graph: Graph, path: str | Path) -> Network:
    """The network of a detector in a class tree whose last convolution begins as that of a classifier.

    The convolution before the head has 3 x (5 + classes) filters. The file has as many as it has: they become
    those behind the first 5, and then the first third is copied to the other two. What no file fills keeps
    its initialisation, biases 0. Raises CfgError for another network, WeightsError for a file that does not
    fit.
    """
    node = _last_convolution(graph)
    network = Network(graph)
    fill_network(network, plan_read(graph, read_prefix(path), cutoff=node.index))
    bias, weight = (network.state_dict()[slot.name] for slot in _slots_of(graph, node))
    numbers = _read_rest(graph, node, str(path))
    per_filter, most = 1 + weight[0].numel(), len(bias) // ANCHORS - BOX_NUMBERS
    filters, rest = divmod(len(numbers), per_filter)
    if rest or not 0 < filters <= most:
        raise WeightsError(
            "does not end with the filters of a classifier",
            path=str(path),
            found=f"{count_of(len(numbers), 'float')} after layer {node.index - 1}",
            allowed=f"{per_filter} for each of at most {most} filters",
        )
    with torch.no_grad():
        _place_filters(bias, weight, numbers=numbers, filters=filters)
    return network


def _place_filters(bias: Tensor, weight: Tensor, *, numbers: NDArray[np.float32], filters: int) -> None:
    """Put the filters behind the numbers of the box, whose biases are 0; copy the first third to the rest."""
    place, third = slice(BOX_NUMBERS, BOX_NUMBERS + filters), len(bias) // ANCHORS
    bias.zero_()
    bias[place] = torch.from_numpy(numbers[:filters])
    weight[place] = torch.from_numpy(numbers[filters:]).view_as(weight[place])
    for tensor in (bias, weight):
        tensor[third:] = tensor[:third].repeat(ANCHORS - 1, *[1] * (tensor.dim() - 1))


def _last_convolution(graph: Graph) -> Node:
    """The node before the last, which must be a convolution without batch norm in three equal parts."""
    node = graph.nodes[max(0, len(graph.nodes) - 2)]
    roles = [spec.role for spec in node.tensors]
    if roles != ["bias", "weight"] or node.shape.channels % ANCHORS:
        raise CfgError(
            "the section before the last is not the convolution of 3 anchors",
            path=graph.path,
            line=node.line,
            section=node.section.type,
            number=node.index,
            allowed="[convolutional] with filters = 3 * (5 + classes), without batch_normalize",
        )
    return node


def _slots_of(graph: Graph, node: Node) -> list[TensorSlot]:
    return [slot for slot in file_layout(graph) if slot.index == node.index]


def _read_rest(graph: Graph, node: Node, path: str) -> NDArray[np.float32]:
    """The numbers of the file after the layers before the node."""
    header = plan_read(graph, read_prefix(path), cutoff=node.index).header
    start = header.size_bytes + FLOAT_BYTES * count_floats(file_layout(graph, end=node.index))
    try:
        with open_regular(path) as file:
            file.seek(start)
            data = file.readall()
    except OSError as fault:
        raise WeightsError(f"the weights cannot be read: {reason_of(fault)}", path=path) from None
    return np.frombuffer(data, "<f4", len(data) // FLOAT_BYTES).astype(np.float32)
