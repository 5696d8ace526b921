"""The network as a function of tensors alone, as a tracer wants it.

N images, C channels, H W input, B boxes, K classes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.export.facts import EMBEDDINGS, LABELS, PREDICTIONS
from yolor_cfg.graph import Graph
from yolor_cfg.images.types import Size
from yolor_cfg.model import Network, RecurrentLayer, RecurrentState, check_heads

OutputForm = Literal["raw", "decoded", "layers"]
"""The raw map of each head; all boxes as one tensor; the value of each layer."""
Dynamic = Literal["none", "batch", "all"]
"""What may differ from call to call: nothing, the number of images, or that and their height and width."""


class TracedNetwork(nn.Module):
    """forward(images [N, C, H, W], *states) -> (*outputs, *states): the recurrent state goes in and out.

    `decoded` is one tensor [N, B, 5 + K]: centre, width and height in input pixels, objectness, and the
    probability of each class, not multiplied by objectness; behind it, where the network has them, the
    probabilities of image labels [N, K], and of each head the vectors of its cells [N, E, H, W].
    """

    def __init__(self, network: Network, form: OutputForm) -> None:
        super().__init__()
        self.network, self.form = network, form
        if form == "decoded":
            check_heads(network)
        self.recurrent = [
            i for i, layer in enumerate(network.module_list) if isinstance(layer, RecurrentLayer)
        ]

    def forward(self, images: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """The outputs named by `own_outputs`, then the states, in order of layer."""
        given = self._group_states(images, states)
        layers = range(len(self.network.graph.nodes)) if self.form == "layers" else None
        values, after = self.network.step(images, given, layers=layers)
        outputs = self._decode(values) if self.form == "decoded" else values
        return (*outputs, *(tensor for index in self.recurrent for tensor in after[index]))

    def zero_states(self, images: Tensor) -> tuple[Tensor, ...]:
        """The recurrent state to start from, flat."""
        states = self.network.states(images)
        return tuple(torch.zeros_like(tensor) for index in self.recurrent for tensor in states[index])

    def own_outputs(self) -> list[str]:
        """The names of the outputs before the states."""
        graph = self.network.graph
        if self.form == "decoded":
            vectors = [f"{EMBEDDINGS}_{number}" for number in range(len(graph.box_heads))]
            return [
                *[PREDICTIONS] * bool(graph.box_heads),
                *[LABELS] * bool(graph.label_heads),
                *(vectors if self.network.embeds else ()),
            ]
        if self.form == "layers":
            return [f"layer_{index}" for index in range(len(graph.nodes))]
        return head_names(graph)

    def _group_states(self, images: Tensor, states: tuple[Tensor, ...]) -> dict[int, RecurrentState]:
        """The flat states by layer."""
        grouped: dict[int, RecurrentState] = {}
        rest = list(states)
        for index, zeros in self.network.states(images).items():
            grouped[index], rest = tuple(rest[: len(zeros)]), rest[len(zeros) :]
        return grouped

    def _decode(self, raws: list[Tensor]) -> list[Tensor]:
        network, outputs = self.network, list[Tensor]()
        if network.graph.box_heads:
            boxes, objectness, scores = network.decode(raws)
            outputs.append(torch.cat([boxes, objectness[..., None], scores], dim=-1))
        labels = network.labels(raws)
        outputs += [] if labels is None else [labels]
        return outputs + (network.cell_vectors(raws) if network.embeds else [])


def head_names(graph: Graph) -> list[str]:
    """`yolo_0`, `yolo_1`, ...: the section and the number of the head, the same after rewrites."""
    return [f"{node.section.type}_{number}" for number, node in enumerate(graph.heads)]


class ExampleInputs(NamedTuple):
    """What a network is traced and compared with."""

    images: Tensor
    states: tuple[Tensor, ...]


def make_inputs(
    module: TracedNetwork, batch: int, *, size: Size | None = None, seed: int = 0
) -> ExampleInputs:
    """Seeded images [batch, C, H, W] in 0..1, smooth as photographs are, and zero states; H and W are the
    network's own unless `size` gives others."""
    image = module.network.graph.image
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, image.channels, 9, 9, generator=draw)
    images = nn.functional.interpolate(coarse, size or (image.height, image.width), mode="bicubic")
    images = images.clamp(0, 1)
    return ExampleInputs(images, module.zero_states(images))


def state_names(inputs: ExampleInputs) -> list[str]:
    """The names of the recurrent state as an input."""
    return [f"state_{number}" for number in range(len(inputs.states))]


def output_names(module: TracedNetwork, inputs: ExampleInputs) -> list[str]:
    """The names of all outputs."""
    return [*module.own_outputs(), *(f"{name}_after" for name in state_names(inputs))]
