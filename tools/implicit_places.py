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
    nodes = network.graph.nodes
    return [nodes[nodes[level.tip].sources[0]].sources[0] for level in find_levels(network)]


def input_values(network: Network) -> list[nn.Parameter]:
    """The factors and summands at these places."""
    nodes = network.graph.nodes
    readers = [index for level in find_levels(network) for index in (level.tip, nodes[level.tip].sources[0])]
    return [p for index in readers for p in network.module_list[nodes[index].sources[1]].parameters()]


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
