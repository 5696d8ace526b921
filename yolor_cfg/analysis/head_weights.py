"""The weights of a network for the one that has further layers."""

from __future__ import annotations

from collections.abc import Callable

import torch

from yolor_cfg.graph import Graph
from yolor_cfg.model import Network
from yolor_cfg.train.loss import initialize_biases

SEED = 0  # of the new layers: the same command writes the same file


def move_weights(old: Network, graph: Graph, number_of: Callable[[int], int]) -> Network:
    """The network of `graph`, in eval mode: layer `number_of(i)` has the tensors of the old layer i, all
    others start as in a training from scratch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        new = Network(graph).eval()
    initialize_biases(new)
    for index, layer in enumerate(old.module_list):
        new.module_list[number_of(index)].load_state_dict(layer.state_dict())
    return new
