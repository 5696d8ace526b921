"""Parameters and FLOPs of the networks in `networks.family` as YOLOR's paper (arXiv 2105.04206) counts them.

The paper mixes two codes and two states. `cfg`: a batch norm after each convolution but those of the heads,
as in the main branch. `yaml`: the code of the paper branch, where one batch norm over the concatenation of a
cross stage partial block replaces that of the cross branch (and of the transition). unfused: as trained.
fused: each batch norm folded into its convolution; the shared ones of yaml have none to fold into.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from yolor_cfg.count import count_by_convention, count_costs, count_work
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks import family
from yolor_cfg.networks.u5r5 import U5R5Row
from yolor_cfg.networks.yolor import YolorRow


class PaperConvention(NamedTuple):
    """Whose code, and in which state."""

    yaml: bool
    fused: bool

    def __str__(self) -> str:
        return f"{'yaml' if self.yaml else 'cfg'}, {'fused' if self.fused else 'unfused'}"


CFG, CFG_FUSED = PaperConvention(yaml=False, fused=False), PaperConvention(yaml=False, fused=True)
YAML, YAML_FUSED = PaperConvention(yaml=True, fused=False), PaperConvention(yaml=True, fused=True)
CONVENTIONS = (CFG, CFG_FUSED, YAML, YAML_FUSED)

# U5R5 comes from other code: its blocks have no yaml form, and asking for it is a KeyError.
# Numbers that yaml has more than cfg, for each channel of a branch. Unfused: where fusion comes first, the
# dense branch is normalised a second time (2); else the shared norm replaces two others. Fused: the shared
# norm of both branches stays (4), but what it replaces has no bias of its own (1, or 2 with a transition).
EXTRA_UNFUSED = {"csp": 0, "csp_first": 2, "rcsp": 2, "csp_spp": 2}
EXTRA_FUSED = {"csp": 2, "csp_first": 3, "rcsp": 3, "csp_spp": 3}


class PaperCounts(NamedTuple):
    """Parameters, and FLOPs for one image: 2 x (multiply-adds + biases added + 2 x numbers normalised) and 1
    for each prediction that implicit knowledge multiplies."""

    parameters: int
    flops: int


def count_network(name: str, convention: PaperConvention, size: int) -> PaperCounts:
    """The costs of the table's network of that name for a square image of that size."""
    return _count_row(family.NETWORKS[name], convention, size)


@cache
def _count_row(row: YolorRow | U5R5Row, convention: PaperConvention, size: int) -> PaperCounts:
    written = family.write_cfg("", row)
    graph = build_graph(parse(written.text), ReadOptions(size=size))
    counted, tallied = count_costs(graph), count_by_convention(graph, "paper")
    parameters, flops = counted.parameters, int(tallied.flops)
    if convention.fused:
        parameters = counted.parameters_folded
        flops -= 2 * sum(count_work(graph, node).normalized_count for node in graph.nodes)
    if convention.yaml:
        more = EXTRA_FUSED if convention.fused else EXTRA_UNFUSED
        for merge in written.merges:
            numbers = more[merge.kind] * merge.width
            parameters += numbers
            # Each of these numbers does something to each pixel, and an operation counts twice.
            flops += 2 * numbers * graph.nodes[merge.route].shape.area
    return PaperCounts(parameters, flops)
