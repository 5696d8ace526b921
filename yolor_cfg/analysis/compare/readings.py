"""Causes in how the cfg is read: another program's rule, another value of a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import permutations
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase
from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DIALECTS, Dialect
from yolor_cfg.rewrite.absorb import find_norms
from yolor_cfg.sections import Section

EPSILONS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 0.0)
FACTS = {
    "conv_padding": "convolution padding",
    "pool_padding": "pooling padding",
    "pads_with_zeros": "pooling padding",
    "pads_last_window": "pooling padding",
    "reorg_order": "reorg order",
    "has_reorg3d": "reorg order",
    "activates_sums": "activation",
    "leaky_sums": "activation",
    "weights_are_sigmoid": "shortcut weights",
    "shortcut_form": "shortcut",
    "thins_larger_maps": "shortcut",
    "takes_second_half": "route group",
    "box_form": "box form",
    "region_form": "box form",
    "side_strides": "stride",
    "lstm_gates": "gates",
    "gru_takes_tanh": "gates",
    "groups_softmax": "softmax",
}
"""The facts of a dialect that a layer computes by, and the kind of cause that each is."""
SLOPE = 0.1
"""Darknet's slope of leaky."""
SLOPES = (0.01, 0.2, 0.3)
SPREADS = (1.0, 1.05, 1.1, 1.2, 2.0)
MOST_ORDERS, MOST_GROUPS = 4, 16
"""So many sources of a route are tried in every order, and so many groups of its channels."""


def other_epsilons(case: LayerCase) -> Iterator[Hypothesis]:
    """Batch norm with another epsilon, inside the root or beside it."""
    norms = find_norms(case.layer)
    if not norms:
        return
    for outside in (False, True):
        for eps in EPSILONS:
            facts = {"bn_eps": eps, "bn_eps_outside_root": outside}
            place = "beside the root" if outside else "inside the root"
            text = f"batch norm with epsilon {eps:g} {place}, here {norms[0].eps:g}"
            yield case.suppose("batch norm epsilon", text, layer=partial(_reread, case, facts))


def other_rules(case: LayerCase) -> Iterator[Hypothesis]:
    """Each rule in which another program differs."""
    own = case.section.dialect
    for fact, cause in FACTS.items():
        for value in dict.fromkeys(getattr(other, fact) for other in DIALECTS.values()):
            if value != getattr(own, fact):
                text = f"the rule of {_program_with(fact, value)} ({fact}={value}, here {getattr(own, fact)})"
                yield case.suppose(cause, text, layer=partial(_reread, case, {fact: value}))


def _program_with(fact: str, value: Any) -> str:
    return next(other.program for other in DIALECTS.values() if getattr(other, fact) == value)


def _reread(case: LayerCase, facts: dict[str, Any]) -> nn.Module | None:
    """The layer of the same lines in a dialect with other facts."""
    dialect: Dialect = case.section.dialect._replace(**facts)
    place = case.section.place._replace(dialect=dialect, shared=None)
    return case.rebuild(type(case.section)(case.section.raw, place))


def _set_keys(case: LayerCase, **values: Any) -> nn.Module | None:
    """The layer of the section with other values of keys."""
    section: Section = case.section.replace_values(**values)
    return case.rebuild(section)


def other_activations(case: LayerCase) -> Iterator[Hypothesis]:
    """Another activation, and leaky with another slope."""
    if case.section.activations == ("leaky",):
        for slope in SLOPES:
            text = f"leaky with slope {slope:g}, here {SLOPE:g}"
            yield case.suppose("leaky slope", text, value=partial(_leaky, case, slope))
    if "activation" not in case.section.keys:
        return
    own = case.section.values.get("activation", "")
    formulas = {one.formula: name for name, one in reversed(ACTIVATIONS.items())}  # of synonyms the first
    for name in reversed(formulas.values()):
        if name != own:
            text = f"activation {name}, here {own or 'the default'}"
            yield case.suppose("activation", text, layer=partial(_set_keys, case, activation=name))


def _leaky(case: LayerCase, slope: float) -> Tensor:
    """Our value with another slope below 0."""
    return F.leaky_relu(case.compute(), slope / SLOPE)


def other_orders(case: LayerCase) -> Iterator[Hypothesis]:
    """The sources in another order, or another group of their channels."""
    count = len(case.inputs)
    if 1 < count <= MOST_ORDERS:
        for order in list(permutations(range(count)))[1:]:
            shown = ", ".join(f"#{case.node.sources[number]}" for number in order)
            text = f"its sources in the order {shown}"
            yield case.suppose("route order", text, inputs=partial(_reorder, case, order))
    groups = case.section.values.get("groups", 1) if "group_id" in case.section.keys else 1
    for number in range(min(groups, MOST_GROUPS)):
        if number != case.section.values.get("group_id", 0):
            text = f"group {number} of the channels, here {case.section.values.get('group_id', 0)}"
            yield case.suppose("route group", text, layer=partial(_set_keys, case, group_id=number))


def _reorder(case: LayerCase, order: Sequence[int]) -> list[Tensor]:
    return [case.inputs[number] for number in order]


def other_boxes(case: LayerCase) -> Iterator[Hypothesis]:
    """Boxes with other keys, or with the anchors of another head."""
    keys = case.section.keys
    if "scale_x_y" in keys:
        own = case.section.values.get("scale_x_y", 1.0)
        for spread in (one for one in SPREADS if one != own):
            text = f"scale_x_y={spread:g}, here {own:g}"
            yield case.suppose("scale_x_y", text, layer=partial(_set_keys, case, scale_x_y=spread))
    if "new_coords" in keys:
        new = not case.section.values.get("new_coords", False)
        text = f"new_coords={new:d}, here {not new:d}"
        yield case.suppose("new_coords", text, layer=partial(_set_keys, case, new_coords=new))
    if "mask" in keys:
        masks = {getattr(head.section, "mask", ()) for head in case.run.graph.box_heads}
        for mask in sorted(masks - {case.section.values.get("mask", ())}):
            text = f"the anchors of mask={','.join(map(str, mask))}"
            yield case.suppose("anchors", text, layer=partial(_set_keys, case, mask=mask))
