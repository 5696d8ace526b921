"""What a network costs, from its Graph alone: parameters, multiply-adds, Darknet's BFLOPs, activation memory.

One MAC is one multiply-add; a FLOP is half of one: gflops = 2 * macs / 1e9. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yolor_cfg.graph import Graph, Node

FLOAT_BYTES = 4
HEADER_BYTES = 20  # of a .weights file: three int32 and a uint64


class NodeCount(NamedTuple):
    """What one node costs for one image.

    `parameters` are trained numbers, `stored_floats` those that a weights file keeps, running statistics too.
    `bflops` is what C Darknet prints, None where it has no such section.
    """

    number: int
    parameters: int
    parameters_folded: int
    stored_floats: int
    macs: int
    bflops: float | None
    activation_floats: int  # 0 where the output is the input's own memory


class Count(NamedTuple):
    """The costs of every node, in order, and their sums."""

    nodes: tuple[NodeCount, ...]

    @property
    def parameters(self) -> int:
        """Trained numbers, implicit ones included, running statistics not."""
        return sum(node.parameters for node in self.nodes)

    @property
    def parameters_folded(self) -> int:
        """Trained numbers once each batch norm is folded into the weights before it: its scales vanish, its
        offsets become the bias. A batch norm that stands alone stays."""
        return sum(node.parameters_folded for node in self.nodes)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(node.macs for node in self.nodes)

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations for one image, two a multiply-add."""
        return 2 * self.macs / 1e9

    @property
    def bflops(self) -> float:
        """The sum of what C Darknet prints; sections that it does not have add nothing."""
        return sum(node.bflops or 0.0 for node in self.nodes)

    @property
    def weights_bytes(self) -> int:
        """The size of the `.weights` file."""
        return HEADER_BYTES + FLOAT_BYTES * sum(node.stored_floats for node in self.nodes)


class Value(NamedTuple):
    """The output of node `number` (-1: the image) and the memory it takes."""

    number: int
    bytes: int


class Peak(NamedTuple):
    """The moment at which a forward pass holds most: while node `number` runs, these values are alive."""

    number: int
    values: tuple[Value, ...]

    @property
    def bytes(self) -> int:
        """All that is alive at that moment."""
        return sum(value.bytes for value in self.values)


def count(graph: Graph) -> Count:
    """The costs of every node of the graph, for one image of its size."""
    return Count(tuple(_count_node(node) for node in graph.nodes))


def peak_activation(graph: Graph, *, batch: int = 1) -> Peak:
    """The most that a forward pass without gradients keeps alive: a node's inputs, its output and what later
    nodes still need. float32; what an operator needs for itself while it runs is not counted."""
    return max(_moments(graph, batch), key=lambda moment: moment.bytes)


def activation_bytes(graph: Graph, *, batch: int = 1) -> tuple[Value, ...]:
    """The memory of each node's output, float32; 0 where it is the input's own."""
    return tuple(Value(node.index, _activation_floats(node) * FLOAT_BYTES * batch) for node in graph.nodes)


def _count_node(node: Node) -> NodeCount:
    section = node.section
    tensors = section.tensors(*node.inputs)
    has_weights = any(tensor.role == "weight" for tensor in tensors)
    scales = sum(tensor.size for tensor in tensors if tensor.role == "scale" and has_weights)
    parameters = sum(tensor.size for tensor in tensors if tensor.trained)
    return NodeCount(
        number=node.index,
        parameters=parameters,
        parameters_folded=parameters - scales,
        stored_floats=sum(tensor.size for tensor in tensors),
        macs=section.macs(node.shape, *node.inputs),
        bflops=section.bflops(node.shape, *node.inputs),
        activation_floats=_activation_floats(node),
    )


def _activation_floats(node: Node) -> int:
    return 0 if node.section.aliases_input else node.shape.size


def _moments(graph: Graph, batch: int) -> Iterator[Peak]:
    """What is alive while each node runs, in order."""
    owners = _owners(graph)
    last_uses = _last_uses(graph, owners)
    kept = {owners[index] for index in graph.outputs}
    sizes = {-1: graph.image.size * FLOAT_BYTES * batch, **dict(activation_bytes(graph, batch=batch))}
    alive = [-1]
    for node in graph.nodes:
        if owners[node.index] == node.index:
            alive.append(node.index)
        yield Peak(node.index, tuple(Value(index, sizes[index]) for index in alive))
        alive = [index for index in alive if last_uses[index] > node.index or index in kept]


def _owners(graph: Graph) -> dict[int, int]:
    """Whose memory the value of each node is: its own, or that of the node it passes on."""
    owners = {-1: -1}
    for node in graph.nodes:
        owners[node.index] = owners[node.sources[0]] if node.section.aliases_input else node.index
    return owners


def _last_uses(graph: Graph, owners: dict[int, int]) -> dict[int, int]:
    """The last node that reads each memory; its own maker where nobody does."""
    last_uses = dict.fromkeys(owners, -1)
    for node in graph.nodes:
        for read in (node.index, *node.sources):
            last_uses[owners[read]] = node.index
    return last_uses
