"""What implicit knowledge has learned: each value itself, where it is read, its effect on the anchors.

How the values for widths and heights change the anchors (section 3.3 of the paper): from an anchor width a
and a value t, a head of the yolor dialect computes the width w = a (2 s(t))^2, where s is the logistic. Let u
be the output of the convolution.

- Multiplied, t = z u: at u = 0 the width is a, whatever z is, and d ln w / du = z (elsewhere
  2 z (1 - s(z u))): z is the rate at which sizes depart from the anchor.
- Added, t = u + z: at u = 0 the width is a (2 s(z))^2, and d ln w / du = 2 (1 - s(z)): z is another anchor.
- In both cases the width stays between 0 and 4 a.

So the size learned for an anchor is the one at rest, where the features are 0 and u is the bias of the
convolution (plus its output for what is added to the features): a (2 s(z u))^2 or a (2 s(u + z))^2. Heads
with other rules are handled in the same way, since the head itself computes the size.

Legend: C channels, R rows of a matrix, A anchors of a head, V values of a box, K coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from yolor_cfg.errors import CfgError
from yolor_cfg.evaluate.ground_truth import Doubles
from yolor_cfg.graph import IMAGE_INDEX, Graph, Node
from yolor_cfg.model import Network
from yolor_cfg.ops.implicit import BatchedImplicit, ImplicitFactors, ImplicitModel
from yolor_cfg.rewrite.absorb import to_float64
from yolor_cfg.shape import WidthHeight

MAP_SIDE = 7
"""Side of the map of zeros used for a prediction: up to 7x7 kernels, its center does not see the border."""
UNIT_INPUTS = (-1.0, 0.0, 1.0)
VALUE_NAMES = {
    5: ("x", "y", "w", "h", "obj"),
    9: ("x", "dx", "y", "dy", "w", "dw", "h", "dh", "obj"),
}
"""The names of a box's values before its classes; the deviations are those of Gaussian_yolo."""


@dataclass(frozen=True)
class ValueReader:
    """A section that reads a value; `text` says what it does and where, `levels` names the heads reached."""

    index: int
    line: int
    type: str
    text: str
    levels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LearnedValue:
    """The value [C] or [R, C] of an implicit section, and its initial mean; coefficients [R, K] and basis
    [K, C] of a factorization. If `whole` is False, a chain from the image is left out. `task` is the task
    whose value it is, where the section has one for each."""

    index: int
    line: int
    kind: str
    model: str
    start: float
    values: Doubles
    places: tuple[ValueReader, ...] = ()
    coefficients: Doubles | None = None
    basis: Doubles | None = None
    whole: bool = True
    task: str = ""

    @property
    def title(self) -> str:
        """`#12`, or with its task `#12 day`."""
        return f"#{self.index} {self.task}".rstrip()

    @property
    def numbers(self) -> dict[str, float]:
        """Mean, standard deviation, minimum, maximum, L2 norm, and L2 distance from the initial mean."""
        z = self.values
        ends = {"min": float(z.min()), "max": float(z.max())}
        lengths = {"norm": float(np.linalg.norm(z)), "distance": float(np.linalg.norm(z - self.start))}
        return {"mean": float(z.mean()), "std": float(z.std()), **ends, **lengths}

    @property
    def level(self) -> str:
        """The levels it reaches, in one word."""
        return "+".join(dict.fromkeys(level for place in self.places for level in place.levels))


class AnchorRefinement(NamedTuple):
    """One anchor of a head: its number and size in the cfg, its z for width and height (NaN: none); the size
    at rest with and `without` z; the sizes when z is applied to -1, 0 and 1. In input pixels."""

    number: int
    size: WidthHeight
    z: WidthHeight
    at_rest: WidthHeight
    without: WidthHeight
    at_units: tuple[WidthHeight, WidthHeight, WidthHeight]


@dataclass(frozen=True, eq=False)
class HeadRefinement:
    """How the section `place` applies a value to the prediction of a head: `table` [A, V] has the number
    applied to each value of each anchor, NaN where there is none."""

    index: int
    place: int
    type: str
    head: int
    level: str
    start: float
    labels: tuple[str, ...]
    table: Doubles
    anchors: tuple[AnchorRefinement, ...]
    task: str = ""

    @property
    def level_title(self) -> str:
        """The level, with its task if it has one."""
        return f"{self.level} {self.task}".rstrip()

    @property
    def sizes(self) -> tuple[AnchorRefinement, ...]:
        """The anchors whose width and height z is applied to."""
        return tuple(anchor for anchor in self.anchors if not any(map(math.isnan, anchor.z)))


class ImplicitKnowledge(NamedTuple):
    """All implicit knowledge of a network."""

    layers: tuple[LearnedValue, ...]
    refinements: tuple[HeadRefinement, ...]


def collect_knowledge(network: Network) -> ImplicitKnowledge:
    """The implicit knowledge of a network; raises CfgError if there is none."""
    graph = network.graph
    if not any(isinstance(module, ImplicitModel) for module in network.module_list):
        raise CfgError(
            "there is no implicit section in this network",
            path=graph.path,
            hint="folding removes them: use the cfg and weights from before folding",
        )
    parts = [_collect_of_task(network, task) for task in ("", *graph.tasks)]
    network.choose_tasks(graph.tasks[:1])
    layers, refinements = ([one for part in kind for one in part] for kind in zip(*parts, strict=True))
    return ImplicitKnowledge(
        tuple(sorted(layers, key=lambda layer: layer.index)),
        tuple(sorted(refinements, key=lambda one: one.place)),
    )


def _collect_of_task(network: Network, task: str) -> ImplicitKnowledge:
    """What a task knows of its own; without one, what is for all of them."""
    network.choose_tasks((task,) if task else network.graph.tasks[:1])
    constants = _ConstantValues(network)
    layers = tuple(
        _describe_value(constants, node, task)
        for node in network.graph.nodes
        if isinstance(network.module_list[node.index], ImplicitModel) and task in (node.section.task or ("",))
    )
    found = [_find_refinement(constants, layer, place) for layer in layers for place in layer.places]
    return ImplicitKnowledge(layers, tuple(one for one in found if one is not None))


# What does not depend on the image, and its effects


class _ConstantValues:
    """The values [1, C, H, W] of a network that do not depend on the image, in float64."""

    def __init__(self, network: Network) -> None:
        self.graph, self.modules = network.graph, network.module_list
        self.values: dict[int, Tensor] = {}
        for node in network.graph.nodes:
            if self._is_constant(node):
                inputs = [self.values.get(source, torch.zeros(1, 1, 1, 1)) for source in node.sources]
                self.values[node.index] = self.run_module(node.index, *inputs)

    def _is_constant(self, node: Node) -> bool:
        module = self.modules[node.index]
        if node.section.is_head or node.section.is_loss or hasattr(module, "initial_state"):
            return False
        # C Darknet's implicit section reads the images, but only for the batch size.
        return isinstance(module, BatchedImplicit) or all(source in self.values for source in node.sources)

    @torch.no_grad()
    def run_module(self, index: int, *inputs: Tensor) -> Tensor:
        """The output of the module of that section for these inputs, in float64."""
        out: Tensor = to_float64(self.modules[index])(*(x.double() for x in inputs))
        return out

    def has_constant_source(self, index: int) -> bool:
        """True for a section that reads a constant."""
        return index != IMAGE_INDEX and any(
            source in self.values for source in self.graph.nodes[index].sources
        )

    def prediction(self, index: int, *, without: int | None = None) -> Tensor:
        """The output of that section where the features are 0, with the section `without` left out."""
        sources = self.graph.nodes[index].sources
        if index == without:
            return self.prediction(
                next(source for source in sources if source not in self.values), without=without
            )
        if self.has_constant_source(index):
            inputs = [
                self.values[source] if source in self.values else self.prediction(source, without=without)
                for source in sources
            ]
            return self.run_module(index, *inputs)
        if hasattr(self.modules[index], "initial_state"):
            return self.zeros(index)
        return self.run_module(index, *map(self.features, sources))

    def features(self, index: int) -> Tensor:
        """Zeros, or the output for zeros of a section that reads constants."""
        if not self.has_constant_source(index):
            return self.values[index] if index in self.values else self.zeros(index)
        sources = self.graph.nodes[index].sources
        return self.run_module(
            index,
            *(self.values[source] if source in self.values else self.zeros(source) for source in sources),
        )

    def zeros(self, index: int) -> Tensor:
        """A small map of zeros with the channels of that section."""
        shape = self.graph.image if index == IMAGE_INDEX else self.graph.nodes[index].shape
        return torch.zeros(1, shape.channels, MAP_SIDE, MAP_SIDE, dtype=torch.float64)

    def sizes(self, head: int, x: Tensor) -> list[WidthHeight]:
        """Width and height in pixels that the head gives each anchor in the center cell of x [1, C, H, W]."""
        middle = x[:, :, x.shape[2] // 2, x.shape[3] // 2][:, :, None, None]
        module: Any = to_float64(self.modules[head])
        with torch.no_grad():
            boxes, _, _ = module.decode(module(middle))
        return [(float(w), float(h)) for w, h in boxes[0, :, 2:4].tolist()]


def _describe_value(constants: _ConstantValues, node: Node, task: str) -> LearnedValue:
    module = constants.modules[node.index]
    value = constants.values.get(node.index)
    if value is None:
        with torch.no_grad():
            constant: Any = to_float64(module)
            value = constant.chosen_value()
    places = tuple(
        _describe_reader(constants.graph, reader) for reader in _readers(constants.graph, node.index)
    )
    section: Any = node.section
    model, start = section.values.get("model", "vector"), float(section.mean)
    coefficients, basis = _factors(module, task)
    return LearnedValue(
        node.index,
        node.line,
        node.section.type,
        model,
        start,
        _to_matrix(value),
        places,
        coefficients,
        basis,
        whole=node.index in constants.values,
        task=task,
    )


def _to_matrix(value: Tensor) -> Doubles:
    """[1, C, H, 1] -> [C] or, for a matrix, [C, H]."""
    rows: Doubles = value[0].flatten(1).cpu().double().numpy()
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _factors(module: nn.Module, task: str) -> tuple[Doubles | None, Doubles | None]:
    """Coefficients and basis as used: in a nonnegative factorization, their absolute values."""
    if not isinstance(module, ImplicitFactors):
        return None, None
    held = module.values_of(task)
    factors = [held[name].cpu().double() for name in ("coefficients", "basis")]
    coefficients, basis = (factor.abs() if module.nonnegative else factor for factor in factors)
    return coefficients.numpy(), basis.numpy()


# Where a value is read


def _readers(graph: Graph, index: int) -> list[Node]:
    return [node for node in graph.nodes if index in node.sources]


def _describe_reader(graph: Graph, node: Node) -> ValueReader:
    """`control only=wh before [yolo #12], P3, anchors 0,1,2`."""
    section = node.section
    word = section.type.removesuffix("_2d").removesuffix("_channels")
    ways = [f"{key}={section.values[key]}" for key in ("only", "group") if section.values.get(key)]
    after = _readers(graph, node.index) if word != section.type else []
    action = " ".join([word, *ways]) if after else f"read by {_format_node(node)}"
    before = f" before {_format_node(after[0])}" if after else ""
    more = f" and {len(after) - 1} more" if after[1:] else ""
    levels = tuple(_format_level(graph, head) for head in _reached_heads(graph, node))
    masks = [head.section.values["mask"] for head in after[:1] if "mask" in head.section.keys]
    anchors = [f"anchors {','.join(map(str, mask))}" for mask in masks]
    text = ", ".join([action + before + more, *[" ".join(levels)] * bool(levels), *anchors])
    return ValueReader(node.index, node.line, section.type, text, levels)


def _format_node(node: Node) -> str:
    return f"[{node.section.type} #{node.index}]"


def _reached_heads(graph: Graph, node: Node) -> list[Node]:
    """The heads that the node's value reaches, in cfg order."""
    reached = {node.index}
    for later in graph.nodes[node.index + 1 :]:
        if reached.intersection(later.sources):
            reached.add(later.index)
    return [graph.nodes[index] for index in sorted(reached) if graph.nodes[index].section.is_head]


def _format_level(graph: Graph, head: Node) -> str:
    """`P3` for a stride of 2^3; otherwise the stride itself."""
    stride = graph.stride(head.index)[0]
    level = math.log2(stride) if head.shape.area > 1 or stride > 1 else 0.5
    return f"P{level:.0f}" if level.is_integer() else f"stride {stride:.4g}"


# Its effect on the anchors


def _find_refinement(
    constants: _ConstantValues, layer: LearnedValue, place: ValueReader
) -> HeadRefinement | None:
    """None if the section is not between a prediction and a head with anchors."""
    graph = constants.graph
    heads = [node for node in _readers(graph, place.index) if hasattr(node.section, "mask")]
    z = constants.values.get(layer.index)
    two = len(graph.nodes[place.index].sources) == 2
    if not heads or z is None or not two or place.index in constants.values:
        return None
    head = heads[0]
    section: Any = head.section
    table = _anchor_table(constants.modules[place.index], z, anchors=len(section.mask))
    width = head.inputs[0].channels // len(table)
    if table.shape[1] != width:
        return None
    names = VALUE_NAMES[section.box_values]
    labels = (*names, *(str(k) for k in range(width - len(names))))
    columns = [labels.index(name) for name in ("w", "h")]
    anchors = _refine_anchors(constants, place.index, head, pairs=table[:, columns])
    return HeadRefinement(
        layer.index,
        place.index,
        place.type,
        head.index,
        _format_level(graph, head),
        layer.start,
        labels,
        table,
        anchors,
        layer.task,
    )


def _anchor_table(module: nn.Module, z: Tensor, *, anchors: int) -> Doubles:
    """The number of z applied to each value of each anchor, [A, V]; NaN where there is none."""
    z = z.reshape(1, -1, 1, 1)
    placing = getattr(module, "placing", None)
    spread = placing.expand(z, math.nan) if placing is not None else z
    table: Doubles = spread.flatten().numpy()
    return table.reshape(anchors, -1) if len(table) % anchors == 0 else np.empty((anchors, 0))


def _refine_anchors(
    constants: _ConstantValues, place: int, head: Node, *, pairs: Doubles
) -> tuple[AnchorRefinement, ...]:
    rest = constants.sizes(head.index, constants.prediction(place))
    without = constants.sizes(head.index, constants.prediction(place, without=place))
    sources = constants.graph.nodes[place].sources
    units = []
    for unit in UNIT_INPUTS:
        inputs = [constants.values.get(source, constants.zeros(source) + unit) for source in sources]
        units.append(constants.sizes(head.index, constants.run_module(place, *inputs)))
    section: Any = head.section
    return tuple(
        AnchorRefinement(
            number,
            size,
            (float(z[0]), float(z[1])),
            rest[i],
            without[i],
            (units[0][i], units[1][i], units[2][i]),
        )
        for i, (number, size, z) in enumerate(zip(section.mask, section.masked_anchors, pairs, strict=True))
    )
