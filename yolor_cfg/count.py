"""What a network costs, from its Graph alone: parameters, multiply-adds, Darknet's BFLOPs, activation memory.

One MAC is one multiply-add, which is two FLOPs: gflops = 2 * macs / 1e9. Nothing here needs torch.
`count_by_convention` counts as others do, to reproduce their figures to the digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from yolor_cfg.graph import Graph, Node

FLOAT_BYTES = 4
HEADER_BYTES = 20  # of a .weights file: three int32 and a uint64
SHORT_HEADER_BYTES = 16  # with a uint32


class NodeCosts(NamedTuple):
    """What one node costs for one image.

    `parameters` counts trained numbers, `stored_floats` those in a weights file, running statistics
    included. `bflops` is what C Darknet prints, None if it has no such section.
    """

    number: int
    parameters: int
    parameters_folded: int
    stored_floats: int
    macs: int
    bflops: float | None
    activation_floats: int  # 0 if the output shares the input's memory


class GraphCosts(NamedTuple):
    """The costs of every node, in order, and their sums."""

    nodes: tuple[NodeCosts, ...]
    header_bytes: int = HEADER_BYTES

    @property
    def parameters(self) -> int:
        """Trained numbers, including implicit ones but not running statistics."""
        return sum(node.parameters for node in self.nodes)

    @property
    def parameters_folded(self) -> int:
        """Trained numbers once each batch norm is folded into the weights before it: its scales vanish, its
        offsets become the bias. A batch norm on its own stays."""
        return sum(node.parameters_folded for node in self.nodes)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(node.macs for node in self.nodes)

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations for one image, two per multiply-add."""
        return 2 * self.macs / 1e9

    @property
    def bflops(self) -> float:
        """The sum of what C Darknet prints; sections it does not have add nothing."""
        return sum(node.bflops or 0.0 for node in self.nodes)

    @property
    def weights_bytes(self) -> int:
        """The size of the `.weights` file."""
        return self.header_bytes + FLOAT_BYTES * sum(node.stored_floats for node in self.nodes)


class NodeMemory(NamedTuple):
    """The output of node `number` (-1: the image) and the memory it takes."""

    number: int
    bytes: int


class PeakMemory(NamedTuple):
    """The moment of peak memory in a forward pass: while node `number` runs, these values are alive."""

    number: int
    values: tuple[NodeMemory, ...]

    @property
    def bytes(self) -> int:
        """The total of all values alive at that moment."""
        return sum(value.bytes for value in self.values)


def count_costs(graph: Graph) -> GraphCosts:
    """The costs of every node of the graph, for one image of its size."""
    return GraphCosts(
        tuple(NodeCosts(node.index, *node.derive(count_node)[1:]) for node in graph.nodes),
        SHORT_HEADER_BYTES if graph.dialect.has_short_header else HEADER_BYTES,
    )


def peak_activation(graph: Graph, *, batch: int = 1) -> PeakMemory:
    """The peak memory of a forward pass without gradients: a node's inputs, its output and what later nodes
    still need. float32; the temporary memory of an operator is not counted."""
    return max(_memory_steps(graph, batch), key=lambda moment: moment.bytes)


def activation_bytes(graph: Graph, *, batch: int = 1) -> tuple[NodeMemory, ...]:
    """The memory of each node's output, float32; 0 if it shares the input's."""
    return tuple(
        NodeMemory(node.index, _activation_floats(node) * FLOAT_BYTES * batch) for node in graph.nodes
    )


def count_node(node: Node) -> NodeCosts:
    """The costs of a node; where it is derived, the number may be that of an equal one."""
    section, tensors = node.section, node.tensors
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
    """The node that owns the memory of each node's value: itself, or the node it passes on."""
    owners = {-1: -1}
    for node in graph.nodes:
        owners[node.index] = owners[node.sources[0]] if node.section.is_alias else node.index
    return owners


def _last_uses(graph: Graph, owners: dict[int, int]) -> dict[int, int]:
    """The last node that reads each owner's memory; the owner itself if none does."""
    last_uses = dict.fromkeys(owners, -1)
    for node in graph.nodes:
        for read in (node.index, *node.sources):
            last_uses[owners[read]] = node.index
    return last_uses


class TaskCosts(NamedTuple):
    """What a task costs for one image: the parameters that serve it alone, of them its values in implicit
    sections, and multiply-adds; and all that it needs when it runs alone."""

    task: str
    parameters: int
    values: int
    macs: int
    parameters_needed: int
    macs_needed: int


def count_tasks(graph: Graph) -> tuple[TaskCosts, ...]:
    """The costs of each task that the cfg names, in its order."""
    served, costs = find_served_tasks(graph), count_costs(graph).nodes
    return tuple(_count_task(graph, task, tuple(zip(served, costs, strict=True))) for task in graph.tasks)


def holds_task_values(graph: Graph) -> bool:
    """Whether an implicit section has values for tasks of its own, so that what it computes depends on the
    task."""
    return any(node.section.values_by_task(node.tensors) for node in graph.nodes)


def find_served_tasks(graph: Graph) -> tuple[frozenset[str], ...]:
    """For each node the tasks that need it: those that its `task=` names, else those of all that read it. A
    head that names none serves every task."""
    found = [frozenset[str]() for _ in graph.nodes]
    for node in reversed(graph.nodes):
        everyone = frozenset(graph.tasks) if node.index in graph.outputs else frozenset[str]()
        found[node.index] = frozenset(node.section.task) or found[node.index] | everyone
        lender = node.section.weight_source()
        for source in (*node.sources, *(() if lender is None else (lender,))):
            if source >= 0:
                found[source] |= found[node.index]
    return tuple(found)


def _count_task(graph: Graph, task: str, served: tuple[tuple[frozenset[str], NodeCosts], ...]) -> TaskCosts:
    own = values = macs = needed = macs_needed = 0
    for node, (tasks, cost) in zip(graph.nodes, served, strict=True):
        if task not in tasks:
            continue
        each = node.section.values_by_task(node.tensors)
        common = cost.parameters - each * len(node.section.task)
        is_own = tasks == {task}
        own += each + common * is_own
        values += each
        macs += cost.macs * is_own
        needed += each + common
        macs_needed += cost.macs
    return TaskCosts(task, own, values, macs, needed, macs_needed)


class NodeConventionCosts(NamedTuple):
    """What one node costs under a convention: parameters, and FLOPs for one image, None if the convention
    does not cover such a section."""

    number: int
    parameters: int
    flops: float | None


class ConventionCosts(NamedTuple):
    """The costs of every node under one convention, who counted them, and their sums."""

    counting: str
    nodes: tuple[NodeConventionCosts, ...]
    counter: str = "our rules"

    @property
    def parameters(self) -> int:
        """The number of parameters by this convention."""
        return sum(node.parameters for node in self.nodes)

    @property
    def flops(self) -> float:
        """FLOPs for one image by this convention."""
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
    """The costs of every node by the convention `counting`, one of COUNTINGS."""
    rule = COUNTINGS[counting].rule
    return ConventionCosts(
        counting,
        tuple(
            rule(graph, node, cost) for node, cost in zip(graph.nodes, count_costs(graph).nodes, strict=True)
        ),
    )


CONVOLUTION, MATRIX = 4, 2  # dimensions of the weight tensor


class NodeWork(NamedTuple):
    """What the tensors of a node do to one image: numbers to which a convolution adds its bias, numbers that
    a batch norm scales. `is_known` is True if all weights are those of convolutions or matrices, which others
    count."""

    biased_count: int
    normalized_count: int
    is_known: bool


def count_work(graph: Graph, node: Node) -> NodeWork:
    """The work of a node; with shared weights, by the tensors of the node that owns them."""
    lender = node.section.weight_source()
    owner = node if lender is None else graph.nodes[lender]
    tensors = owner.tensors
    sizes = {
        role: sum(tensor.size for tensor in tensors if tensor.role == role)
        for role in ("weight", "scale", "bias")
    }
    macs = node.section.macs(node.shape, *node.inputs)
    if not macs or not sizes["weight"]:  # a batch norm on its own, or nothing that others count
        return NodeWork(
            0, node.shape.size if sizes["scale"] else 0, is_known=not macs and not sizes["weight"]
        )
    positions = macs // sizes["weight"]
    kinds = {len(tensor.shape) for tensor in tensors if tensor.role == "weight"}
    # A batch norm has a bias of its own, so the remaining biases belong to the convolutions.
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


THOP_MACS = "2 for each multiply-add"
THOP_UNSEEN = "multiply-adds outside the modules that thop has rules for"
THOP_NORMS = "8 for each number that a batch norm scales"


def thop_terms(graph: Graph, node: Node) -> dict[str, float]:
    """The terms of thop's FLOPs of a node by their reason: twice its multiply-adds, and what differs."""
    macs, done = node.section.macs(node.shape, *node.inputs), count_work(graph, node)
    operations = {
        THOP_MACS: macs,
        THOP_UNSEEN: count_thop_macs(graph, node) - macs,
        THOP_NORMS: 4 * done.normalized_count if done.is_known else 0,
        node.section.thop_reason: node.section.thop_operations(node.shape, *node.inputs),
    }
    return {reason: 2 * count for reason, count in operations.items() if count}


def count_thop_macs(graph: Graph, node: Node) -> int:
    """The multiply-adds of modules of torch; a convolution with the weights of another node calls none, and
    one of signs is a kind that thop does not know."""
    if not count_work(graph, node).is_known or node.section.weight_source() is not None:
        return 0
    return 0 if node.section.values.get("xnor") else node.section.macs(node.shape, *node.inputs)


def explain_thop(graph: Graph) -> dict[str, tuple[NodeConventionCosts, ...]]:
    """The terms of all nodes by their reason; together they are thop's FLOPs."""
    found: dict[str, list[NodeConventionCosts]] = {}
    for node in graph.nodes:
        for reason, flops in thop_terms(graph, node).items():
            found.setdefault(reason, []).append(NodeConventionCosts(node.index, 0, flops))
    return {reason: tuple(nodes) for reason, nodes in found.items()}


def _count_thop(graph: Graph, node: Node, cost: NodeCosts) -> NodeConventionCosts:
    flops = sum(thop_terms(graph, node).values())
    is_known = count_work(graph, node).is_known
    tensors = node.tensors if is_known else []
    sizes = {role: sum(t.size for t in tensors if t.role == role) for role in ("weight", "scale", "bias")}
    return NodeConventionCosts(
        node.index, 2 * sizes["scale"] if node.section.values.get("xnor") else sum(sizes.values()), flops
    )


class CountingConvention(NamedTuple):
    """A way of counting: a description and a rule for each node."""

    description: str
    rule: Callable[[Graph, Node, NodeCosts], NodeConventionCosts]


COUNTINGS: Mapping[str, CountingConvention] = {
    "exact": CountingConvention("2 per multiply-add", _count_exact),
    "darknet": CountingConvention("as C Darknet prints them", _count_darknet),
    # Tables 7, A1 to A3 of arXiv 2105.04206: thop 0.0.31 of 2020, and 1 for each refined prediction.
    "paper": CountingConvention(
        "2 x (multiply-adds + biases added + 2 x numbers normalised) + predictions multiplied", _count_paper
    ),
    "thop": CountingConvention(
        "2 x what thop 0.1.1 counts; its parameters exclude the implicit ones", _count_thop
    ),
}
