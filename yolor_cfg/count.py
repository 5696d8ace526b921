"""What a network costs, from its Graph alone: parameters, multiply-adds, Darknet's BFLOPs, activation memory.

One MAC is one multiply-add; a FLOP is half of one: gflops = 2 * macs / 1e9. Nothing here needs torch.
`count_by_convention` counts as others do, so that their figures can be met to the digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from yolor_cfg.graph import Graph, Node

FLOAT_BYTES = 4
HEADER_BYTES = 20  # of a .weights file: three int32 and a uint64


class NodeCosts(NamedTuple):
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


class GraphCosts(NamedTuple):
    """The costs of every node, in order, and their sums."""

    nodes: tuple[NodeCosts, ...]

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


class NodeMemory(NamedTuple):
    """The output of node `number` (-1: the image) and the memory it takes."""

    number: int
    bytes: int


class PeakMemory(NamedTuple):
    """The moment at which a forward pass holds most: while node `number` runs, these values are alive."""

    number: int
    values: tuple[NodeMemory, ...]

    @property
    def bytes(self) -> int:
        """All that is alive at that moment."""
        return sum(value.bytes for value in self.values)


def count_costs(graph: Graph) -> GraphCosts:
    """The costs of every node of the graph, for one image of its size."""
    return GraphCosts(tuple(_count_node(node) for node in graph.nodes))


def peak_activation(graph: Graph, *, batch: int = 1) -> PeakMemory:
    """The most that a forward pass without gradients keeps alive: a node's inputs, its output and what later
    nodes still need. float32; what an operator needs for itself while it runs is not counted."""
    return max(_memory_steps(graph, batch), key=lambda moment: moment.bytes)


def activation_bytes(graph: Graph, *, batch: int = 1) -> tuple[NodeMemory, ...]:
    """The memory of each node's output, float32; 0 where it is the input's own."""
    return tuple(
        NodeMemory(node.index, _activation_floats(node) * FLOAT_BYTES * batch) for node in graph.nodes
    )


def _count_node(node: Node) -> NodeCosts:
    section = node.section
    tensors = section.tensors(*node.inputs)
    has_weights = any(tensor.role == "weight" for tensor in tensors)
    scales = sum(tensor.size for tensor in tensors if tensor.role == "scale" and has_weights)
    parameters = sum(tensor.size for tensor in tensors if tensor.is_parameter)
    return NodeCosts(
        number=node.index,
        parameters=parameters,
        parameters_folded=parameters - scales,
        stored_floats=sum(tensor.size for tensor in tensors),
        macs=section.macs(node.shape, *node.inputs),
        bflops=section.bflops(node.shape, *node.inputs),
        activation_floats=_activation_floats(node),
    )


def _activation_floats(node: Node) -> int:
    return 0 if node.section.is_alias else node.shape.size


def _memory_steps(graph: Graph, batch: int) -> Iterator[PeakMemory]:
    """What is alive while each node runs, in order."""
    owners = _memory_owners(graph)
    last_uses = _last_uses(graph, owners)
    kept = {owners[index] for index in graph.outputs}
    sizes = {-1: graph.image.size * FLOAT_BYTES * batch, **dict(activation_bytes(graph, batch=batch))}
    alive = [-1]
    for node in graph.nodes:
        if owners[node.index] == node.index:
            alive.append(node.index)
        yield PeakMemory(node.index, tuple(NodeMemory(index, sizes[index]) for index in alive))
        alive = [index for index in alive if last_uses[index] > node.index or index in kept]


def _memory_owners(graph: Graph) -> dict[int, int]:
    """Whose memory the value of each node is: its own, or that of the node it passes on."""
    owners = {-1: -1}
    for node in graph.nodes:
        owners[node.index] = owners[node.sources[0]] if node.section.is_alias else node.index
    return owners


def _last_uses(graph: Graph, owners: dict[int, int]) -> dict[int, int]:
    """The last node that reads each memory; its own maker where nobody does."""
    last_uses = dict.fromkeys(owners, -1)
    for node in graph.nodes:
        for read in (node.index, *node.sources):
            last_uses[owners[read]] = node.index
    return last_uses


class NodeConventionCosts(NamedTuple):
    """What one node costs as somebody counts: parameters, and FLOPs for one image, None where the convention
    has nothing to say of such a section."""

    number: int
    parameters: int
    flops: float | None


class ConventionCosts(NamedTuple):
    """The costs of every node under one convention, and their sums."""

    counting: str
    nodes: tuple[NodeConventionCosts, ...]

    @property
    def parameters(self) -> int:
        """The numbers that this convention takes for parameters."""
        return sum(node.parameters for node in self.nodes)

    @property
    def flops(self) -> float:
        """What this convention calls FLOPs, for one image."""
        return sum(node.flops or 0 for node in self.nodes)

    @property
    def mflops(self) -> float:
        """Millions of FLOPs."""
        return self.flops / 1e6

    @property
    def gflops(self) -> float:
        """Billions of FLOPs."""
        return self.flops / 1e9


def count_by_convention(graph: Graph, counting: str) -> ConventionCosts:
    """The costs of every node as `counting` has them, one of COUNTINGS."""
    rule = COUNTINGS[counting].rule
    return ConventionCosts(
        counting,
        tuple(
            rule(graph, node, cost) for node, cost in zip(graph.nodes, count_costs(graph).nodes, strict=True)
        ),
    )


CONVOLUTION, MATRIX = 4, 2  # dimensions of their weights


class NodeWork(NamedTuple):
    """What the tensors of a node do to one image: numbers that get the bias of a convolution, numbers that a
    batch norm scales. `known` says that the weights are those of convolutions or matrices: what others
    count."""

    biased_count: int
    normalized_count: int
    is_known: bool


def count_work(graph: Graph, node: Node) -> NodeWork:
    """The work of a node, with the tensors of its lender where it has one."""
    lender = node.section.weight_source()
    owner = node if lender is None else graph.nodes[lender]
    tensors = owner.section.tensors(*owner.inputs)
    sizes = {
        role: sum(tensor.size for tensor in tensors if tensor.role == role)
        for role in ("weight", "scale", "bias")
    }
    macs = node.section.macs(node.shape, *node.inputs)
    if not macs or not sizes["weight"]:  # a batch norm by itself, or nothing that anybody else counts
        return NodeWork(
            0, node.shape.size if sizes["scale"] else 0, is_known=not macs and not sizes["weight"]
        )
    positions = macs // sizes["weight"]
    kinds = {len(tensor.shape) for tensor in tensors if tensor.role == "weight"}
    # A batch norm brings a bias of its own, so what is left over belongs to the convolutions.
    biased = (sizes["bias"] - sizes["scale"]) * positions if kinds == {CONVOLUTION} else 0
    return NodeWork(biased, sizes["scale"] * positions, is_known=kinds <= {CONVOLUTION, MATRIX})


def _count_exact(graph: Graph, node: Node, cost: NodeCosts) -> NodeConventionCosts:
    return NodeConventionCosts(node.index, cost.parameters, 2 * cost.macs)


def _count_darknet(graph: Graph, node: Node, cost: NodeCosts) -> NodeConventionCosts:
    flops = None if cost.bflops is None else cost.bflops * 1e9
    return NodeConventionCosts(node.index, cost.parameters, flops)


def _count_paper(graph: Graph, node: Node, cost: NodeCosts) -> NodeConventionCosts:
    done = count_work(graph, node)
    flops = 2 * (cost.macs + done.biased_count + 2 * done.normalized_count) if done.is_known else 0
    return NodeConventionCosts(node.index, cost.parameters, flops + _count_refined_predictions(graph, node))


def _count_refined_predictions(graph: Graph, node: Node) -> int:
    """The predictions that this node multiplies by implicit knowledge: it does so right before a head."""
    before_head = any(head.sources == (node.index,) for head in graph.heads)
    return node.shape.size if node.section.is_multiplier and before_head else 0


def _count_thop(graph: Graph, node: Node, cost: NodeCosts) -> NodeConventionCosts:
    done = count_work(graph, node)
    if not done.is_known:
        return NodeConventionCosts(node.index, 0, 0)
    tensors = node.section.tensors(*node.inputs)
    parameters = sum(tensor.size for tensor in tensors if tensor.role in ("weight", "scale", "bias"))
    moved = node.section.thop_operations(node.shape, *node.inputs)
    return NodeConventionCosts(node.index, parameters, 2 * (cost.macs + 4 * done.normalized_count + moved))


class CountingConvention(NamedTuple):
    """A way of counting: in words, and node by node."""

    description: str
    rule: Callable[[Graph, Node, NodeCosts], NodeConventionCosts]


COUNTINGS: Mapping[str, CountingConvention] = {
    "exact": CountingConvention("2 a multiply-add", _count_exact),
    "darknet": CountingConvention("as C Darknet prints them", _count_darknet),
    # Tables 7, A1 to A3 of arXiv 2105.04206: thop 0.0.31 of 2020, and 1 for each refined prediction.
    "paper": CountingConvention(
        "2 x (multiply-adds + biases added + 2 x numbers normalised) + predictions multiplied", _count_paper
    ),
    "thop": CountingConvention(
        "2 x what thop 0.1.1 counts; its parameters are without implicit ones", _count_thop
    ),
}
