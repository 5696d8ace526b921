"""A plan: the operations of the kernels for images of one size, with the steps of torch between them."""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.engines.native.binding import ACTIVATIONS, KINDS, InstructionSet, Op, Threads, View
from yolor_cfg.engines.native.layout import Layout
from yolor_cfg.engines.native.packing import Packed, pack_depthwise, pack_direct, pack_winograd
from yolor_cfg.engines.native.steps import Filters, Map, Step, Steps

FEWEST_CHANNELS = 16  # on both sides of a convolution by Winograd's method
TRANSFORMING, READING = 10, 15  # products in the time of transforming a number, and of reading a weight


class Way(NamedTuple):
    """How a convolution is computed: the kind of its operation, for Winograd's method the outputs of a tile
    along an axis, and for a convolution of the image the numbers of a pixel."""

    kind: str
    tile: int = 0
    pixel: int = 0


class StepTime(NamedTuple):
    """The time of a step in seconds, with what it is and its multiplications by image."""

    label: str
    seconds: float
    macs: int


@dataclass
class Builder:
    """What all plans of an engine share; packed weights are made once. One that `releases` frees the
    network's own weights where they are packed: then `decide` says before how a convolution is computed, at
    any size of images."""

    kernels: InstructionSet
    dtype: torch.dtype
    winograd: tuple[int, ...] = (4, 2)
    releases: bool = False
    packed: dict[tuple[int, Way], Packed] = field(default_factory=dict)
    kept: list[Filters] = field(default_factory=list)  # so that their ids stay theirs
    decided: dict[int, Way] = field(default_factory=dict)  # by the id of the parameter
    released: set[int] = field(default_factory=set)

    @property
    def narrow(self) -> bool:
        """True for maps in bfloat16."""
        return self.dtype == torch.bfloat16

    def way(self, step: Step, pixel: int) -> Way:
        """How to compute a convolution."""
        assert step.filters is not None
        if (decided := self.decided.get(id(step.filters.weight))) is not None:
            return decided
        if step.filters.is_depthwise:
            return Way("depthwise")
        if step.sources[0].is_image:
            return Way("conv", pixel=pixel) if step.window.dilation == 1 else Way("conv")
        tile = self._tile(step)
        return Way("winograd", tile) if tile else Way("conv")

    def _tile(self, step: Step) -> int:
        """The tile of Winograd's method; 0 to compute directly, as the matrix unit does faster."""
        assert step.filters is not None
        K, C, h, w = step.filters.weight.shape
        fits = (h, w) == (3, 3) and step.window[1:] == ((1, 1), (1, 1), 1) and min(K, C) >= FEWEST_CHANNELS
        if not fits or (self.narrow and self.kernels.depth_step > 2):
            return 0
        tiles = [tile for tile in self.winograd if tile == 2 or not self.narrow]
        return min((0, *tiles), key=lambda tile: _cost(step, tile))

    def decide(self, steps: list[Step]) -> None:
        """Compute each convolution whose weights will be released as its size in these steps demands, also at
        others: results must not depend on which size comes first."""
        free = _releasable(steps)
        for step in steps:
            if step.filters is not None and id(step.filters.weight) in free:
                self.decided[id(step.filters.weight)] = self.way(step, 0)

    def pack(self, filters: Filters, way: Way) -> Packed:
        """The weights in the order of the kernels."""
        weight = filters.weight
        key = (id(weight) if isinstance(weight, nn.Parameter) else weight.data_ptr(), way)
        if key not in self.packed:
            self.kept.append(filters)
            self.packed[key] = self._pack_anew(filters, way)
        return self.packed[key]

    def release(self, weight: Tensor) -> None:
        """Free the memory of a parameter that is packed; its shape remains."""
        self.released.add(id(weight))
        with torch.inference_mode(False):
            weight.data = torch.empty((), dtype=weight.dtype).expand(weight.shape)

    def _pack_anew(self, filters: Filters, way: Way) -> Packed:
        if way.kind == "depthwise":
            return pack_depthwise(filters, self.kernels)
        if way.kind == "winograd":
            return pack_winograd(filters, self.kernels, narrow=self.narrow, tile=way.tile)
        return pack_direct(filters, self.kernels, narrow=self.narrow, pixel=way.pixel)


def _cost(step: Step, tile: int) -> float:
    """The time of a 3x3 convolution in products by pair of channels, with what the transforms and reading the
    weights cost as so many products."""
    assert step.filters is not None
    K, C = step.filters.weight.shape[:2]
    if tile == 0:
        return 9 * (step.out.height * (step.out.width + 2) + READING)
    tiles = math.ceil(step.out.height / tile) * math.ceil(step.out.width / tile)
    return (tile + 2) ** 2 * (tiles * (1 + TRANSFORMING / C + TRANSFORMING / K) + READING)


class Plan:
    """The operations for `images` images of one size."""

    def __init__(self, steps: Steps, images: int, builder: Builder) -> None:
        self.builder, self.results = builder, steps.results
        self.steps = [Step("image", [], steps.image, label="image"), *steps.steps]
        for step in self.steps:
            step.out.root.is_image |= step.kind == "image"
        self.layout = Layout(
            self.steps, (one for some, _ in steps.results for one in some), dtype=builder.dtype, images=images
        )
        self.free = _releasable(self.steps) if builder.releases else frozenset[int]()
        native = [step for step in self.steps if step.kind != "torch"]
        self.ops = (Op * len(native))()
        for op, step in zip(self.ops, native, strict=True):
            self._fill(op, step)
        self.wide = [(self.ops[i], step.out) for i, step in enumerate(native) if step.out.wide]
        self.images = images

    def run(
        self, images: Tensor, threads: Threads, seconds: ctypes.Array[ctypes.c_double] | None
    ) -> list[Tensor]:
        """The results for images [N, C, H, W]; the time of each operation goes to `seconds`."""
        self.ops[0].inp.data = images.data_ptr()
        maps = self._new_wide_maps()
        first = 0
        for count, step in self._stretches():
            start = ctypes.byref(self.ops, first * ctypes.sizeof(Op))
            times = (
                ctypes.cast(ctypes.byref(seconds, first * 8), ctypes.POINTER(ctypes.c_double))
                if seconds
                else None
            )
            threads.run(self.builder.kernels, start, count=count, seconds=times)
            first += count
            if step is not None:
                self._run_in_torch(step, maps)
        return [self._result(some, module, maps) for some, module in self.results]

    def _stretches(self) -> Iterator[tuple[int, Step | None]]:
        """How many operations to run, and the step of torch after them."""
        count = 0
        for step in self.steps:
            if step.kind == "torch":
                yield count, step
                count = 0
            else:
                count += 1
        yield count, None

    def _new_wide_maps(self) -> dict[Map, Tensor]:
        """New memory for the maps that the caller gets."""
        maps = {}
        for one, area in self.layout.areas.items():
            if one.wide:
                memory = torch.empty(self.images, one.height, one.width, area.pixel)
                maps[one] = memory.permute(0, 3, 1, 2)
        for op, one in self.wide:
            op.out.data = maps[one].data_ptr()
        return maps

    def _run_in_torch(self, step: Step, maps: dict[Map, Tensor]) -> None:
        assert step.call is not None
        out = maps[step.out] if step.out in maps else self.layout.view(step.out)
        out.copy_(step.call(*(self.layout.view(one).float() for one in step.sources)))
        self._clear_border(step.out)

    def _clear_border(self, one: Map) -> None:
        """Zeros around a map that torch has written."""
        border = one.root.border
        if border and not one.wide:
            area = self.layout.areas[one.root]
            numbers = self.layout.block[: self.layout.bytes].view(area.dtype)
            start = area.offset // area.dtype.itemsize + one.offset
            size = (self.images, one.height + 2 * border, one.width + 2 * border, one.channels)
            all_cells = numbers.as_strided(size, (area.image, area.row, area.pixel, 1), start)
            for edge in (slice(0, border), slice(-border, None)):
                all_cells[:, edge] = 0
                all_cells[:, :, edge] = 0

    def _result(
        self, some: tuple[Map, ...], module: torch.nn.Module | None, maps: dict[Map, Tensor]
    ) -> Tensor:
        values = [
            maps[one] if one in maps else self.layout.view(one).to(torch.float32, copy=True) for one in some
        ]
        found: Tensor = values[0] if module is None else module(*values)
        return found

    def _fill(self, op: Op, step: Step) -> None:
        """Describe a step to the kernels."""
        narrow = self.builder.narrow
        op.in_type, op.out_type = int(narrow), int(narrow and not step.out.wide)
        op.activation, op.second = ACTIVATIONS.index(step.activation), ACTIVATIONS.index(step.second)
        (op.kernel_y, op.kernel_x), (op.stride_y, op.stride_x), (op.pad_y, op.pad_x), op.dilation = (
            step.window
        )
        kind = step.kind
        op.out = self._view(step.out)
        op.inp = self._view(step.sources[0]) if step.sources else _image_view(step.out, self.layout.images)
        if step.extra is not None:
            op.extra = self._view(step.extra)
        if step.filters is not None:
            kind = self._fill_conv(op, step, step.filters)
        elif kind == "image":
            op.out.channels = self.layout.areas[step.out].pixel
        op.kind = KINDS.index(kind)

    def _fill_conv(self, op: Op, step: Step, filters: Filters) -> str:
        source = self.layout.areas[step.sources[0].root]
        way = self.builder.way(step, source.pixel)
        packed = self.builder.pack(filters, way)
        if id(filters.weight) in self.free & self.builder.decided.keys() - self.builder.released:
            self.builder.release(filters.weight)
        op.weights, op.bias = packed.weights.data_ptr(), packed.bias.data_ptr()
        op.depth, op.channels, op.tile = packed.depth, packed.channels, way.tile
        if way.pixel:
            op.kernel_x = 1
        return way.kind

    def _view(self, one: Map) -> View:
        area = self.layout.areas[one.root]
        numbers = area.start + one.offset
        start = (
            0 if one.root.wide else self.layout.block.data_ptr() + area.offset + numbers * area.dtype.itemsize
        )
        sizes = (self.layout.images, one.height, one.width, one.channels)
        return View(start, *sizes, area.image, area.row, area.pixel, one.root.border)


def _releasable(steps: list[Step]) -> frozenset[int]:
    """The ids of the parameters that one convolution alone reads as they are. What follows a step of torch
    may be a part of another convolution for images of another size."""
    torch_maps = {step.out for step in steps if step.kind == "torch"}
    uses = Counter(id(step.filters.weight) for step in steps if step.filters)
    return frozenset(
        id(step.filters.weight)
        for step in steps
        if step.filters
        and isinstance(step.filters.weight, nn.Parameter)
        and uses[id(step.filters.weight)] == 1
        and not step.sources[0].is_image
        and step.sources[0] not in torch_maps
    )


def _image_view(image: Map, images: int) -> View:
    """Contiguous images [N, C, H, W]."""
    C, H, W = image.channels, image.height, image.width
    return View(0, images, H, W, C, C * H * W, W, 1, 0)
