"""One more place for the knowledge of a task: what the 3x3 convolution of each head reads."""

from __future__ import annotations

import torch
from implicit_networks import find_levels
from torch import nn

from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitTensor, VectorCombine, control, shift
from yolor_cfg.rewrite.program import Program, ProgramStep

COMBINES = (
    ("implicit_mul", "control_channels", control, 1.0),
    ("implicit_add", "shift_channels", shift, 0.0),
)


def add_input_places(network: Network) -> Network:
    """The same network with a factor and a summand for each channel that the heads' 3x3 convolutions read."""
    program = Program(network)
    convolutions = [program.steps[level.features] for level in find_levels(network)]
    for convolution in convolutions:
        _add_place(program, convolution)
    with torch.no_grad():
        return program.build_network().eval()


def input_layers(network: Network) -> list[int]:
    """What is given to these places: the layers before them."""
    return [_walk_back(network, level.tip)[-1] for level in find_levels(network)]


def input_values(network: Network) -> list[nn.Parameter]:
    """The factors and summands at these places."""
    walks = [_walk_back(network, level.tip) for level in find_levels(network)]
    values = [
        source for walk in walks for index in walk[:-1] for source in network.graph.nodes[index].sources[1:]
    ]
    return [parameter for index in values for parameter in network.module_list[index].parameters()]


def _walk_back(network: Network, index: int) -> list[int]:
    """From there to the first section that computes something else, which is the last of them."""
    walk, nodes = [index], network.graph.nodes
    while nodes[walk[-1]].section.type in ("shift_channels", "control_channels", "route"):
        walk.append(nodes[walk[-1]].sources[0])
    return walk


def _add_place(program: Program, convolution: ProgramStep) -> None:
    source, channels = convolution.sources[0], convolution.sources[0].channels
    for name, reader, combine, start in COMBINES:
        value = ImplicitTensor(torch.full((1, channels, 1, 1), start))
        keys = {"filters": str(channels)}
        given = ProgramStep(name, value, keys, before=False, channels=channels)
        combined = ProgramStep(
            reader, VectorCombine(combine, False), {}, [source, given], "from", channels=channels
        )
        for step in (given, combined):
            program.insert(step, before=convolution)
        source = combined
    convolution.sources = [source]
