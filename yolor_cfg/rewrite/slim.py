"""A network without the filters that matter least: fewer channels, the same layers.

By batch norm: Network Slimming (arXiv 1708.06519), a channel matters as its gain, over the whole network. By
l1: Pruning Filters (arXiv 1608.08710), as the sum of its weights; over the whole network in units of the mean
of its layer. An implicit value matters as it is, if it is added; if it multiplies, it does not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Node, ReadOptions, build_graph
from yolor_cfg.lang.edit import TextEdits, apply_text_edits
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import VectorCombine, control, select
from yolor_cfg.rewrite.channel_ties import (
    Filter,
    TiedFilters,
    find_ties,
    has_rows,
    is_depthwise,
    is_plain_convolution,
    is_vector,
)

LEAST_SHARE = 0.1  # of its filters that each layer keeps, rounded up


class SlimNetwork(NamedTuple):
    """The smaller network, in eval mode; of each old layer the channels that stay; how many filters there
    were, how many could go, and how many went."""

    network: Network
    kept: Mapping[int, tuple[int, ...]]
    filters: int
    free: int
    removed: int

    @property
    def text(self) -> str:
        """The cfg of the smaller network."""
        return self.network.graph.document.text


def slim(network: Network, ratio: float, *, by: str = "bn") -> SlimNetwork:
    """The network without `ratio` (0 to 1) of the filters that can go, those that matter least by "bn" or
    "l1"; filters whose channels are added to each other go together. Raises CfgError if none can go."""
    ties, scores = find_ties(network), _score_layers(network, by)
    tied = ties.groups_of(scores.keys())
    groups = {root: group for root, group in tied.items() if _count_filters(network, group)}
    free = sum(_count_filters(network, group) for group in groups.values())
    if not free:
        raise _nothing_error(network, by)
    chosen = _choose_groups(network, groups, scores, wanted=round(ratio * free))
    kept = {
        layer: tuple(row for row, channel in enumerate(channels) if ties.root(channel) not in chosen)
        for layer, channels in ties.channels.items()
    }
    removed = sum(_count_filters(network, groups[root]) for root in chosen)
    filters = sum(len(rows) for layer, rows in scores.items() if not is_vector(network.module_list[layer]))
    return SlimNetwork(_build(network, kept), kept, filters, free, removed)


def _count_filters(network: Network, group: Sequence[Filter]) -> int:
    """How many of tied rows are filters, not implicit values."""
    return sum(not is_vector(network.module_list[made.layer]) for made in group)


def _nothing_error(network: Network, by: str) -> CfgError:
    need = "; with --by bn they need batch_normalize=1" if by == "bn" else ""
    return CfgError(
        "no filter of this network can go",
        path=network.graph.path,
        found=f"--by {by}",
        hint=f"filters can go whose channels reach convolutions alone{need}",
    )


def _score_layers(network: Network, by: str) -> dict[int, list[float]]:
    """How much each filter matters, for the layers where that can be told."""
    found = {node.index: _score_filters(network, node.index, by) for node in network.graph.nodes}
    return {index: scores.tolist() for index, scores in found.items() if scores is not None}


def _score_filters(network: Network, index: int, by: str) -> Tensor | None:
    """How much each row of a layer matters, [filters]; None where that cannot be told."""
    module: Any = network.module_list[index]
    if is_vector(module):
        return _score_values(network, index)
    if not has_rows(module):
        return None
    if by == "bn":
        return module.norm.weight.detach().abs().double() if module.has_norm else None
    weights: Tensor = getattr(module, module.conv_name).weight.detach().double()  # [D, C, size, size]
    sums = weights.abs().sum((1, 2, 3))
    return sums / sums.mean().clamp(min=torch.finfo(sums.dtype).tiny)


def _score_values(network: Network, index: int) -> Tensor:
    """How much each value of an implicit section matters, [filters]: of several tasks as the largest one."""
    module: Any = network.module_list[index]
    values: Tensor = module.implicit.detach().abs().double().amax(0).flatten()
    readers = [node for node in network.graph.nodes if index in node.sources]
    is_factor = all(_multiplies(network, node, index) for node in readers)
    return torch.zeros_like(values) if is_factor else values


def _multiplies(network: Network, node: Node, index: int) -> bool:
    """Whether a layer multiplies another one by the values of that index: where that is 0, they are
    nothing."""
    module = network.module_list[node.index]
    factors = isinstance(module, VectorCombine) and module.combine in (control, select)
    return factors and node.sources[0] != index


def _choose_groups(
    network: Network, groups: TiedFilters, scores: Mapping[int, list[float]], *, wanted: int
) -> set[int]:
    """The groups that go, from the one that matters least on, until they have as many filters as wanted. Tied
    filters matter as the one of them that matters most."""
    left = Counter({node.index: node.shape.channels for node in network.graph.nodes})
    least = {index: math.ceil(LEAST_SHARE * count) for index, count in left.items()}
    worth = {root: max(scores[one.layer][one.row] for one in group) for root, group in groups.items()}
    chosen = set[int]()
    for root in sorted(groups, key=lambda root: (worth[root], root)):
        taken, count = Counter(one.layer for one in groups[root]), _count_filters(network, groups[root])
        if count <= wanted and all(left[one] - taken[one] >= least[one] for one in taken):
            left -= taken
            wanted -= count
            chosen.add(root)
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
