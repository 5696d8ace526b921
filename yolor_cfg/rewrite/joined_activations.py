"""An [activation] behind a linear convolution becomes the activation of the convolution."""

from __future__ import annotations

import copy

from yolor_cfg.ops.blocks import ActivationLayer, ConvBlock
from yolor_cfg.rewrite.program import Program, ProgramStep


def join_activations(program: Program) -> int:
    """Join them in place, where nothing else reads the convolution; returns how many."""
    apart = [step for step in program.steps if type(step.module) is ActivationLayer]
    for step in apart:
        while _is_passed_on(program, step):
            program.replace(step.sources[0], step.sources[0].sources[0])
    joined = [step for step in apart if _can_join(program, step)]
    for step in joined:
        _join(program, step)
    return len(joined)


def _is_passed_on(program: Program, step: ProgramStep) -> bool:
    """Whether the step reads a section that passes a step on to it alone."""
    source = step.sources[0]
    alone = source.is_alias and source.sources[0] is not program.image and source not in program.outputs
    return alone and program.readers(source) == [step]


def _can_join(program: Program, step: ProgramStep) -> bool:
    conv = step.sources[0]
    if (
        type(conv.module) is not ConvBlock
        or conv.module.activation != "linear"
        or conv.module.blur is not None
    ):
        return False
    alone = program.readers(conv) == [step] and conv not in program.outputs and not program.shares(conv)
    return alone and "activation" in conv.keys


def _join(program: Program, step: ProgramStep) -> None:
    conv = step.sources[0]
    block = copy.copy(conv.module)
    assert isinstance(block, ConvBlock)
    assert isinstance(step.module, ActivationLayer)
    block.activation = step.module.name
    conv.module = block
    conv.keys["activation"] = step.keys["activation"]
    program.replace(step, conv)
