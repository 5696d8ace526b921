"""Plain Darknet as both of its readers have it: what OpenCV 4.14 reads otherwise than C Darknet, or not at
all, is said with convolutions, shortcuts and routes that it does read.

OpenCV passes over keys that it does not know. What has no other words is left as it is and told, section by
section: only C Darknet runs it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolor_cfg.errors import CfgError
from yolor_cfg.model import Network
from yolor_cfg.ops.binary import BinaryConv2d
from yolor_cfg.ops.blocks import ConvBlock, FirstChannels, SharedConvBlock
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.rewrite.convolutions import (
    channel_ones,
    make_convolution,
    make_depthwise,
    replace_step,
    translate_reorg,
)
from yolor_cfg.rewrite.program import Program, ProgramStep, make_route

ACTIVATIONS = frozenset("linear relu leaky swish mish logistic tanh".split())
SECTIONS = frozenset(
    "convolutional connected maxpool avgpool route shortcut upsample yolo region scale_channels sam reorg "
    "softmax dropout cost".split()
)


class Translation(NamedTuple):
    """The network in other words, and an error for each section that only C Darknet runs."""

    network: Network
    only_darknet: tuple[CfgError, ...]


def to_opencv(plain: Network) -> Translation:
    """A network of the darknet dialect as OpenCV 4.14 and C Darknet both read it, as far as that goes."""
    with torch.no_grad():
        program = Program(plain)
        for step in list(program.steps):
            _state_defaults(step)
            handler = TRANSLATORS.get(step.section.type)
            if handler is not None:
                handler(program, step)
        program.set_net("dialect", None)
        left = tuple(_find_obstacles(program))
        return Translation(program.build_network(), left)


def _state_defaults(step: ProgramStep) -> None:
    """Write out what the two readers would take otherwise where the key is absent or odd."""
    for key in DEFAULTS_THAT_DIFFER.get(step.section.type, ()):
        value = getattr(step.section, key)
        step.keys[key] = str(value[0] if isinstance(value, tuple) else value)


DEFAULTS_THAT_DIFFER = {
    "convolutional": ("filters", "size", "stride", "activation"),
    "connected": ("output", "activation"),
    "maxpool": ("size", "stride"),
    "upsample": ("stride",),
    "reorg": ("stride",),
    "shortcut": ("activation",),
    "sam": ("activation",),
    "scale_channels": ("activation",),
}


# What is left


def _find_obstacles(program: Program) -> Iterator[CfgError]:
    for step in program.steps:
        for what in _name_obstacles(step):
            yield step.error("only C Darknet runs this, not OpenCV", found=what)


def _name_obstacles(step: ProgramStep) -> Iterator[str]:
    kind = step.section.type if step.section else step.name
    if kind not in SECTIONS:
        yield f"[{step.name}]"
        return
    activation = step.keys.get("activation", getattr(step.section, "activation", "linear"))
    if activation not in ACTIVATIONS:
        yield f"activation={activation}"
    for key in ONLY_DARKNET.get(kind, ()):
        value = getattr(step.section, key, None) if key in step.keys else None
        if value:
            yield f"{key}={step.keys[key]}"
    if {"stride_x", "stride_y"} & step.keys.keys():
        yield "stride_x and stride_y that differ"
    if isinstance(step.module, FirstChannels):
        yield "groups that do not divide the channels"
    if kind == "softmax" and step.section.groups > 1:
        yield f"groups={step.section.groups}"
    if kind == "upsample" and _leaves_rest(step):
        yield f"stride={step.section.stride}, which does not divide the size"
    if kind == "route" and step.node is not None and len({x[1:] for x in step.node.inputs}) > 1:
        yield "sources that differ in size"


def _leaves_rest(step: ProgramStep) -> bool:
    """True where the blocks of an [upsample] that sums them do not fill the map."""
    if step.node is None or step.section.stride > 0:
        return False
    x = step.node.inputs[0]
    return bool(x.height % step.section.stride or x.width % step.section.stride)


ONLY_DARKNET = {
    "convolutional": ("xnor",),
    "maxpool": ("maxpool_depth",),
    "scale_channels": ("scale_wh",),
    "reorg": ("reverse",),
    "region": ("tree",),
    "softmax": ("tree",),
}
"""Keys that OpenCV passes over, in sections that have no other words."""


# Convolutions


def _translate_convolution(program: Program, step: ProgramStep) -> None:
    if step.keys.pop("cbn", None) is not None and step.section.cbn:
        step.keys["batch_normalize"] = "1"
    if isinstance(step.module, SharedConvBlock):
        _copy_weights(step)
    _unify_strides(step)
    if step.section.antialiasing:
        _split_blur(program, step)
    if step.section.dilation > 1:
        _spread_kernel(step)


def _copy_weights(step: ProgramStep) -> None:
    """Give a section that uses the tensors of another one tensors of its own."""
    block: Any = step.module
    (source,) = block._weight_source
    conv = source.Conv2d
    geometry: ConvGeometry = block.geometry
    own = (BinaryConv2d if block.binary else nn.Conv2d)(
        conv.in_channels, conv.out_channels, conv.kernel_size[0], *geometry, bias=conv.bias is not None
    )
    own.load_state_dict(conv.state_dict())
    norm = copy.deepcopy(source.norm)
    step.module = ConvBlock(own, norm, block.activation, focus=block.focus, blur=block.blur).to(
        conv.weight.dtype
    )
    step.links.pop("share_index", None)


def _unify_strides(step: ProgramStep) -> None:
    """One `stride` in place of two that are equal."""
    if not {"stride_x", "stride_y"} & step.keys.keys():
        return
    x, y = (
        value if value >= 1 else step.section.stride
        for value in (step.section.stride_x, step.section.stride_y)
    )
    if x == y:
        step.keys.pop("stride_x", None)
        step.keys.pop("stride_y", None)
        step.keys["stride"] = str(x)


def _split_blur(program: Program, step: ProgramStep) -> None:
    """The blur as a convolution of its own behind a step that moves by 1."""
    if "stride_x" in step.keys or "stride_y" in step.keys:
        return
    blur = _take_blur(step)
    step.keys.pop("antialiasing", None)
    step.keys["stride"] = "1"
    zeros = 1 if blur.size == 3 else 0
    weight = _find_kernel(blur, zeros).expand(step.channels, 1, blur.size, blur.size)
    bias = torch.zeros(step.channels, dtype=torch.float64)
    moved = {"groups": step.channels, "stride": blur.strides[0], "padding": zeros}
    _insert_behind(program, step, make_convolution(step, weight, bias, **moved))


def _take_blur(step: ProgramStep) -> Any:
    """The blur, which the module of the step no longer has."""
    block: Any = step.module
    if isinstance(block, nn.Sequential):
        step.module, blur = block
        return blur
    sharp = _copy_block(block)
    sharp.blur = None
    step.module = sharp
    return block.blur


def _copy_block(block: nn.Module) -> Any:
    """A block with the same tensors, whose parts can be replaced."""
    copied = copy.copy(block)
    copied._modules = dict(block._modules)
    return copied


def _find_kernel(blur: Any, zeros: int) -> Tensor:
    """The kernel of a blur with so many zeros around the map: what it makes of one pixel, since its kernels
    are symmetric."""
    pixels = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    pixels[0, 0, 2, 2] = 1
    spread: Tensor = type(blur)(blur.size, (1, 1))(pixels)[0, 0]
    first = 3 + zeros - blur.size
    return spread[first : first + blur.size, first : first + blur.size]


def _insert_behind(program: Program, step: ProgramStep, new: ProgramStep) -> None:
    """Let all who read `step` read `new`, which reads it."""
    program.insert_after(new, step)
    for reader in program.steps:
        if reader is not new:
            reader.sources = [new if source is step else source for source in reader.sources]
    program.outputs = [new if output is step else output for output in program.outputs]


def _spread_kernel(step: ProgramStep) -> None:
    """A dilated kernel as a larger one with zeros between its elements."""
    block: Any = step.module
    conv = block.Conv2d
    apart = conv.dilation[0]
    step.keys.pop("dilation", None)
    if apart == 1 or isinstance(conv, BinaryConv2d):
        return
    filters, channels, size, _ = conv.weight.shape
    wide = apart * (size - 1) + 1
    weight = conv.weight.new_zeros(filters, channels, wide, wide)
    weight[:, :, ::apart, ::apart] = conv.weight
    larger = nn.Conv2d(
        conv.in_channels, filters, wide, conv.stride, conv.padding, 1, conv.groups, bias=conv.bias is not None
    )
    larger.weight, larger.bias = nn.Parameter(weight), conv.bias
    step.module = _copy_block(block)
    step.module.Conv2d = larger
    step.keys.pop("pad", None)
    step.keys.update(size=str(wide), padding=str(conv.padding[0]))


# Sums and routes


def _translate_shortcut(program: Program, step: ProgramStep) -> None:
    """A sum of two inputs of one size for each source; weights as convolutions, the activation at the end."""
    module: Any = step.module
    apart = (1, *module.sum_of.steps)
    if not hasattr(module, "w") and len(step.sources) == 2 and max(apart) == 1:
        return
    weights = [torch.ones(step.channels, dtype=torch.float64)] * len(step.sources)
    if hasattr(module, "w"):
        weights = [share * weights[0] for share in module.shares(module.w.double().cpu())]
    made = []
    terms = list(step.sources)
    for place, (source, weight) in enumerate(zip(step.sources, weights, strict=True)):
        if hasattr(module, "w") or apart[place] > 1:
            terms[place] = _make_share(source, weight, apart=apart[place])
            made.append(terms[place])
    sums = _make_sums(step, terms)
    replace_step(program, step, sums[-1], *made, *sums[:-1])


def _make_sums(step: ProgramStep, terms: list[ProgramStep]) -> list[ProgramStep]:
    """Shortcuts that add the terms one by one; the last has the activation of the step."""
    sums: list[ProgramStep] = []
    total = terms[0]
    for term in terms[1:]:
        total = ProgramStep(
            "shortcut", nn.Identity(), {"activation": "linear"}, [total, term], "from", channels=step.channels
        )
        total.relative = (True,)
        sums.append(total)
    total.keys["activation"] = step.keys.get("activation", "linear")
    return sums


def _make_share(source: ProgramStep, weights: Tensor, *, apart: int) -> ProgramStep:
    """Every n-th pixel of the source times the weights [C] of the channels of the sum."""
    channels = len(weights)
    count = min(channels, source.channels)
    matrix = torch.zeros(channels, source.channels, dtype=torch.float64)
    matrix[range(count), range(count)] = weights[:count]
    if source.channels == channels:
        kernels, groups = weights[:, None, None, None], channels
    else:
        kernels, groups = matrix[:, :, None, None], 1
    return make_convolution(source, kernels, 0 * weights, groups=groups, stride=apart)


def _translate_route(program: Program, step: ProgramStep) -> None:
    """A group of each of several sources: a route for each, then one for all."""
    if step.section.groups == 1 or len(step.sources) == 1:
        return
    parts = []
    for source in step.sources:
        part = make_route(source)
        part.channels = source.channels // step.section.groups
        part.keys = {"groups": str(step.section.groups), "group_id": str(step.section.group_id)}
        parts.append(part)
    replace_step(program, step, make_route(*parts), *parts)


# Other sizes


def _translate_max_pool(program: Program, step: ProgramStep) -> None:
    _unify_strides(step)
    if step.section.antialiasing and not step.section.maxpool_depth:
        size = step.section.size
        _split_blur(program, step)
        step.keys.update(size=str(size), padding=str(step.section.border))


def _translate_upsample(program: Program, step: ProgramStep) -> None:
    """A scale as a convolution; blocks that are summed likewise."""
    if _leaves_rest(step):
        return
    stride, scale = step.section.stride, step.section.scale
    numbers = scale * channel_ones(step)
    if stride < 0:
        kernels = numbers[:, None, None, None].expand(-1, 1, -stride, -stride)
        keys = {"groups": step.channels, "stride": -stride}
        replace_step(program, step, make_convolution(step.sources[0], kernels, 0 * numbers, **keys))
    elif scale != 1:
        step.keys.pop("scale")
        _insert_behind(program, step, make_depthwise(step, numbers))


def _translate_reorg3d(program: Program, step: ProgramStep) -> None:
    if not step.section.reverse:
        translate_reorg(program, step, step.section.stride)


def _reaches_beyond(step: ProgramStep) -> bool:
    """True where windows have places outside the map: what lies there does not count in a mean."""
    assert step.node is not None
    (_, *sides), (_, *windows) = step.node.inputs[0], step.node.shape
    reach = [
        (count - 1) * stride + step.section.size
        for count, stride in zip(windows, step.section.strides, strict=True)
    ]
    return step.section.border > 1 or any(end > side for end, side in zip(reach, sides, strict=True))


def _translate_local_average(program: Program, step: ProgramStep) -> None:
    """Windows that never reach beyond the map: equal weights for each channel."""
    _unify_strides(step)
    if _reaches_beyond(step) or "stride_x" in step.keys or "stride_y" in step.keys:
        return
    size, (stride, _) = step.section.size, step.section.strides
    weight = torch.full((step.channels, 1, size, size), size**-2, dtype=torch.float64)
    bias = torch.zeros(step.channels, dtype=torch.float64)
    moved = {"groups": step.channels, "stride": stride}
    replace_step(program, step, make_convolution(step.sources[0], weight, bias, **moved))


def _drop_step(program: Program, step: ProgramStep) -> None:
    if step.sources[0] is not program.image and program.outputs != [step]:
        program.replace(step, step.sources[0])
    else:
        replace_step(program, step, make_depthwise(step.sources[0], channel_ones(step)))


def _translate_softmax(program: Program, step: ProgramStep) -> None:
    """A temperature as a convolution before."""
    source = step.sources[0]
    assert step.node is not None
    if step.section.temperature == 1 or source is program.image or step.node.inputs[0].area != 1:
        return
    cooled = make_depthwise(source, channel_ones(source) / step.section.temperature)
    step.sources = [program.insert(cooled, before=step)]
    step.keys.pop("temperature")


TRANSLATORS: dict[str, Callable[[Program, ProgramStep], None]] = {
    "convolutional": _translate_convolution,
    "shortcut": _translate_shortcut,
    "route": _translate_route,
    "maxpool": _translate_max_pool,
    "upsample": _translate_upsample,
    "reorg3d": _translate_reorg3d,
    "local_avgpool": _translate_local_average,
    "empty": _drop_step,
    "softmax": _translate_softmax,
}
