"""What a cause is: a change on our side under which our layer computes what the other side has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from yolor_cfg.analysis.compare.layers import INCOMPARABLE, Difference, LayerRun, measure
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Node
from yolor_cfg.sections import Section


class Hypothesis(NamedTuple):
    """A change on our side: the name of its kind, what the other side would do, and how far that leaves the
    two apart."""

    cause: str
    text: str
    apart: Callable[[], Difference]


class Case(NamedTuple):
    """A layer that differs, its inputs, and the other side's value of it. `fits` are other inputs of the
    network for the same picture, by what was done to it."""

    run: LayerRun
    node: Node
    inputs: Sequence[Tensor]
    theirs: Tensor
    fits: Mapping[str, Tensor] = {}

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

        def apart() -> Difference:
            other = layer() if layer else self.layer
            if other is None:
                return INCOMPARABLE
            found = value() if value else self.compute(other, inputs() if inputs else None)
            return measure(found, self.theirs) if _is_telling(found) else INCOMPARABLE

        return Hypothesis(cause, text, apart)

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
        return layer.eval().to(self.theirs.dtype)


def _is_telling(value: Tensor) -> bool:
    """Whether most of the numbers are finite: those that are not would agree for many reasons."""
    return 2 * int(value.isfinite().sum()) > value.numel()


Supposing = Callable[[Case], Iterator[Hypothesis]]
