"""What a cause is: a change on our side under which our layer computes what the other side has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.analysis.compare.layers import (
    INCOMPARABLE,
    LayerRun,
    Tail,
    ValueDifference,
    measure,
    split_value,
)
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Node
from yolor_cfg.sections import Section

LayerChange = Callable[[nn.Module], nn.Module | None]
"""Takes a layer, which it may change, and gives the layer that is supposed; None where there is none."""
TELLING = 0.1
"""Of the numbers of a value so many have to be finite: those that are not would agree for many reasons."""


class Hypothesis(NamedTuple):
    """A change on our side: the name of its kind, what the other side would do, and how far a value of the
    other side is from ours then. `local_value` gives our value then, None if there is none; it is left out
    where places of the value depend on the whole map."""

    cause: str
    text: str
    apart: Callable[[Tensor], ValueDifference]
    local_value: Callable[[], Tensor | None] | None = None


class LayerCase(NamedTuple):
    """A layer that differs, and its inputs on the other side. What is compared is its value, or that of the
    last layer of its `tail`: layers that follow it, each reading the one before, and their inputs. `fits` are
    other inputs of the network for the same picture, by what was done to it."""

    run: LayerRun
    node: Node
    inputs: Sequence[Tensor]
    fits: Mapping[str, Tensor] = {}
    tail: Tail = ()

    @property
    def layer(self) -> nn.Module:
        """Our layer."""
        return self.run.network.module_list[self.node.index]

    @property
    def section(self) -> Section:
        """Our section."""
        return self.node.section

    def compute(self, layer: nn.Module | None = None, inputs: Sequence[Tensor] | None = None) -> Tensor:
        """The value of our layer, or with another layer or other inputs."""
        return self.run.compute(self.node, self.inputs if inputs is None else inputs, layer)

    def follow(self, value: Tensor) -> Tensor:
        """What the tail makes of a value of the layer."""
        last = self.node.index
        for node, inputs in self.tail:
            pairs = zip(node.sources, inputs, strict=True)
            value = self.run.compute(node, [value if source == last else one for source, one in pairs])
            last = node.index
        return value

    def copy_layer(self) -> nn.Module:
        """A copy of our layer, to be changed."""
        return copy.deepcopy(self.layer)

    def suppose(
        self,
        cause: str,
        text: str,
        *,
        layer: Callable[[], nn.Module | None] | None = None,
        inputs: Callable[[], Sequence[Tensor]] | None = None,
        value: Callable[[], Tensor] | None = None,
    ) -> Hypothesis:
        """The hypothesis of another layer (None: there is none), of other inputs or of another value."""

        @cache
        def compute() -> Tensor | None:
            other = layer() if layer else self.layer
            if other is None:
                return None
            found = value() if value else self.compute(other, inputs() if inputs else None)
            if not _is_telling(found) or (self.tail and tuple(found.shape[1:]) != tuple(self.node.shape)):
                return None
            return self.follow(found)

        def apart(theirs: Tensor) -> ValueDifference:
            found = compute()
            return INCOMPARABLE if found is None else measure(found, theirs)

        return Hypothesis(cause, text, apart, compute)

    def suppose_changed(self, cause: str, text: str, *, change: LayerChange) -> Hypothesis:
        """The hypothesis of our layer after a change of a copy."""

        def make() -> nn.Module | None:
            with torch.no_grad():
                return change(self.copy_layer())

        return self.suppose(cause, text, layer=make)

    def rebuild(self, section: Section) -> nn.Module | None:
        """The layer of another section with our tensors; None where they do not go together."""
        try:
            if section.faults or section.weight_source() is not None:
                return None
            section.shape(*self.node.inputs)
            layer = section.module(*self.node.inputs)
            layer.load_state_dict(self.layer.state_dict())
        except (CfgError, RuntimeError):
            return None
        return layer.eval().to(self.run.images.dtype)


def _is_telling(value: Tensor) -> bool:
    finite, pieces = 0, split_value(value)
    while finite < TELLING * value.numel() and pieces:
        finite += int(pieces[0].isfinite().sum())
        pieces = pieces[1:]
    return finite >= TELLING * value.numel()


Supposing = Callable[[LayerCase], Iterator[Hypothesis]]
