"""The network of one task, out of one that serves several: its heads, what they read, and the values of its
own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from yolor_cfg.count import holds_task_values
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, Node, ReadOptions, build_graph
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.lists import RefList
from yolor_cfg.lang.syntax import ENTRY, Document, RawSection, parse
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import ImplicitModel

NUMBER_KEYS = ("share_index",)
"""Keys that hold the number of one section, besides lists of such numbers."""
VALUE_KEYS = ("filters", "atoms")
"""What the cfg says of an implicit value that is a plain tensor."""
LEARNING_KEYS = ("embedding_layer",)
"""Keys that refer to a section in training alone."""


def task_note(graph: Graph) -> tuple[str, ...]:
    """What to tell of a network that runs without a task being chosen."""
    known = ", ".join(graph.tasks)
    if holds_task_values(graph):
        return (f"this network has values for the tasks {known}: --task chooses; now {graph.tasks[0]}",)
    if len({head.section.task for head in graph.heads}) > 1:
        return (f"the heads of all tasks ({known}) run together, with one list of names: --task chooses",)
    return ()


def choose_graph(graph: Graph, task: str) -> Graph:
    """The graph of the network of a task. Raises CfgError if no head serves the task."""
    with torch.device("meta"):
        return select_task(Network(graph), task).graph


def select_task(network: Network, task: str) -> Network:
    """The network of a task, in eval mode: the heads that serve it, what they read, and of each implicit
    section the value of this task. It names no tasks any more; its tensors share the memory of those of
    `network`. Raises CfgError if no head serves the task."""
    graph = network.graph
    neutral = {node.index for node in graph.nodes if _is_neutral(network, node, task)}
    kept = _find_needed(graph, task, neutral)
    with torch.device("meta"):
        chosen = Network(_make_graph(graph, kept, neutral))
    chosen.load_state_dict(dict(_tensors(network, kept, task)), assign=True)
    for layer, index in zip(chosen.module_list, kept, strict=True):
        for name, buffer in network.module_list[index].named_buffers():
            owner, _, last = name.rpartition(".")
            setattr(layer.get_submodule(owner), last, buffer)
    return chosen.eval()


def network_of_task(network: Network, task: str) -> Network:
    """The network of this task, or for "" the network itself."""
    return select_task(network, task) if task else network


def _is_neutral(network: Network, node: Node, task: str) -> bool:
    """Whether it is an implicit section that has values for other tasks alone."""
    served = node.section.task
    return isinstance(network.module_list[node.index], ImplicitModel) and bool(served) and task not in served


def _find_needed(graph: Graph, task: str, neutral: set[int]) -> list[int]:
    """The sections that the heads of the task are computed from, in order."""
    heads = [head.index for head in graph.heads if not head.section.task or task in head.section.task]
    if task not in graph.tasks or not heads:
        raise CfgError(
            "no head serves this task", path=graph.path, found=task, allowed=", ".join(graph.tasks) or "none"
        )
    needed, waiting = set(heads), list(heads)
    while waiting:
        node = graph.nodes[waiting.pop()]
        lender = node.section.weight_source()
        sources = () if node.index in neutral else node.sources
        sources += () if lender is None else (lender,)
        waiting += (index for index in sources if index >= 0 and index not in needed)
        needed.update(index for index in sources if index >= 0)
    return sorted(needed)


def _make_graph(graph: Graph, kept: list[int], neutral: set[int]) -> Graph:
    """The graph of these sections alone; `neutral` are constants in it."""
    document, edits = graph.document, TextEdits.nothing()
    numbers = {old: new for new, old in enumerate(kept)}
    for index in kept:
        _renumber(graph.nodes[index], numbers, edits)
    layers = tuple(_keep_lines(graph.nodes[index], is_plain=index in neutral) for index in kept)
    shorter = Document(document.path, document.prelude, (document.net, *layers), document.encoding)
    size = (graph.image.height, graph.image.width) if graph.image.area > 1 else None
    text = apply_text_edits(shorter, edits)
    eps = graph.dialect.bn_eps
    return build_graph(parse(text, graph.path), ReadOptions(graph.dialect.name, size, bn_eps=eps))


def _keep_lines(node: Node, *, is_plain: bool) -> RawSection:
    """The section without the keys that name tasks; of a plain value the size alone."""
    raw = node.section.raw
    left_out = {"task", *LEARNING_KEYS}
    if is_plain:
        left_out |= {line.key for line in raw.entries} - {*VALUE_KEYS}
    lines = [line for line in raw.lines if line.kind != ENTRY or line.key not in left_out]
    return RawSection(raw.name, raw.line, lines)


def _renumber(node: Node, numbers: dict[int, int], edits: TextEdits) -> None:
    """Let its references name the same sections by their new numbers; relative ones stay relative."""
    section, here = node.section, node.index
    for key, line in section.lines.items():
        value = section.values.get(key)
        if not isinstance(section.keys.get(key), RefList) and key not in NUMBER_KEYS:
            continue
        references = value if isinstance(value, tuple) else (value,)
        edits.values[line.number] = ",".join(
            str(numbers[here + one] - numbers[here] if one < 0 else numbers[one])
            for one in references
            if (here + one if one < 0 else one) in numbers
        )


def _tensors(network: Network, kept: list[int], task: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of these sections by their new names."""
    for new, old in enumerate(kept):
        layer = network.module_list[old]
        held = layer.values_of(task) if isinstance(layer, ImplicitModel) else layer.state_dict()
        yield from ((f"module_list.{new}.{name}", tensor) for name, tensor in held.items())
