"""Causes in the input of the network, and in how windows are placed and maps enlarged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from yolor_cfg.analysis.compare.hypothesis import Hypothesis, LayerCase
from yolor_cfg.graph import IMAGE_INDEX
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.pooling import PoolLayer, avg_pool2d, max_pool2d
from yolor_cfg.ops.resampling import RepeatUpsample

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Those of ImageNet's images, RGB in 0..1, as torchvision's networks take them."""
SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "in 0..255": lambda x: x * 255,
    "divided by 255 once more": lambda x: x / 255,
    "in -1..1": lambda x: 2 * x - 1,
    "in -0.5..0.5": lambda x: x - 0.5,
    "less the mean of ImageNet": lambda x: x - _spread_channels(x, MEANS),
    "less the mean of ImageNet, divided by its deviation": lambda x: (
        (x - _spread_channels(x, MEANS)) / _spread_channels(x, DEVIATIONS)
    ),
    "in 0..255 less the mean of ImageNet": lambda x: 255 * (x - _spread_channels(x, MEANS)),
}


def _spread_channels(x: Tensor, numbers: tuple[float, ...]) -> Tensor:
    return x.new_tensor(numbers if x.shape[1] == 3 else numbers[:1] * x.shape[1])[:, None, None]


def other_inputs(case: LayerCase) -> Iterator[Hypothesis]:
    """The picture fitted, ordered or scaled otherwise, where the layer reads it."""
    if IMAGE_INDEX not in case.node.sources:
        return
    fits = {"": case.run.images, **case.fits}
    orders = ("", "BGR") if case.run.images.shape[1] == 3 else ("",)
    for fit, order, scale in product(fits, orders, SCALES):
        words = [word for word in (fit, order, scale) if word]
        if words and fits[fit].shape == case.run.images.shape:
            image = SCALES[scale](fits[fit].flip(1) if order else fits[fit])
            text = f"the input {', '.join(words)}"
            yield case.suppose("preprocessing", text, inputs=partial(_replace_image, case, image))


def _replace_image(case: LayerCase, image: Tensor) -> list[Tensor]:
    pairs = zip(case.node.sources, case.inputs, strict=True)
    return [image if source == IMAGE_INDEX else one for source, one in pairs]


def other_windows(case: LayerCase) -> Iterator[Hypothesis]:
    """Pooling with other borders, and means that count them or not."""
    layer = case.layer
    if not isinstance(layer, PoolLayer) or len(case.inputs) != 1:
        return
    kinds: dict[str, Callable[..., Tensor]] = {"the maximum": F.max_pool2d, "the mean": F.avg_pool2d}
    for kind, pool in kinds.items():
        for before in range(layer.window.size):
            for fill in (-inf, 0.0) if kind == "the maximum" else (0.0,):
                filled = "zeros" if fill == 0 else "nothing"
                text = f"{kind} of windows with {before} rows and columns of {filled} before the map"
                yield case.suppose(
                    "pooling padding",
                    text,
                    value=partial(_pool, case, pool, before=before, fill=fill),
                )
    for function, text in (
        (max_pool2d, "the maximum of each window"),
        (avg_pool2d, "the mean of each window, without its padding"),
    ):
        yield case.suppose("pooling kind", text, value=partial(function, case.inputs[0], layer.window))


def _pool(case: LayerCase, pool: Callable[..., Tensor], *, before: int, fill: float) -> Tensor:
    """As many windows as our layer has, the first of which starts so far before the map."""
    assert isinstance(case.layer, PoolLayer)
    x, window = case.inputs[0], case.layer.window
    behind = [
        (count - 1) * stride + window.size - length - before
        for count, stride, length in zip(case.node.shape[1:], window.strides, x.shape[2:], strict=True)
    ]
    padded = F.pad(x, (before, behind[1], before, behind[0]), value=fill)
    return pool(padded, window.size, window.strides)


def other_borders(case: LayerCase) -> Iterator[Hypothesis]:
    """A convolution whose windows start elsewhere."""
    layer = case.layer
    conv = getattr(layer, layer.conv_name) if isinstance(layer, ConvBlock) else None
    if not isinstance(conv, torch.nn.Conv2d) or isinstance(conv.padding, str) or conv.kernel_size == (1, 1):
        return
    size = conv.kernel_size[0]
    for before in (one for one in range(size) if one != conv.padding[0]):
        text = f"padding {before} before the map, here {conv.padding[0]}"
        yield case.suppose("convolution padding", text, value=partial(_convolve, case, before))


def _convolve(case: LayerCase, before: int) -> Tensor:
    """The value of our convolution if its first window starts so far before the map."""
    layer, x = case.copy_layer(), case.inputs[0]
    assert isinstance(layer, ConvBlock)
    conv = getattr(layer, layer.conv_name)
    behind = [
        (count - 1) * stride + dilation * (size - 1) + 1 - length - before
        for count, stride, dilation, size, length in zip(
            case.node.shape[1:], conv.stride, conv.dilation, conv.kernel_size, x.shape[2:], strict=True
        )
    ]
    conv.padding = (0, 0)
    return case.compute(layer, [F.pad(x, (before, behind[1], before, behind[0]))])


def other_resampling(case: LayerCase) -> Iterator[Hypothesis]:
    """Upsampling between pixels, and blocks of pixels in torch's order."""
    layer, x = case.layer, case.inputs[0] if case.inputs else None
    if isinstance(layer, RepeatUpsample) and x is not None:
        text = "bilinear, from the corners of pixels, here nearest"
        yield case.suppose("upsampling", text, value=partial(_interpolate_from_corners, x, layer))
        for mode in ("bilinear", "bicubic"):
            for aligned in (False, True):
                text = f"{mode}, {'corners aligned' if aligned else 'half-pixel centres'}, here nearest"
                yield case.suppose(
                    "upsampling",
                    text,
                    value=partial(_interpolate, x, layer, mode=mode, aligned=aligned),
                )
    stride = case.section.values.get("stride", 2)
    if case.section.type in ("reorg", "reorg3d") and x is not None and not x.shape[2] % stride:
        text = "blocks of pixels channel by channel (torch's pixel_unshuffle)"
        yield case.suppose("reorg order", text, value=partial(F.pixel_unshuffle, x, stride))


def _interpolate(x: Tensor, layer: RepeatUpsample, *, mode: str, aligned: bool) -> Tensor:
    larger = F.interpolate(x, scale_factor=float(layer.stride), mode=mode, align_corners=aligned)
    return larger * layer.scale


def _interpolate_from_corners(x: Tensor, layer: RepeatUpsample) -> Tensor:
    """Bilinear, where pixel i of the result is at i / stride (ONNX's `asymmetric`)."""
    for axis in (2, 3):
        place = torch.arange(x.shape[axis] * layer.stride, dtype=x.dtype) / layer.stride
        before = place.long()
        after = (before + 1).clamp(max=x.shape[axis] - 1)
        part = (place - before).reshape([-1 if one == axis else 1 for one in range(4)])
        x = x.index_select(axis, before) * (1 - part) + x.index_select(axis, after) * part
    return x * layer.scale
