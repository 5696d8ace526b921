"""From a folded network to steps, for one size of images.

Concatenations become maps whose parts are written in place, groups of channels become views, additions join
the convolution before them. What has no kernel stays the module of torch that it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from yolor_cfg.engines.native.binding import ACTIVATIONS
from yolor_cfg.engines.native.steps import Filters, Map, Step, Steps, Window, fold_stem, probe_stem
from yolor_cfg.graph import IMAGE_INDEX, Node
from yolor_cfg.model import Network, RecurrentLayer
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.combining import Addition, Concatenate
from yolor_cfg.ops.pooling import PoolLayer, max_pool2d
from yolor_cfg.ops.resampling import ColumnsFirst, Reorder, RepeatUpsample, Wavelets, space_to_depth
from yolor_cfg.shape import Shape

SAME_NAMES = {"silu": "swish", "none": "linear", "revleaky": "leaky"}
MOST_GROUPS = 64  # grouped convolutions run group by group up to here


def kernel_activation(name: str) -> str | None:
    """The name that the kernels know the activation by; None if they do not."""
    name = SAME_NAMES.get(name, name)
    return name if name in ACTIVATIONS else None


def whole_in_torch(network: Network) -> str:
    """Why the network cannot be divided into steps; empty if it can."""
    read = {source for node in network.graph.nodes for source in node.sources}
    if any(isinstance(layer, RecurrentLayer) for layer in network.module_list):
        return "it is recurrent"
    if any(node.section.is_head and node.index in read for node in network.graph.nodes):
        return "sections read what a head gives out"
    return ""


def lower(network: Network, image: Shape) -> Steps:
    """The steps of a network without recurrent sections, whose heads are not read by others."""
    return _Lowering(network, image).run()


class _Lowering:
    """The maps of the nodes so far, and the steps that make them."""

    def __init__(self, network: Network, image: Shape) -> None:
        self.network = network
        nodes = network.graph.nodes
        self.readers = Counter(source for node in nodes for source in node.sources)
        self.readers.update(network.graph.outputs)
        self.steps = Steps(Map(image.channels, image.height, image.width, is_image=True))
        self.maps: dict[int, Map] = {IMAGE_INDEX: self.steps.image}
        self.stems: dict[int, tuple[nn.Module, ...]] = {IMAGE_INDEX: ()}
        self.makers: dict[Map, Step] = {}

    def run(self) -> Steps:
        graph = self.network.graph
        used = _used_nodes(self.network)
        for node, module in zip(graph.nodes, self.network.module_list, strict=True):
            if node.index not in used:
                continue
            if node.section.is_head:
                self._add_head(node, module)
            else:
                self._lower_node(node, module)
        heads = {node.index for node in graph.nodes if node.section.is_head}
        for index in graph.outputs:
            if index not in heads:
                self.steps.results.append(((self.find_map(index),), None))
        return self.steps

    def _add_head(self, node: Node, module: nn.Module) -> None:
        sources = tuple(self.find_map(index) for index in node.sources)  # several in a head that fuses them
        source = sources[0]
        alone = self.readers[node.sources[0]] == 1 and source.host is None and not source.is_image
        source.wide = alone and source in self.makers and self.makers[source].kind in ("conv", "torch")
        self.steps.results.append((sources, module))

    def _lower_node(self, node: Node, module: nn.Module) -> None:
        if _is_alias(node, module):
            (source,) = node.sources
            if source in self.maps:
                self.maps[node.index] = self.maps[source]
            if source in self.stems:
                self.stems[node.index] = self.stems[source]
            return
        for lower_one in (_lower_conv, _lower_addition, _lower_concatenation, _lower_pool, _lower_upsample):
            found = lower_one(self, node, module)
            if found is not None:
                self.maps[node.index] = found
                return
        if node.sources and node.sources[0] in self.stems and _is_stem(module):
            self.stems[node.index] = (*self.stems[node.sources[0]], module)
        else:
            self.maps[node.index] = self.run_in_torch(node, module)

    def find_map(self, index: int) -> Map:
        """The map of a node; a re-layout of the image that no convolution takes in is made in torch."""
        if index not in self.maps:
            node = self.network.graph.nodes[index]
            self.maps[index] = self.run_in_torch(node, self.network.module_list[index])
        return self.maps[index]

    def new_map(self, node: Node) -> Map:
        """A new map of the node's size for the images at hand."""
        sources = [self.find_map(source) for source in node.sources]
        shape = node.section.shape(*(Shape(one.channels, one.height, one.width) for one in sources))
        return Map(*shape)

    def add(self, step: Step) -> Map:
        """Add a step; returns its output."""
        self.steps.steps.append(step)
        self.makers[step.out] = step
        return step.out

    def run_in_torch(self, node: Node, module: nn.Module) -> Map:
        self.steps.torch_steps.append(f"[{node.section.raw.name} #{node.index}]")
        sources = [self.find_map(source) for source in node.sources]
        call: Callable[..., Tensor] = module
        return self.add(Step("torch", sources, self.new_map(node), call=call, label=node.section.raw.name))

    def joins(self, made: Map, other: Map) -> bool:
        """True if the convolution that makes a map can add the other one to it."""
        maker = self.makers.get(made)
        if maker is None or maker.kind != "conv" or maker.extra is not None or made.host is not None:
            return False
        order, before = self.steps.steps, self.makers.get(other)
        return before is not None and order.index(before) < order.index(maker)


def _used_nodes(network: Network) -> set[int]:
    """What the outputs depend on."""
    nodes = network.graph.nodes
    used, waiting = set[int](), list(network.graph.outputs)
    while waiting:
        index = waiting.pop()
        if index != IMAGE_INDEX and index not in used:
            used.add(index)
            waiting.extend(nodes[index].sources)
    return used


def _is_alias(node: Node, module: nn.Module) -> bool:
    """True for a section that hands on its one input."""
    whole = isinstance(module, Concatenate) and module.part.groups == 1 and not module.is_flat
    return len(node.sources) == 1 and (whole or isinstance(module, nn.Identity))


def _is_stem(module: nn.Module) -> bool:
    is_reorg = isinstance(module, Reorder) and module.function is space_to_depth and module.stride == 2
    return is_reorg or isinstance(module, ColumnsFirst | Wavelets)


# Convolutions


def _lower_conv(lowering: _Lowering, node: Node, module: nn.Module) -> Map | None:
    conv = _plain_conv(module)
    if conv is None:
        return None
    assert isinstance(module, ConvBlock)
    found = Filters(conv.weight, conv.bias if conv.bias is not None else torch.zeros(len(conv.weight)))
    window = Window(_pair(conv.kernel_size), _pair(conv.stride), _pair(conv.padding), _pair(conv.dilation)[0])
    source, stem = node.sources[0], (ColumnsFirst(),) if module.focus else ()
    if source in lowering.stems and (lowering.stems[source] or stem):
        folded = _take_stem(lowering, (*lowering.stems[source], *stem), filters=found, window=window)
        if folded is not None:
            found, window = folded
            return _add_conv(lowering, node, filters=found, window=window)
    if stem:
        return None
    if conv.groups > 1:
        return _add_groups(lowering, node, filters=found, window=window)
    return _add_conv(lowering, node, filters=found, window=window, source=lowering.find_map(source))


def _plain_conv(module: nn.Module) -> nn.Conv2d | None:
    """The convolution of a block that is nothing but convolution, bias and activation."""
    if type(module) is not ConvBlock or module.has_norm or module.blur is not None:
        return None
    conv = getattr(module, module.conv_name)
    if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    dense = conv.groups in (1, conv.in_channels) or conv.groups <= MOST_GROUPS
    known = kernel_activation(module.activation) is not None and len(set(conv.dilation)) == 1
    return conv if dense and known else None


def _pair(values: Any) -> tuple[int, int]:
    down, across = values
    return down, across


def _take_stem(
    lowering: _Lowering, stems: tuple[nn.Module, ...], *, filters: Filters, window: Window
) -> tuple[Filters, Window] | None:
    """The convolution with the re-layouts before it taken in; None if padding or size forbid that."""
    image = lowering.steps.image
    factor = 2 ** len(stems)
    matrix, shift = probe_stem(nn.Sequential(*stems), image.channels, factor)
    padded = window.padding != (0, 0) and bool(shift.any())
    if padded or window.dilation != 1 or image.height % factor or image.width % factor:
        return None
    if filters.weight.shape[1] != len(shift):
        return None
    down, across = ((a * factor, b * factor) for a, b in (window.stride, window.padding))
    kernel = (window.kernel[0] * factor, window.kernel[1] * factor)
    return fold_stem(filters, matrix, shift), Window(kernel, down, across)


def _add_conv(
    lowering: _Lowering, node: Node, *, filters: Filters, window: Window, source: Map | None = None
) -> Map:
    image = lowering.steps.image
    source = image if source is None else source
    module = lowering.network.module_list[node.index]
    out = Map(filters.weight.shape[0], *_conv_size(source, window))
    activation = kernel_activation(str(module.activation)) or ""
    kernel = "x".join(str(k) for k in window.kernel)
    label = f"conv {kernel}/{window.stride[0]}"
    return lowering.add(Step("conv", [source], out, window, filters, activation, label=label))


def _conv_size(source: Map, window: Window) -> tuple[int, int]:
    height, width = (
        (length + 2 * pad - window.dilation * (kernel - 1) - 1) // stride + 1
        for length, pad, kernel, stride in zip(
            (source.height, source.width), window.padding, window.kernel, window.stride, strict=True
        )
    )
    return height, width


def _add_groups(lowering: _Lowering, node: Node, *, filters: Filters, window: Window) -> Map:
    """A depthwise convolution, or one convolution for each group, each on its part of the channels."""
    source = lowering.find_map(node.sources[0])
    module = lowering.network.module_list[node.index]
    activation = kernel_activation(str(module.activation)) or ""
    out = Map(len(filters.weight), *_conv_size(source, window))
    if filters.weight.shape[1] == 1 and len(filters.weight) == source.channels and not source.is_image:
        one = filters._replace(is_depthwise=True)
        return lowering.add(Step("conv", [source], out, window, one, activation, label="conv depthwise"))
    if source.is_image:
        return lowering.run_in_torch(node, module)
    size = filters.weight.shape[1]
    groups = source.channels // size
    for group, (weight, bias) in enumerate(
        zip(filters.weight.chunk(groups), filters.bias.chunk(groups), strict=True)
    ):
        part = Map(size, source.height, source.width, host=source, first=group * size)
        piece = Map(len(weight), out.height, out.width, host=out, first=group * len(weight))
        one = Filters(weight, bias)
        lowering.add(Step("conv", [part], piece, window, one, activation, label="conv groups"))
    return out


# Other sections


def _lower_addition(lowering: _Lowering, node: Node, module: nn.Module) -> Map | None:
    if type(module) is not Addition or len(node.sources) != 2 or set(module.sum_of.steps) != {1}:
        return None
    activation = kernel_activation(module.sum_of.activation)
    maps = [lowering.find_map(source) for source in node.sources]
    first, second = maps
    sizes = {(one.channels, one.height, one.width) for one in maps}
    if activation is None or len(sizes) != 1 or any(one.is_image for one in maps):
        return None
    for index, made, other in zip(node.sources, maps, reversed(maps), strict=True):
        if lowering.readers[index] == 1 and lowering.joins(made, other):
            maker = lowering.makers[made]
            maker.extra, maker.second = other, activation
            return made
    out = lowering.new_map(node)
    return lowering.add(Step("add", [first], out, activation=activation, extra=second, label="add"))


def _lower_concatenation(lowering: _Lowering, node: Node, module: nn.Module) -> Map | None:
    if type(module) is not Concatenate or module.is_flat:
        return None
    maps = [lowering.find_map(source) for source in node.sources]
    if any(one.is_image for one in maps):
        return None
    groups, number = module.part
    if groups > 1:
        maps = [_take_group(one, groups, number) for one in maps]
    if len(maps) == 1:
        return maps[0]
    out, first = lowering.new_map(node), 0
    for one in maps:
        if one.host is None and not one.wide:
            one.host, one.first = out, first
        else:
            part = Map(one.channels, one.height, one.width, host=out, first=first)
            lowering.add(Step("copy", [one], part, label="copy"))
        first += one.channels
    return out


def _take_group(one: Map, groups: int, number: int) -> Map:
    count = one.channels // groups
    return Map(count, one.height, one.width, host=one, first=number * count)


def _lower_pool(lowering: _Lowering, node: Node, module: nn.Module) -> Map | None:
    if type(module) is not PoolLayer or module.function is not max_pool2d:
        return None
    source = lowering.find_map(node.sources[0])
    if source.is_image:
        return None
    size, strides, _ = module.window
    before = module.window.borders[0]
    source, size = _reuse_pool(lowering, source, size) if _is_same(module) else (source, size)
    before = size // 2 if _is_same(module) else before
    window = Window((size, size), strides, (before, before))
    return lowering.add(Step("pool", [source], lowering.new_map(node), window, label="maxpool"))


def _is_same(module: PoolLayer) -> bool:
    size, strides, padding = module.window
    return strides == (1, 1) and size % 2 == 1 and padding == size - 1


def _reuse_pool(lowering: _Lowering, source: Map, size: int) -> tuple[Map, int]:
    """A larger window over a map is a window over a smaller one's maxima: 9 over x is 5 over (5 over x), both
    of stride 1. Returns what to pool instead, and by which size."""
    for step in lowering.steps.steps:
        done = step.window.kernel[0]
        same = step.window.stride == (1, 1) and step.window.padding == (done // 2, done // 2)
        if step.kind == "pool" and step.sources[0] is source and same and 1 < done < size:
            return _reuse_pool(lowering, step.out, size - done + 1)
    return source, size


def _lower_upsample(lowering: _Lowering, node: Node, module: nn.Module) -> Map | None:
    if type(module) is not RepeatUpsample or module.scale != 1:
        return None
    source = lowering.find_map(node.sources[0])
    if source.is_image:
        return None
    window = Window(stride=(module.stride, module.stride))
    return lowering.add(Step("up", [source], lowering.new_map(node), window, label="upsample"))
