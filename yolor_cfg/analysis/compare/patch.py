"""Hypotheses tried on a patch of a large map first: what is far off there is far off on the whole map.

N images, C channels, H W cells.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase
from yolor_cfg.graph import IMAGE_INDEX, Node
from yolor_cfg.lang.keys import Answers
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.pooling import PoolLayer
from yolor_cfg.shape import Shape

SIDE = 8
"""So many cells of a patch are looked at along each axis."""
WORTH = 2
"""The map has so many times the cells that are computed for a patch, or there is no use in one."""
ROUNDING = 1e-5
"""Of the largest value: what sums in another order make of a smaller map."""

PatchCells = tuple[slice, slice]
"""Rows and columns of a map."""


class AxisPatch(NamedTuple):
    """Cells along one axis, of `length`, of a layer's value: what is computed of them, and what of that no
    border of the patch reaches."""

    start: int
    end: int
    length: int
    seen: slice

    def cut(self, length: int) -> slice:
        """What the layer reads for them along this axis of an input."""
        stride = round(length / self.length)
        return slice(self.start * stride, length if self.end == self.length else self.end * stride)

    @property
    def seen_inside(self) -> slice:
        """The cells that are looked at, counted from the first one that is computed."""
        return slice(self.seen.start - self.start, self.seen.stop - self.start)


class MapPatch(NamedTuple):
    """A layer for the surroundings of a place, and the cells that are looked at: in its whole value and in
    that of the patch."""

    case: LayerCase
    outside: PatchCells
    inside: PatchCells


class PatchBounds:
    """How far values are at least from ours under each hypothesis."""

    def __init__(
        self,
        patch: MapPatch | None,
        values: Sequence[Tensor],
        suppose: Callable[[LayerCase], Iterator[Hypothesis]],
    ) -> None:
        """`values` [N, C, H, W] are of the layer of the patch; without one nothing is known."""
        self._patch, self._count = patch, len(values)
        if patch is not None:
            self._parts = [(_take(one, patch.outside), _size(one)) for one in values]
            self._there = {(one.cause, one.text): one.local_value for one in suppose(patch.case)}

    def find_least(self, one: Hypothesis) -> list[float]:
        """For each value, as a part of our largest value then; 0 where the patch does not tell."""
        part = self._compute_part(one)
        if part is None:
            return [0.0] * self._count
        return [_least_apart(part, theirs, largest=largest) for theirs, largest in self._parts]

    def _compute_part(self, one: Hypothesis) -> Tensor | None:
        if self._patch is None or one.local_value is None:
            return None
        # Each is asked for once: its value need not be kept.
        compute = self._there.pop((one.cause, one.text), None)
        found = compute() if compute else None
        if found is None or tuple(found.shape[1:]) != tuple(self._patch.case.node.shape):
            return None
        return _take(found, self._patch.inside)


def _least_apart(ours: Tensor, theirs: Tensor, *, largest: float) -> float:
    """How far a value is at least from ours, as a part of our largest value, by parts of both.

    With d for the whole difference and m for the largest value of ours, theirs, `largest`, is at least m - d:
    so d / m is at least d / (d + largest), which grows with d, and d is at least that of the parts."""
    finite = ours.isfinite()
    if not torch.equal(finite, theirs.isfinite()):
        return float("inf")
    apart = _size(theirs - ours)
    return apart / (apart + largest) - ROUNDING if apart else 0.0


def _size(value: Tensor) -> float:
    """The largest finite number without its sign."""
    return float(value.where(value.isfinite(), 0).abs().max())


def _take(value: Tensor, cells: PatchCells) -> Tensor:
    return value[..., cells[0], cells[1]]


def cut_patch(case: LayerCase, ours: Tensor, theirs: Tensor) -> MapPatch | None:
    """The surroundings of the place where the value of the layer, `ours` [1, C, H, W], is farthest from
    `theirs`.

    None where that would not save much, and for layers that read a map as a whole: they have another value in
    a patch. Layers behind it (the tail of the case) are not followed."""
    reach = _find_reach(case)
    if case.tail or reach is None or ours.shape != theirs.shape:
        return None
    apart = (theirs - ours).abs().amax((0, 1)).nan_to_num(float("inf"))  # [H, W]
    place = divmod(int(apart.argmax()), apart.shape[1])
    spans = [_axis_patch(at, length, reach=reach) for at, length in zip(place, apart.shape, strict=True)]
    rows, columns = spans
    if WORTH * (rows.end - rows.start) * (columns.end - columns.start) > apart.numel():
        return None
    patch = MapPatch(
        _cut_case(case, rows, columns), (rows.seen, columns.seen), (rows.seen_inside, columns.seen_inside)
    )
    return patch if _is_faithful(patch, ours) else None


def _find_reach(case: LayerCase) -> int | None:
    """How many cells around one of its value a layer may read, whatever is supposed of it; None for a layer
    whose kind does not tell, or that has no maps as inputs and output."""
    layer, node = case.layer, case.node
    if node.section.is_head or case.run.keeps_state(node) or any(one.ndim != 4 for one in case.inputs):
        return None
    if isinstance(layer, PoolLayer):
        return layer.window.size
    if isinstance(layer, ConvBlock):
        return _conv_reach(layer)
    is_even = all(tuple(one.shape[2:]) == tuple(node.shape[1:]) for one in case.inputs)
    # Tensors of other layers may belong to places of the map.
    return 1 if case.inputs and is_even and not list(layer.parameters()) else None


def _conv_reach(layer: ConvBlock) -> int | None:
    conv = getattr(layer, layer.conv_name)
    if not isinstance(conv, torch.nn.Conv2d) or layer.blur is not None:
        return None
    return max(size * step for size, step in zip(conv.kernel_size, conv.dilation, strict=True))


def _axis_patch(at: int, length: int, *, reach: int) -> AxisPatch:
    """Cells around one of so many."""
    first = max(0, min(at - SIDE // 2, length - SIDE))
    last = min(length, first + SIDE)
    return AxisPatch(max(0, first - reach), min(length, last + reach), length, slice(first, last))


def _cut_case(case: LayerCase, rows: AxisPatch, columns: AxisPatch) -> LayerCase:
    """The layer with the part of its inputs that these cells are computed from."""

    def cut(whole: Tensor) -> Tensor:
        return _take(whole, (rows.cut(whole.shape[2]), columns.cut(whole.shape[3])))

    inputs = [cut(one) for one in case.inputs]
    node = _resize(case.node, [Shape(*one.shape[1:]) for one in inputs])
    if IMAGE_INDEX not in node.sources:
        return LayerCase(case.run, node, inputs)
    run = copy.copy(case.run)
    run.images = cut(run.images)
    fits = {name: cut(one) for name, one in case.fits.items() if one.shape == case.run.images.shape}
    return LayerCase(run, node, inputs, fits)


def _resize(node: Node, inputs: Sequence[Shape]) -> Node:
    shape = node.section.shape(*inputs)
    return replace(node, inputs=tuple(inputs), shape=shape, answers=Answers())


def _is_faithful(patch: MapPatch, ours: Tensor) -> bool:
    """Whether our layer has the same values in the patch."""
    part, whole = _take(patch.case.compute(), patch.inside), _take(ours, patch.outside)
    return part.shape == whole.shape and _least_apart(part, whole, largest=_size(ours)) <= 0
