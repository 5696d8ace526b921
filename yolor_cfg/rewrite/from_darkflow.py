"""What darkflow computes, in C Darknet's words: its cut layers become small ones, its padding a number."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from yolor_cfg.errors import CfgError
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.cuts import CutLinear
from yolor_cfg.ops.recurrent import LinearBlock
from yolor_cfg.rewrite.absorb import fold_norm, to_float64
from yolor_cfg.rewrite.program import Program, ProgramStep
from yolor_cfg.sections.losses import SoftmaxSection
from yolor_cfg.sections.passing import DropoutSection
from yolor_cfg.sections.pooling import MaxPoolSection
from yolor_cfg.sections.resampling import CropSection, ReorgSection

CUT_KEYS = ("profile", "input", "output", "keep", "bins", "old", "old_output", "batch_normalize", "filters")


def translate_cut(program: Program, step: ProgramStep) -> None:
    """A cut layer as the layer that is left: a [convolutional] or a [connected]."""
    module = to_float64(step.module)
    activation = getattr(module, "activation", "linear")
    for key in CUT_KEYS:
        step.keys.pop(key, None)
    if isinstance(module, CutLinear):
        weight, bias = module.cut_weight(module.Linear.weight), module.cut_outputs(module.Linear.bias)
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        step.name, step.module = "connected", LinearBlock(_fill(linear, weight, bias), None, activation)
        step.keys["output"] = str(len(bias))
        return
    weight, bias, whole = _cut_kernels(module)
    conv = copy.copy(whole)
    conv.in_channels, conv.out_channels = weight.shape[1], len(bias)
    step.name, step.module = "convolutional", ConvBlock(_fill(conv, weight, bias), None, activation)
    step.keys.update(filters=str(len(bias)), activation=activation)


def _cut_kernels(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor, nn.Conv2d]:
    """The kernels and biases that are left, with a batch norm in them, and the whole layer."""
    layer: Any = fold_norm(module) or module
    conv = layer.Conv2d
    return layer.cut_weight(conv.weight), layer.cut_outputs(conv.bias), conv


def _fill(layer: Any, weight: torch.Tensor, bias: torch.Tensor) -> Any:
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return layer


def adapt_from_darkflow(step: ProgramStep) -> None:
    """Say in C Darknet's keys what darkflow reads otherwise; raises CfgError where there is no way."""
    for kind, adapt in ADAPTERS.items():
        if isinstance(step.section, kind):
            adapt(step)


def _adapt_reorg(step: ProgramStep) -> None:
    if step.section.dialect.reorg_order == "rows":
        step.name = "reorg3d"
        step.keys.pop("reverse", None)


def _adapt_pool(step: ProgramStep) -> None:
    section = step.section
    if not section.dialect.pads_last_window or section.maxpool_depth:
        return
    assert step.node is not None
    borders = {
        max((out - 1) * stride + section.size - length, 0)
        for length, out, stride in zip(
            step.node.inputs[0][1:], step.node.shape[1:], section.strides, strict=True
        )
    }
    if len(borders) > 1:
        raise _unsupported_error(step, "another padding down than across")
    step.keys["padding"] = str(borders.pop())


def _adapt_softmax(step: ProgramStep) -> None:
    if step.section.dialect.groups_softmax:
        return
    assert step.node is not None
    if step.node.inputs[0].area > 1:
        raise _unsupported_error(step, "a softmax in every cell")
    for key in ("groups", "temperature", "tree"):
        step.keys.pop(key, None)


def _adapt_dropout(step: ProgramStep) -> None:
    step.keys["probability"] = f"{step.section.dropped_share:g}"


def _adapt_crop(step: ProgramStep) -> None:
    if step.section.dialect.resizes_to_crop:
        assert step.node is not None
        step.keys.pop("noadjust", None)
        step.keys.update(crop_height=str(step.node.shape.height), crop_width=str(step.node.shape.width))


def _unsupported_error(step: ProgramStep, what: str) -> CfgError:
    return step.error("plain Darknet cannot compute this", found=what)


ADAPTERS: dict[type, Callable[[ProgramStep], None]] = {
    ReorgSection: _adapt_reorg,
    MaxPoolSection: _adapt_pool,
    SoftmaxSection: _adapt_softmax,
    DropoutSection: _adapt_dropout,
    CropSection: _adapt_crop,
}
