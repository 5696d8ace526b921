"""Parameters and FLOPs of the networks in `networks.family` as YOLOR's paper (arXiv 2105.04206) counts them.

The paper mixes two codes and two states. `cfg`: a batch norm at each convolution but those of the heads, the
code of the main branch. `yaml`: the code of the paper branch, where one batch norm over the concatenation of
each cross stage partial block takes the place of that of the cross branch (and of the transition). unfused:
as trained. fused: each batch norm folded into its convolution, which the shared ones of yaml have not.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from yolor_cfg.count import count, tally, work
from yolor_cfg.graph import Reading, build
from yolor_cfg.lang.syntax import parse
from yolor_cfg.networks import family
from yolor_cfg.networks.u5r5 import U5Row
from yolor_cfg.networks.yolor import Row


class Convention(NamedTuple):
    """Whose code, and in which state."""

    yaml: bool
    fused: bool

    def __str__(self) -> str:
        return f"{'yaml' if self.yaml else 'cfg'}, {'fused' if self.fused else 'unfused'}"


CFG, CFG_FUSED = Convention(yaml=False, fused=False), Convention(yaml=False, fused=True)
YAML, YAML_FUSED = Convention(yaml=True, fused=False), Convention(yaml=True, fused=True)
CONVENTIONS = (CFG, CFG_FUSED, YAML, YAML_FUSED)

# U5R5 is of another code: its blocks have no yaml, and asking for it is a KeyError.
# Numbers that yaml has more than cfg, for each channel of a branch. Unfused: where fusion comes first, the
# dense branch is normalised a second time (2); else the shared norm replaces two others. Fused: the shared
# norm of both branches stays (4), but what it replaces has no bias of its own (1, or 2 with a transition).
MORE_UNFUSED = {"csp": 0, "csp_first": 2, "rcsp": 2, "csp_spp": 2}
MORE_FUSED = {"csp": 2, "csp_first": 3, "rcsp": 3, "csp_spp": 3}


class Counts(NamedTuple):
    """Parameters, and FLOPs for one image: 2 x (multiply-adds + biases added + 2 x numbers normalised) and 1
    for each prediction that implicit knowledge multiplies."""

    parameters: int
    flops: int


def counts(name: str, convention: Convention, size: int) -> Counts:
    """What the network of that name in the table costs for a square image of that size."""
    return _counts(family.FAMILY[name], convention, size)


@cache
def _counts(row: Row | U5Row, convention: Convention, size: int) -> Counts:
    written = family.write_cfg("", row)
    graph = build(parse(written.text), Reading(size=size))
    counted, tallied = count(graph), tally(graph, "paper")
    parameters, flops = counted.parameters, int(tallied.flops)
    if convention.fused:
        parameters = counted.parameters_folded
        flops -= 2 * sum(work(graph, node).normalised for node in graph.nodes)
    if convention.yaml:
        more = MORE_FUSED if convention.fused else MORE_UNFUSED
        for merge in written.merges:
            numbers = more[merge.kind] * merge.width
            parameters += numbers
            # Each of these numbers does something to each pixel, and an operation counts twice.
            flops += 2 * numbers * graph.nodes[merge.route].shape.area
    return Counts(parameters, flops)
