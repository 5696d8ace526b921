"""One section at a time: its graph from a few lines of cfg, and what its module makes of arrays."""

from __future__ import annotations

import numpy as np
import torch

from yolor_cfg.graph import Graph, Node, ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network


def graph_of(text: str, *, dialect: str = "darknet", image: tuple[int, int, int] = (4, 6, 8)) -> Graph:
    """The graph of the sections in `text` behind a [net] for an image (channels, height, width)."""
    net = "[net]\nchannels={}\nheight={}\nwidth={}\n".format(*image)
    return build_graph(parse(net + text, "small.cfg"), ReadOptions(dialect=dialect))


def last_node(text: str, *, dialect: str = "darknet", image: tuple[int, int, int] = (4, 6, 8)) -> Node:
    """The node of the last section."""
    return graph_of(text, dialect=dialect, image=image).nodes[-1]


def network_of(text: str, *, dialect: str = "darknet", image: tuple[int, int, int] = (4, 6, 8)) -> Network:
    """The network in float64, for inference."""
    return Network(graph_of(text, dialect=dialect, image=image)).double().eval()


def drawn_network(text: str, *, dialect: str, image: tuple[int, int, int]) -> Network:
    """The network in float32, for inference, with seeded numbers as weights and as statistics of batch norms,
    variances among them from 0 to 1."""
    network = Network(graph_of(text, dialect=dialect, image=image)).eval()
    draw = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=draw) - (0 if "var" in name else 0.5))
    return network


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float64 numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def applied(text: str, *inputs: np.ndarray, dialect: str = "darknet") -> np.ndarray:
    """What the last section computes from these inputs [N, C, H, W]; the first has the image's size."""
    node = last_node(text, dialect=dialect, image=inputs[0].shape[1:])
    module = node.section.module(*node.inputs).double().eval()
    with torch.no_grad():
        out: np.ndarray = module(*(torch.from_numpy(x) for x in inputs)).numpy()
    assert out.shape[1:] == tuple(node.shape)
    return out
