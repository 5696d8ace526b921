"""A network as plain Darknet: a cfg and tensors that C Darknet and OpenCV run with the same boxes.

Implicit knowledge is folded, and what Darknet has no section for is said with convolutions, which every
reader has: space to depth and wavelets are fixed 2x2 convolutions, a batch norm or a vector that could not be
folded is a convolution of one weight a channel. What cannot be said is refused with a CfgError.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import DARKNET
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.rewrite.absorb import find_norms, fold_norm, kernel_layers, running_stats, to_float64
from yolor_cfg.rewrite.convolutions import (
    channel_ones,
    convolution_from_map,
    make_convolution,
    make_depthwise,
    replace_step,
    translate_reorg,
)
from yolor_cfg.rewrite.fold import drop_constants, find_constants, find_maps, fold
from yolor_cfg.rewrite.program import Program, ProgramStep, make_route

StepTranslator = Callable[[Program, ProgramStep], None]


def to_plain_darknet(network: Network, *, keep_bn: bool = False) -> Network:
    """The network in the darknet dialect, its cfg without a word that only YOLOR knows.

    Batch norms are folded as well, since readers differ in their epsilon; `keep_bn` keeps them and moves the
    difference between its epsilon and C Darknet's 1e-5 into the variances. Raises CfgError.
    """
    folded = fold(network, norms=not keep_bn).network
    with torch.no_grad():
        program = Program(folded)
        if network.graph.dialect.is_yolor:
            _translate_program(program, keep_bn=keep_bn)
        for step in program.steps:
            _adapt_to_darknet(program, step)
        program.dialect = DARKNET.name
        for key in ("dialect", "bn_eps"):
            program.set_net(key, None)
        program.add_comment("# plain Darknet: what only YOLOR has a section for is said with convolutions")
        return program.build_network()


def _translate_program(program: Program, *, keep_bn: bool) -> None:
    """Put words of Darknet's in the place of YOLOR's."""
    values = find_constants(program)
    for found in list(find_maps(program, values, norms=not keep_bn)):
        replace_step(program, found.step, convolution_from_map(found.map, found.source))
    drop_constants(program, values)
    for step in list(program.steps):
        if step.section is None:
            continue  # made by the lines above
        handler = TRANSLATORS.get(step.section.type)
        if handler is not None:
            handler(program, step)
        elif "darknet" not in step.section.dialects:
            raise _unsupported_error(step)


def _adapt_to_darknet(program: Program, step: ProgramStep) -> None:
    """The activation by Darknet's name, variances for Darknet's epsilon."""
    if step.keys.get("activation") == "silu":
        step.keys["activation"] = "swish"
    if all(norm.eps == DARKNET.bn_eps for norm in find_norms(step.module)):
        return
    step.module = to_float64(step.module)
    for norm in find_norms(step.module):
        _, variance = running_stats(norm)
        variance.add_(norm.eps - DARKNET.bn_eps)
        if bool((variance < 0).any()):
            raise step.error(
                "a variance is too small for C Darknet's epsilon",
                allowed="folded batch norms",
                found=f"a variance below {DARKNET.bn_eps - norm.eps:g}",
            )


def _unsupported_error(step: ProgramStep, what: str = "", *, hint: str = "") -> CfgError:
    message = "plain Darknet has nothing that computes this"
    return step.error(message, found=what or f"[{step.name}]", hint=hint)


# Convolutions that say what Darknet has no section for


def _translate_focus(program: Program, step: ProgramStep) -> None:
    from yolor_cfg.ops.resampling import ColumnsFirst

    reorg = ProgramStep("reorg", ColumnsFirst(), sources=step.sources, channels=4 * step.sources[0].channels)
    step.sources = [program.insert(reorg, before=step)]
    step.name = "convolutional"
    translate_reorg(program, reorg)


def _translate_mixed_sizes(program: Program, step: ProgramStep) -> None:
    """A convolution with several kernel sizes as several convolutions."""
    if len(kernel_layers(step.module)) < 2:  # type: ignore[arg-type]
        return
    if step.sources[0] is program.image:  # which only the first section can read
        step.sources = [
            program.insert(make_depthwise(program.image, channel_ones(program.image)), before=step)
        ]
    block = fold_norm(step.module) or step.module
    parts = []
    for conv in kernel_layers(block):  # type: ignore[arg-type]
        filters, _, size, _ = conv.weight.shape
        keys = {**step.keys, "size": str(size), "filters": str(filters), "pad": "1", "batch_normalize": "0"}
        parts.append(
            ProgramStep(
                "convolutional", ConvBlock(conv, None, "linear"), keys, list(step.sources), channels=filters
            )
        )
    replace_step(program, step, make_route(*parts), *parts)


def _translate_local_average(program: Program, step: ProgramStep) -> None:
    """A mean over windows in which the zeros around the map count: equal weights for each channel."""
    size, border, (down, across) = step.section.size, step.section.border, step.section.strides
    if border % 2:
        raise _unsupported_error(step, f"size={size}, stride={down}: zeros on two sides alone")
    weight = torch.full((step.channels, 1, size, size), size**-2, dtype=torch.float64)
    keys = {"stride": down} if down == across else {"stride_x": across, "stride_y": down}
    replace_step(
        program,
        step,
        make_convolution(
            step.sources[0],
            weight,
            0 * channel_ones(step),
            groups=step.channels,
            padding=border // 2,
            **keys,
        ),
    )


# Sections that Darknet says in other words


def _drop_step(program: Program, step: ProgramStep) -> None:
    if step.sources[0] is program.image:
        replace_step(program, step, make_depthwise(program.image, channel_ones(step)))
    else:
        program.replace(step, step.sources[0])


def _translate_max_pool(program: Program, step: ProgramStep) -> None:
    size, border = step.section.size, step.section.border
    if step.section.maxpool_depth:
        return
    if border % 2:
        raise _unsupported_error(
            step,
            f"size={size}: a zero at the right and the bottom counts as a value",
            hint="the first Darknet has no maximum with zeros; size=3 is symmetric",
        )
    step.keys.pop("padding", None)
    if border != size - 1:
        step.keys["padding"] = str(border)


def _translate_route(program: Program, step: ProgramStep) -> None:
    step.name = "route"


def _translate_first_half(program: Program, step: ProgramStep) -> None:
    if any(source.channels % 2 for source in step.sources):
        raise _unsupported_error(step, "an odd count of channels")
    step.name = "route"
    step.keys.update(groups="2", group_id="0")


def _translate_shortcut(program: Program, step: ProgramStep) -> None:
    """Sums of two, as OpenCV reads no longer ones; YOLOR's weights, which Darknet cannot normalise in the
    same way, as convolutions."""
    step.keys["activation"] = "linear"
    weighted = hasattr(step.module, "w")
    if len(step.sources) == 2 and not weighted:
        return
    made: list[ProgramStep] = []
    first, *others = step.sources
    if weighted:
        shares = step.module.shares(step.module.w.double().cpu())  # type: ignore[operator]
        made = [
            make_depthwise(source, share * channel_ones(source))
            for source, share in zip(step.sources, shares, strict=True)
        ]
        first, *others = made
    for other in others:
        first = ProgramStep(
            "shortcut",
            nn.Identity(),
            {"activation": "linear"},
            [first, other],
            "from",
            channels=step.channels,
            relative=(True,),
        )
        made.append(first)
    replace_step(program, step, first, *made[:-1])


def _translate_product(program: Program, step: ProgramStep) -> None:
    assert step.node is not None
    scale, x = step.node.inputs
    if step.name == "scale_channels" and scale not in (x._replace(height=1, width=1), x._replace(channels=1)):
        raise _unsupported_error(step, f"a scale {scale} for a map {x}")
    step.keys["activation"] = "linear"


def _translate_vector(program: Program, step: ProgramStep) -> None:
    """x with a vector or a map z that depends on the image."""
    assert step.node is not None
    x, z = step.sources
    x_size, z_size = step.node.inputs
    kind = getattr(step.section, "combine", "")
    flat = z_size[1:] == (1, 1)
    if getattr(step.section, "flat", False) and not flat:
        raise _unsupported_error(step, f"a matrix {z_size} as a vector")
    if kind in ("shift", "alternate") and z_size[1:] != x_size[1:]:
        raise _unsupported_error(step, f"a vector of its own for each image, spread over a map {x_size}")
    made = []
    if kind == "select":
        z = make_depthwise(z, channel_ones(z), activation="logistic")
        made = [z]
    if kind == "alternate":
        replace_step(program, step, make_route(z, x))
        return
    name = "shortcut" if kind == "shift" else "sam" if z_size[1:] == x_size[1:] else "scale_channels"
    pair = [z, x] if name == "scale_channels" else [x, z]
    new = ProgramStep(name, nn.Identity(), {"activation": "linear"}, pair, "from", channels=x.channels)
    replace_step(program, step, new, *made)


def _translate_batch_norm(program: Program, step: ProgramStep) -> None:
    step.name = "batchnorm"


def _translate_activation(program: Program, step: ProgramStep) -> None:
    """Into the convolution before; OpenCV knows no [activation]."""
    _apply_activation(program, step, step.keys.get("activation", "linear"))
    program.replace(step, step.sources[0])


def _translate_head(program: Program, step: ProgramStep) -> None:
    """The logistic moves into the convolution before, as new_coords wants it."""
    if program.readers(step):
        raise _unsupported_error(step, "the raw output of a head is read by others")
    _apply_activation(program, step, "logistic")
    step.name = "yolo"
    step.keys.update(scale_x_y="2", new_coords="1")


def _apply_activation(program: Program, reader: ProgramStep, activation: str) -> None:
    """Let the reader see its source activated: by the convolution that makes it, if nobody else reads that
    and it has no activation, else by a convolution between."""
    source = reader.sources[0]
    block = source.module
    free = isinstance(block, ConvBlock) and block.activation == "linear" and block.blur is None
    if free and program.readers(source) == [reader] and not program.shares(source):
        source.module = copy.copy(block)
        source.module.activation = activation  # type: ignore[assignment]
        source.keys["activation"] = activation
    else:
        between = make_depthwise(source, channel_ones(source), activation=activation)
        reader.sources = [program.insert(between, before=reader)]


TRANSLATORS: dict[str, StepTranslator] = {
    "reorg": translate_reorg,
    "dwt": translate_reorg,
    "focus": _translate_focus,
    "convolutional": _translate_mixed_sizes,
    "local_avgpool": _translate_local_average,
    "empty": _drop_step,
    "dropout": _drop_step,
    "reorg3d": _drop_step,
    "maxpool": _translate_max_pool,
    "route2": _translate_route,
    "route3": _translate_route,
    "route_lhalf": _translate_first_half,
    "shortcut": _translate_shortcut,
    "sam": _translate_product,
    "scale_channels": _translate_product,
    "shift_channels": _translate_vector,
    "control_channels": _translate_vector,
    "select_channels": _translate_vector,
    "alternate_channels": _translate_vector,
    "shift_channels_2d": _translate_vector,
    "control_channels_2d": _translate_vector,
    "select_channels_2d": _translate_vector,
    "alternate_channels_2d": _translate_vector,
    "BatchNorm2d": _translate_batch_norm,
    "activation": _translate_activation,
    "yolo": _translate_head,
    "jde": _translate_head,
}
