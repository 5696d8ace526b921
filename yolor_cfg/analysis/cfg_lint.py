"""What is valid in a cfg, and hardly meant, as far as only the whole of it tells: for `yolor cfg check`.

A *fault* makes the network or its training other than the text suggests; what has no effect, or what real
networks do on purpose, is a note. Each kind was counted over hundreds of published cfgs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from yolor_cfg.analysis.anchor_edit import HeadAnchors
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph
from yolor_cfg.sections import Section
from yolor_cfg.sections.manual import format_value
from yolor_cfg.shape import WidthHeight

POLICIES = {
    "steps": ("steps", "sgdr"),
    "scales": ("steps",),
    "step": ("step", "sigmoid"),
    "scale": ("step",),
    "gamma": ("exp", "sigmoid"),
    "sgdr_cycle": ("sgdr",),
    "sgdr_mult": ("sgdr",),
    "learning_rate_min": ("sgdr",),
}
"""The policies that go by a key of [net]."""
ADAM_KEYS = ("B1", "B2", "eps")
MOST_CELLS = 2  # sides of the map: no anchor of [region] is that large, unless it is in pixels
LEAST_CELLS = 0.5  # sides of a cell: no anchor of [yolo] is that small at all levels, unless it is in cells


class Finding(NamedTuple):
    """What is odd, where, and whether it is a fault or a note."""

    error: CfgError
    is_fault: bool


def lint_graph(graph: Graph) -> list[Finding]:
    """The faults and notes that loading the graph does not tell, by line."""
    found = [finding for rule in RULES for finding in rule(graph)]
    return sorted(found, key=lambda finding: finding.error.line)


def _find_dead_layers(graph: Graph) -> Iterator[Finding]:
    """Layers that lead to nothing that is given out, although another layer reads them: that this one is read
    by nothing is told when the file is loaded."""
    live = {*graph.outputs, *(node.index for node in graph.nodes if node.section.is_loss)}
    read = {source for node in graph.nodes for source in node.sources}
    for node in reversed(graph.nodes):
        told = (node.section.weight_source(), node.section.reference())
        if node.index in live:
            live.update(node.sources, (one for one in told if one is not None))
    for node in graph.nodes:
        if node.index not in live and node.index in read:
            hint = "delete it with them, or name one of them in `layers` or `from`"
            yield _fault(node.section, "", "only layers that lead nowhere read this one", hint=hint)


def _find_odd_sizes(graph: Graph) -> Iterator[Finding]:
    """A side of the image that ends within a cell of a detector's coarsest map."""
    if not any("anchors" in node.section.keys for node in graph.heads):
        return
    stride = graph.largest_stride
    for key, length in (("width", graph.image.width), ("height", graph.image.height)):
        if length % stride:
            near = length // stride * stride
            yield _note(
                graph.net,
                key,
                f"does not divide by {stride}, the largest stride",
                found=str(length),
                allowed=[str(size) for size in (near, near + stride) if size],
                hint="the last cells lie partly outside the image",
            )


def _find_odd_anchors(graph: Graph) -> Iterator[Finding]:
    """Anchors in another unit, at another level than their size, of another image, or of no head."""
    nodes = [node for node in graph.heads if "anchors" in node.section.values]
    heads = [HeadAnchors(node, graph.stride(node.index)[::-1]) for node in nodes]
    masked = [head for head in heads if head.has_mask]
    for head in heads:
        largest = max(head.section.anchors)
        if not head.has_mask and largest > MOST_CELLS * max(head.node.shape[1:]):
            yield _fault(
                head.section,
                "anchors",
                "larger than any object: anchors of [region] are in cells",
                found=f"{largest:g} in a map of {head.node.shape.width}x{head.node.shape.height}",
                hint=f"divide pixels by {head.stride[0]:g}",
            )
    if masked and all(max(map(max, _sizes_of(head)), default=0) < _least_side(head) for head in masked):
        hint = "multiply cells by the stride of the head"
        what = "smaller than any object: anchors are in pixels here"
        yield _fault(masked[0].section, "anchors", what, hint=hint)
    yield from _find_odd_levels(masked)
    if masked and all(head.section.anchors == masked[0].section.anchors for head in masked):
        yield from _find_odd_masks(graph, masked)


def _sizes_of(head: HeadAnchors) -> list[WidthHeight]:
    """Width and height in pixels of each anchor of a head that its list has."""
    listed = head.list_slots
    return [listed[number].size_in_pixels for number in head.mask if number < len(listed)]


def _least_side(head: HeadAnchors) -> float:
    return LEAST_CELLS * min(head.stride)


def _find_odd_levels(masked: Sequence[HeadAnchors]) -> Iterator[Finding]:
    """Heads whose anchors are smaller than those of a head with smaller cells."""
    for finer, coarser in pairwise(sorted(masked, key=lambda head: head.cell_area)):
        if finer.cell_area < coarser.cell_area and _mean_area(finer) > _mean_area(coarser):
            told = (f"{format_value(head.mask)} at stride {head.stride[0]:g}" for head in (coarser, finer))
            yield _fault(
                coarser.section,
                "mask",
                "smaller anchors than those of a head with smaller cells",
                found="; ".join(told),
                hint="the largest anchors belong to the head with the largest stride",
            )


def _mean_area(head: HeadAnchors) -> float:
    areas = [width * height for width, height in _sizes_of(head)]
    return sum(areas) / max(len(areas), 1)


def _find_odd_masks(graph: Graph, masked: Sequence[HeadAnchors]) -> Iterator[Finding]:
    """Of the one list of all heads: anchors of no head, of two, and those larger than the image."""
    masks = dict.fromkeys(head.mask for head in masked)  # auxiliary heads have that of another one
    used = [number for mask in masks for number in mask]
    sizes = [slot.size_in_pixels for slot in masked[0].list_slots]
    width, height = graph.image.width, graph.image.height
    unused = set(range(len(sizes))) - set(used)
    shared = {number for number in used if used.count(number) > 1}
    large = {number for number, size in enumerate(sizes) if size[0] > width or size[1] > height}
    for key, numbers, message in (
        ("mask", unused, "anchors that are in no mask"),
        ("mask", shared, "anchors that are in the masks of two heads"),
        ("anchors", large & set(used), "anchors larger than the image"),
    ):
        if numbers:
            found = f"numbers {format_value(sorted(numbers))}"
            yield _note(masked[0].section, key, message, found=found)


def _find_head_activations(graph: Graph) -> Iterator[Finding]:
    """Convolutions before heads with an activation that the head does not expect."""
    for node in (one for one in graph.box_heads if "anchors" in one.section.keys):
        source = graph.nodes[node.sources[0]].section if node.sources[0] >= 0 else node.section
        activation = getattr(source, "activation", None)
        wanted = "logistic" if getattr(node.section, "new_coords", False) else "linear"
        if activation not in (None, wanted):
            own = f"[{node.section.type}] applies its own"
            why = "with new_coords=1 the head applies none" if wanted == "logistic" else own
            yield _fault(
                source,
                "activation",
                "not what the head behind it expects",
                found=activation,
                allowed=wanted,
                hint=why,
            )


def _find_schedule_faults(graph: Graph) -> Iterator[Finding]:
    """Iterations at which nothing can happen, in programs that train by [net]."""
    net = graph.net
    if not graph.dialect.reads_schedule:
        return
    end = f"max_batches={net.max_batches}"
    if 0 < net.max_batches <= net.burn_in:
        yield _fault(net, "burn_in", "the warm-up outlasts the training", found=f"{net.burn_in}, {end}")
    if net.policy not in POLICIES["steps"]:
        return
    late = [step for step in net.steps if 0 < net.max_batches <= step]
    if late:
        yield _fault(net, "steps", "never reached", found=f"{format_value(tuple(late))}; {end}")
    if list(net.steps) != sorted(net.steps):
        hint = "a step takes effect with the one before it, whatever its number is"
        yield _fault(net, "steps", "not in rising order", found=format_value(net.steps), hint=hint)


def _find_idle_net_keys(graph: Graph) -> Iterator[Finding]:
    """Keys of [net] that another of its keys switches off."""
    net = graph.net
    if not graph.dialect.reads_schedule:
        return
    given = net.values.keys()
    for key, policies in POLICIES.items():
        if key in given and net.policy not in policies:
            make = _fault if key in ("steps", "scales") else _note
            wanted = " or ".join(f"policy={policy}" for policy in policies)
            yield make(net, key, f"has no effect with policy={net.policy}", hint=f"it belongs to {wanted}")
    for key, (is_idle, why) in IDLE_NET_KEYS.items():
        if key in given and is_idle(net):
            yield _note(net, key, "has no effect", hint=why)


IDLE_NET_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(ADAM_KEYS, (lambda net: not net.adam, "it belongs to adam=1")),
    "power": (
        lambda net: net.policy not in ("poly", "random") and not net.burn_in,
        "it belongs to burn_in, policy=poly and policy=random",
    ),
    "mosaic_bound": (lambda net: not net.mosaic, "it belongs to mosaic=1"),
}
IDLE_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "padding": (lambda section: section.values.get("pad"), "pad=1 counts instead"),
    "bin_output": (lambda section: not section.values.get("xnor"), "it belongs to xnor=1"),
}
"""Keys that another key of their section switches off: when, and why."""


def _find_idle_keys(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        section = node.section
        for key in IDLE_KEYS.keys() & section.values.keys():
            is_idle, why = IDLE_KEYS[key]
            if is_idle(section) and section.values[key] != section.keys[key].default:
                yield _note(section, key, "has no effect", found=section.lines[key].value, hint=why)


RULES: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    _find_dead_layers,
    _find_odd_sizes,
    _find_odd_anchors,
    _find_head_activations,
    _find_schedule_faults,
    _find_idle_net_keys,
    _find_idle_keys,
)


def _fault(section: Section, key: str, message: str, /, **details: Any) -> Finding:
    return Finding(section.error(key, message, **details), is_fault=True)


def _note(section: Section, key: str, message: str, /, **details: Any) -> Finding:
    return Finding(section.error(key, message, **details), is_fault=False)
