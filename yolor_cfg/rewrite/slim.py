"""A network without the filters that matter least: fewer channels, the same layers.

By batch norm: Network Slimming (arXiv 1708.06519), a channel matters as its gain, over the whole network. By
l1: Pruning Filters (arXiv 1608.08710), as the sum of its weights; over the whole network in units of the mean
of its layer. An implicit value matters as it is, if it is added; if it multiplies, it does not. A filter
whose channel is only a factor of others has no say if they matter less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.rewrite.channel_ties import (
    Hold,
    TiedFilters,
    find_ties,
    has_rows,
    is_depthwise,
    is_plain_convolution,
    is_vector,
)

MOST_NAMED = 4  # layers that are named as a cause
LEAST_SHARE = 0.1  # of its filters that each layer keeps, rounded up


class SlimNetwork(NamedTuple):
    """The smaller network, in eval mode; of each old layer the channels that stay; how many filters there
    were, how many could go, how many went, and how many have to stay for which cause."""

    network: Network
    kept: Mapping[int, tuple[int, ...]]
    filters: int
    free: int
    removed: int
    held: Mapping[Hold, int]

    @property
    def text(self) -> str:
        """The cfg of the smaller network."""
        return self.network.graph.document.text


def slim(network: Network, ratio: float, *, by: str = "bn") -> SlimNetwork:
    """The network without `ratio` (0 to 1) of the filters that can go, those that matter least by "bn" or
    "l1"; filters whose channels are added to each other go together. Raises CfgError if none can go."""
    ties = find_ties(network)
    tied = [group for group in ties.groups_of(_score_layers(network, by)) if _count_filters(network, group)]
    groups = [group for group in tied if group.cause is None]
    held = _count_held(network, tied)
    free = sum(_count_filters(network, group) for group in groups)
    if not free:
        raise _nothing_error(network, held, by)
    chosen = _choose_groups(network, groups, wanted=round(ratio * free))
    gone = {group.root for group in chosen}
    kept = {
        layer: tuple(row for row, channel in enumerate(channels) if ties.root(channel) not in gone)
        for layer, channels in ties.channels.items()
    }
    removed = sum(_count_filters(network, group) for group in chosen)
    return SlimNetwork(_build(network, kept), kept, free + held.total(), free, removed, held)


def _count_filters(network: Network, group: TiedFilters) -> int:
    """How many of tied rows are filters, not implicit values."""
    return sum(not is_vector(network.module_list[made.layer]) for made in group.filters)


def _count_held(network: Network, tied: Sequence[TiedFilters]) -> Counter[Hold]:
    """How many filters have to stay, by cause."""
    held = Counter[Hold]()
    for group in tied:
        if group.cause is not None:
            held[group.cause] += _count_filters(network, group)
    return held


def _nothing_error(network: Network, held: Mapping[Hold, int], by: str) -> CfgError:
    need = "; with --by bn they need batch_normalize=1" if by == "bn" else ""
    return CfgError(
        "no filter of this network can go",
        path=network.graph.path,
        found="; ".join([f"--by {by}", *describe_held(held)]),
        hint=f"filters can go whose channels reach convolutions alone{need}",
    )


def describe_held(held: Mapping[Hold, int]) -> list[str]:
    """Why filters stay, the most first: `765: [yolo] needs them (#82, #94, #106)`."""
    layers: dict[str, list[int]] = {}
    counts = Counter[str]()
    for (layer, reason), count in sorted(held.items()):
        layers.setdefault(reason, []).append(layer)
        counts[reason] += count
    return [f"{count:,}: {reason} ({_list_layers(layers[reason])})" for reason, count in counts.most_common()]


def _list_layers(layers: Sequence[int]) -> str:
    """`#82, #94, #106 and 2 more`."""
    more = f" and {len(layers) - MOST_NAMED} more" if len(layers) > MOST_NAMED else ""
    return ", ".join(f"#{layer}" for layer in layers[:MOST_NAMED]) + more


def _score_layers(network: Network, by: str) -> dict[int, list[float]]:
    """How much each filter matters, for the layers where that can be told."""
    found = {node.index: _score_filters(network, node.index, by) for node in network.graph.nodes}
    return {index: scores.tolist() for index, scores in found.items() if scores is not None}


def _score_filters(network: Network, index: int, by: str) -> Tensor | None:
    """How much each row of a layer matters, [filters]; None where that cannot be told."""
    module: Any = network.module_list[index]
    if is_vector(module):
        values: Tensor = module.implicit.detach().abs().double()  # [tasks, filters, 1, 1]
        return values.amax(0).flatten()
    if not has_rows(module):
        return None
    if by == "bn":
        return module.norm.weight.detach().abs().double() if module.has_norm else None
    weights: Tensor = getattr(module, module.conv_name).weight.detach().double()  # [D, C, size, size]
    sums = weights.abs().sum((1, 2, 3))
    return sums / sums.mean().clamp(min=torch.finfo(sums.dtype).tiny)


def _choose_groups(network: Network, groups: Sequence[TiedFilters], *, wanted: int) -> list[TiedFilters]:
    """The groups that go, from the one that matters least on, until they have as many filters as wanted."""
    left = Counter({node.index: node.shape.channels for node in network.graph.nodes})
    least = {index: math.ceil(LEAST_SHARE * count) for index, count in left.items()}
    chosen: list[TiedFilters] = []
    for group in sorted(groups, key=lambda group: (group.worth, group.root)):
        taken, count = Counter(one.layer for one in group.filters), _count_filters(network, group)
        if count <= wanted and all(left[one] - taken[one] >= least[one] for one in taken):
            left -= taken
            wanted -= count
            chosen.append(group)
    return chosen


def _build(network: Network, kept: Mapping[int, tuple[int, ...]]) -> Network:
    graph = network.graph
    text = apply_text_edits(graph.document, _edit_filters(network, kept))
    size = (graph.image.height, graph.image.width) if graph.image.area > 1 else None
    reading = ReadOptions(graph.dialect.name, size, bn_eps=graph.dialect.bn_eps)
    dtype = next(network.parameters()).dtype
    small = Network(build_graph(parse(text, graph.path), reading)).to(dtype).eval()
    for node, old, new in zip(graph.nodes, network.module_list, small.module_list, strict=True):
        tensors = old.state_dict()
        if has_rows(old):
            rows = torch.tensor(kept[node.index])
            columns = torch.tensor(kept[node.sources[0]]) if is_plain_convolution(old) else None
            axis = 1 if is_vector(old) else 0  # the rows of implicit values are tasks
            tensors = {name: _take(tensor, rows, columns, axis=axis) for name, tensor in tensors.items()}
        new.load_state_dict(tensors)
    return small


def _edit_filters(network: Network, kept: Mapping[int, tuple[int, ...]]) -> TextEdits:
    edits = TextEdits.nothing()
    for node, module in zip(network.graph.nodes, network.module_list, strict=True):
        stay = len(kept[node.index])
        if not has_rows(module) or stay == node.shape.channels:
            continue
        for key in ("filters", "groups") if is_depthwise(module) else ("filters",):
            edits.set_key(node.section.raw, node.section.lines, (key, str(stay)))
    return edits


def _take(tensor: Tensor, rows: Tensor, columns: Tensor | None, *, axis: int) -> Tensor:
    """The rows of a tensor along an axis, and the columns of a kernel [D, C, size, size]; a number as it
    is."""
    if tensor.dim() == 0:
        return tensor
    taken = tensor.index_select(axis, rows.to(tensor.device))
    return taken[:, columns.to(tensor.device)] if columns is not None and tensor.dim() > 1 else taken
