"""Weights made of other weights, as C Darknet's `average` and `oneoff` do (darknet.c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from yolor_cfg.errors import CfgError, WeightsError, count_of
from yolor_cfg.files import read_regular, reason_of
from yolor_cfg.graph import Node, load_graph
from yolor_cfg.model import Network
from yolor_cfg.weights.darknet import LoadedWeights, fill_network, write_weights
from yolor_cfg.weights.fitting import plan_read
from yolor_cfg.weights.layout import FLOAT_BYTES, TensorSlot, WeightsHeader, file_layout, new_header
from yolor_cfg.weights.loading import LoadedNetwork, open_network
from yolor_cfg.weights.prefix import read_prefix

AVERAGED = {"convolutional": (), "conv": (), "connected": ("scale", "mean", "variance")}
AVERAGED["conn"] = AVERAGED["connected"]
"""The sections that `average` takes the mean of, and the roles of their tensors that it leaves alone."""
THIRDS = 3
"""Anchors of the head that `oneoff` makes."""
BOX_NUMBERS = 5
"""The filters of an anchor before those of its classes."""


def average_weights(cfg: str | Path, paths: Sequence[str | Path]) -> tuple[LoadedNetwork, tuple[str, ...]]:
    """A network whose convolutions and connected layers have the mean of these weights, as C Darknet
    computes it in float32; all else, the batch norm of connected layers too, is that of the first file, as is
    the number of images seen. With it the names of what was left alone: `[batchnorm]`, `[gru]` ..."""
    opened = open_network(cfg, paths[0])
    slots = file_layout(opened.network.graph)
    nodes = opened.network.graph.nodes
    chosen = [slot for slot in slots if _is_averaged(nodes[slot.index], slot)]
    totals = opened.network.state_dict()
    with torch.no_grad():
        for path in paths[1:]:
            others = open_network(cfg, path).network.state_dict()
            for slot in chosen:
                totals[slot.name] += others[slot.name]
        for slot in chosen:
            totals[slot.name] *= float(np.float32(1 / len(paths)))
    left = dict.fromkeys(_left_name(nodes[slot.index], slot) for slot in slots if slot not in chosen)
    return opened, tuple(left)


def _is_averaged(node: Node, slot: TensorSlot) -> bool:
    kind = node.section.type
    return kind in AVERAGED and slot.spec.role not in AVERAGED[kind]


def _left_name(node: Node, slot: TensorSlot) -> str:
    kind = node.section.type
    return f"batch norm of [{kind}]" if kind in AVERAGED else f"[{kind}]"


def oneoff_weights(cfg: str | Path, weights: str | Path) -> Network:
    """The network of a detector in a class tree whose last convolution begins with that of a classifier.

    The convolution before the head has 3 x (5 + classes) filters. The file has as many as it has: they become
    those behind the first 5, and then the first third is copied to the other two. What no file fills keeps
    its initialisation. Raises CfgError for another network, WeightsError for a file that does not fit.
    """
    graph = load_graph(cfg)
    node = _last_convolution(graph.nodes, str(cfg))
    network = Network(graph)
    file = read_prefix(weights)
    loaded = _fill_before(network, node, str(weights))
    start = loaded.header.size_bytes if loaded.header else 0
    filled = FLOAT_BYTES * sum(slot.spec.size for slot in file_layout(graph, end=node.index))
    rest = (file.size_bytes - start - filled) // FLOAT_BYTES
    numbers = _read_end(str(weights), rest)
    bias, weight = (network.state_dict()[name] for name in _tensor_names(node))
    third, per_filter = len(bias) // THIRDS, 1 + weight[0].numel()
    filters = rest // per_filter
    if not 0 < filters <= third - BOX_NUMBERS or rest % per_filter:
        raise WeightsError(
            "does not end with the filters of a classifier",
            path=str(weights),
            found=f"{count_of(rest, 'float')} after layer {node.index - 1}",
            allowed=f"{per_filter} for each of at most {third - BOX_NUMBERS} filters",
        )
    with torch.no_grad():
        _place_filters(bias, weight, numbers, filters)
    return network


def _place_filters(bias: Tensor, weight: Tensor, numbers: np.ndarray, filters: int) -> None:
    """Put the filters behind the numbers of the box, whose biases are 0, and the first third into the others."""
    place, third = slice(BOX_NUMBERS, BOX_NUMBERS + filters), len(bias) // THIRDS
    bias.zero_()
    bias[place] = torch.from_numpy(numbers[:filters])
    weight[place] = torch.from_numpy(numbers[filters:]).view_as(weight[place])
    for tensor in (bias, weight):
        tensor[third:] = tensor[:third].repeat(THIRDS - 1, *[1] * (tensor.dim() - 1))


def _last_convolution(nodes: Sequence[Node], path: str) -> Node:
    """The node before the last, which must be a convolution without batch norm in three equal parts."""
    node = nodes[-2] if len(nodes) > 1 else nodes[-1]
    roles = [tensor.role for tensor in node.tensors]
    if sorted(roles) != ["bias", "weight"] or node.shape.channels % THIRDS:
        raise CfgError(
            "the section before the last is not the convolution of 3 anchors",
            path=path,
            line=node.line,
            section=node.section.type,
            number=node.index,
            allowed="[convolutional] with filters = 3 * (5 + classes), without batch_normalize",
        )
    return node


def _tensor_names(node: Node) -> Iterator[str]:
    """State-dict names of its biases and its weights."""
    for role in ("bias", "weight"):
        spec = next(tensor for tensor in node.tensors if tensor.role == role)
        yield TensorSlot(node.index, spec, 0).name


def _fill_before(network: Network, node: Node, path: str) -> LoadedWeights:
    """Load the layers before the node."""
    return fill_network(network, plan_read(network.graph, read_prefix(path), cutoff=node.index))


def _read_end(path: str, count: int) -> np.ndarray:
    """The last numbers of the file."""
    try:
        data = read_regular(path, most=1 << 40)
    except OSError as fault:
        raise WeightsError(f"the weights cannot be read: {reason_of(fault)}", path=path) from None
    return np.frombuffer(data, "<f4", count, len(data) - FLOAT_BYTES * count).astype(np.float32)


def save_new(network: Network, path: str | Path, *, header: WeightsHeader | None, force: bool) -> None:
    """Write a `.weights` file with this header; None: a fresh one, of no images seen."""
    write_weights(network, path, header=header or new_header(network.graph), force=force)
