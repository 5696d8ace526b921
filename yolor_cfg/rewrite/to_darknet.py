"""Converts a network to plain Darknet: a cfg and tensors that give the same boxes in C Darknet and OpenCV.

Implicit knowledge is folded, and what Darknet has no section for is expressed with convolutions, which every
reader supports: space-to-depth and wavelets become fixed 2x2 convolutions; a batch norm or a vector that
could not be folded becomes a convolution with one weight per channel. Anything else raises CfgError.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DARKNET
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.ops.combining import WeightedAddition
from yolor_cfg.ops.norms import is_outside_root, restore_bias, variance_for
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
from yolor_cfg.rewrite.foreign import find_foreign_part
from yolor_cfg.rewrite.fork_forms import (
    drop_unread_keys,
    find_head_obstacle,
    is_exponential,
    keep_read_keys,
    translate_depthwise,
    translate_groups,
)
from yolor_cfg.rewrite.from_darkflow import adapt_from_darkflow, translate_cut
from yolor_cfg.rewrite.program import Program, ProgramStep, make_route

StepTranslator = Callable[[Program, ProgramStep], None]


def to_plain_darknet(network: Network, *, keep_bn: bool = False) -> Network:
    """The network in the darknet dialect, without anything that only YOLOR knows.

    Batch norms are folded as well, since readers differ in their epsilon; `keep_bn` keeps them and moves the
    difference between their epsilon and C Darknet's 1e-5 into the variances. Raises CfgError.
    """
    folded = fold(network, norms=not keep_bn).network
    with torch.no_grad():
        program = Program(folded)
        if network.graph.dialect.is_pytorch:
            for step in program.steps:
                keep_read_keys(step)
            _translate_program(program, keep_bn=keep_bn)
        else:
            for step in program.steps:
                _translate_early(program, step)
        for step in program.steps:
            _adapt_to_darknet(program, step)
        _state_size(program)
        program.dialect = DARKNET.name
        for key in ("dialect", "bn_eps"):
            program.set_net(key, None)
        program.add_comment("# plain Darknet: sections that only YOLOR has are expressed with convolutions")
        return program.build_network()


def _state_size(program: Program) -> None:
    """Give [net] the size that a [crop] gives the input in darkflow."""
    image, lines = program.graph.image, program.graph.net.lines
    for key in ("width", "height") if program.graph.dialect.resizes_to_crop else ():
        if key not in lines or lines[key].value != str(getattr(image, key)):
            program.set_net(key, str(getattr(image, key)))


def _translate_program(program: Program, *, keep_bn: bool) -> None:
    """Replace YOLOR's sections with Darknet's."""
    values = find_constants(program)
    for found in list(find_maps(program, values, norms=not keep_bn)):
        replace_step(program, found.step, convolution_from_map(found.map, found.source))
    drop_constants(program, values)
    for step in list(program.steps):
        if step.section is None:
            continue  # made by the lines above
        handler = TRANSLATORS.get(step.section.darknet_form)
        if handler is not None:
            handler(program, step)
        elif "darknet" not in step.section.dialects:
            raise _unsupported_error(step)


def _translate_early(program: Program, step: ProgramStep) -> None:
    """What the programs near to C Darknet have or read otherwise."""
    if step.section is None or step.section.dialect.name == DARKNET.name:
        return  # made by folding, or as it has to be
    if step.section.darknet_form == "cut":
        translate_cut(program, step)
    elif step.section.darknet_form == "head":
        step.name = "yolo"
    found = find_foreign_part(step, DARKNET)
    if found:
        raise _unsupported_error(step, found)
    drop_unread_keys(step)
    adapt_from_darkflow(step)


def _adapt_to_darknet(program: Program, step: ProgramStep) -> None:
    """Use Darknet's name of the activation, and adapt variances to Darknet's epsilon."""
    _rename_activations(step)
    if all(norm.eps == DARKNET.bn_eps and not is_outside_root(norm) for norm in find_norms(step.module)):
        return
    step.module = to_float64(step.module)
    for norm in find_norms(step.module):
        restore_bias(norm)
        _, variance = running_stats(norm)
        variance.copy_(variance_for(norm, variance, DARKNET.bn_eps))
        if bool((variance < 0).any()):
            raise step.error(
                "a variance is too small for C Darknet's epsilon",
                allowed="folded batch norms",
                found=f"with the epsilon {norm.eps:g} here, {DARKNET.bn_eps:g} there",
            )


def _rename_activations(step: ProgramStep) -> None:
    for key, word in step.keys.items():
        activation = ACTIVATIONS.get(word) if key.endswith("activation") else None
        if activation is None or activation.is_in(DARKNET.name):
            continue
        if not activation.darknet_name:
            raise _unsupported_error(step, f"{key}={word}")
        step.keys[key] = activation.darknet_name


def _unsupported_error(step: ProgramStep, what: str = "", *, hint: str = "") -> CfgError:
    message = "plain Darknet cannot compute this"
    return step.error(message, found=what or f"[{step.name}]", hint=hint)


# Convolutions that say what Darknet has no section for


def _translate_focus(program: Program, step: ProgramStep) -> None:
    from yolor_cfg.ops.resampling import ColumnsFirst

    reorg = ProgramStep("reorg", ColumnsFirst(), sources=step.sources, channels=4 * step.sources[0].channels)
    step.sources = [program.insert(reorg, before=step)]
    step.name = "convolutional"
    translate_reorg(program, reorg)


def _translate_mixed_sizes(program: Program, step: ProgramStep) -> None:
    """Split a convolution with several kernel sizes into several convolutions."""
    if not isinstance(step.module, ConvBlock) or len(kernel_layers(step.module)) < 2:
        return
    if step.sources[0] is program.image:  # only the first section can read it
        step.sources = [
            program.insert(make_depthwise(program.image, channel_ones(program.image)), before=step)
        ]
    block = fold_norm(step.module) or step.module
    assert isinstance(block, ConvBlock)
    parts = []
    for conv in kernel_layers(block):
        filters, _, size, _ = conv.weight.shape
        keys = {**step.keys, "size": str(size), "filters": str(filters), "pad": "1", "batch_normalize": "0"}
        parts.append(
            ProgramStep(
                "convolutional", ConvBlock(conv, None, "linear"), keys, list(step.sources), channels=filters
            )
        )
    replace_step(program, step, make_route(*parts), *parts)


def _translate_local_average(program: Program, step: ProgramStep) -> None:
    """Average pooling that counts the zero padding: a depthwise convolution with equal weights."""
    size, border, (down, across) = step.section.size, step.section.border, step.section.strides
    if border % 2:
        raise _unsupported_error(step, f"size={size}, stride={down}: zero padding on two sides only")
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


# Sections that Darknet has in another form


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
            f"size={size}: zero padding at the right and the bottom counts as a value",
            hint="the first Darknet has no max-pooling over zero padding; size=3 is symmetric",
        )
    step.keys.pop("padding", None)
    if border != size - 1:
        step.keys["padding"] = str(border)


def _translate_route(program: Program, step: ProgramStep) -> None:
    step.name = "route"


def _translate_first_half(program: Program, step: ProgramStep) -> None:
    if any(source.channels % 2 for source in step.sources):
        raise _unsupported_error(step, "an odd number of channels")
    step.name = "route"
    step.keys.update(groups="2", group_id="0")


def _translate_shortcut(program: Program, step: ProgramStep) -> None:
    """Split into sums of two, since OpenCV reads no longer ones; YOLOR's weights, which Darknet cannot
    normalise in the same way, become convolutions."""
    activation = step.keys["activation"] = step.section.applied_activation
    total = step.module
    if len(step.sources) == 2 and not isinstance(total, WeightedAddition):
        return
    made: list[ProgramStep] = []
    first, *others = step.sources
    if isinstance(total, WeightedAddition):
        shares = total.shares(total.w.double().cpu())
        made = [
            make_depthwise(source, share * channel_ones(source))
            for source, share in zip(step.sources, shares, strict=True)
        ]
        first, *others = made
    for other in others:
        first = ProgramStep(
            "shortcut",
            nn.Identity(),
            {"activation": activation if other is others[-1] else "linear"},
            [first, other],
            "from",
            channels=step.channels,
            relative=(True,),
        )
        made.append(first)
    replace_step(program, step, first, *made[:-1])


def _translate_product(program: Program, step: ProgramStep) -> None:
    step.keys["activation"] = "linear"


def _translate_scale(program: Program, step: ProgramStep) -> None:
    assert step.node is not None
    scale, x = step.node.inputs
    if scale not in (x._replace(height=1, width=1), x._replace(channels=1)):
        raise _unsupported_error(step, f"a scale {scale} for a map {x}")
    step.keys["activation"] = "linear"


def _translate_vector(program: Program, step: ProgramStep) -> None:
    """Combine x with a vector or a map z that depends on the image."""
    assert step.node is not None
    x, z = step.sources
    x_size, z_size = step.node.inputs
    kind = getattr(step.section, "combine", "")
    flat = z_size[1:] == (1, 1)
    if getattr(step.section, "flat", False) and not flat:
        raise _unsupported_error(step, f"a matrix {z_size} as a vector")
    if kind in ("shift", "alternate") and z_size[1:] != x_size[1:]:
        raise _unsupported_error(step, f"a vector per image, broadcast over a map {x_size}")
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
    """Move it into the preceding convolution; OpenCV has no [activation]."""
    _apply_activation(program, step, step.keys.get("activation", "linear"))
    program.replace(step, step.sources[0])


def _translate_head(program: Program, step: ProgramStep) -> None:
    """Move the sigmoid into the preceding convolution, as new_coords requires."""
    if step.section.has_embedding:
        raise _unsupported_error(step, hint="C Darknet's [yolo] reads no embeddings")
    if program.readers(step):
        raise _unsupported_error(step, "other sections read the raw output of a head")
    obstacle = find_head_obstacle(step)
    if obstacle:
        raise _unsupported_error(step, obstacle)
    if is_exponential(step):
        for key in ("scale_x_y", "new_coords"):
            step.keys.pop(key, None)
        return
    _apply_activation(program, step, "logistic")
    step.name = "yolo"
    step.keys.update(scale_x_y="2", new_coords="1")


def _apply_activation(program: Program, reader: ProgramStep, activation: str) -> None:
    """Apply an activation to the reader's source: in the convolution that produces it, if that has no
    activation and no other reader, else in a convolution in between."""
    source = reader.sources[0]
    block = source.module
    alone = program.readers(source) == [reader] and not program.shares(source)
    if alone and isinstance(block, ConvBlock) and block.activation == "linear" and block.blur is None:
        activated = copy.copy(block)
        activated.activation = activation
        source.module = activated
        source.keys["activation"] = activation
    else:
        between = make_depthwise(source, channel_ones(source), activation=activation)
        reader.sources = [program.insert(between, before=reader)]


# By a section's `darknet_form`; any other form stands as it is, where Darknet has such a section.
TRANSLATORS: dict[str, StepTranslator] = {
    "activation": _translate_activation,
    "batchnorm": _translate_batch_norm,
    "depthwise": translate_depthwise,
    "blocks": translate_reorg,
    "cut": translate_cut,
    "focus": _translate_focus,
    "groups": translate_groups,
    "half": _translate_first_half,
    "head": _translate_head,
    "kernels": _translate_mixed_sizes,
    "local mean": _translate_local_average,
    "maxpool": _translate_max_pool,
    "nothing": _drop_step,
    "product": _translate_product,
    "route": _translate_route,
    "scale": _translate_scale,
    "sum": _translate_shortcut,
    "vector": _translate_vector,
}
