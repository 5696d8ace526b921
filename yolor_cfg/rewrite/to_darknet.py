"""A network as plain Darknet: a cfg and tensors that C Darknet and OpenCV run with the same boxes.

Implicit knowledge is folded, and what Darknet has no section for is said with convolutions, which every
reader has: space to depth and wavelets are fixed 2x2 convolutions, a batch norm or a vector that could not be
folded is a convolution of one weight a channel. What cannot be said is refused with a CfgError.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import DARKNET
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock
from yolor_cfg.rewrite.absorb import in_float64, makers, norms_in, statistics, without_norm
from yolor_cfg.rewrite.channel_maps import ChannelMap
from yolor_cfg.rewrite.fold import constants, drop_constants, find_maps, fold, pointwise
from yolor_cfg.rewrite.program import Program, Step, route

Handler = Callable[[Program, Step], None]


def to_plain_darknet(network: Network, *, keep_bn: bool = False) -> Network:
    """The network in the darknet dialect, its cfg without a word that only YOLOR knows.

    Batch norms are folded as well, since readers differ in their epsilon; `keep_bn` keeps them and moves the
    difference between its epsilon and C Darknet's 1e-5 into the variances. Raises CfgError.
    """
    folded = fold(network, norms=not keep_bn).network
    with torch.no_grad():
        program = Program(folded)
        if network.graph.dialect.is_yolor:
            _translate(program, keep_bn=keep_bn)
        for step in program.steps:
            _as_darknet_reads(program, step)
        program.dialect = DARKNET.name
        for key in ("dialect", "bn_eps"):
            program.set_net(key, None)
        program.add_comment("# plain Darknet: what only YOLOR has a section for is said with convolutions")
        return program.built()


def _translate(program: Program, *, keep_bn: bool) -> None:
    """Put words of Darknet's in the place of YOLOR's."""
    values = constants(program)
    for found in list(find_maps(program, values, norms=not keep_bn)):
        _put(program, found.step, _as_convolution(found.map, found.source))
    drop_constants(program, values)
    for step in list(program.steps):
        if step.section is None:
            continue  # made by the lines above
        handler = HANDLERS.get(step.section.type)
        if handler is not None:
            handler(program, step)
        elif "darknet" not in step.section.dialects:
            raise _unsayable(step)


def _as_darknet_reads(program: Program, step: Step) -> None:
    """The activation by Darknet's name, variances for Darknet's epsilon."""
    if step.keys.get("activation") == "silu":
        step.keys["activation"] = "swish"
    if all(norm.eps == DARKNET.bn_eps for norm in norms_in(step.module)):
        return
    step.module = in_float64(step.module)
    for norm in norms_in(step.module):
        _, variance = statistics(norm)
        variance.add_(norm.eps - DARKNET.bn_eps)
        if bool((variance < 0).any()):
            raise step.error(
                "a variance is too small for C Darknet's epsilon",
                allowed="folded batch norms",
                found=f"a variance below {DARKNET.bn_eps - norm.eps:g}",
            )


def _unsayable(step: Step, what: str = "", *, hint: str = "") -> CfgError:
    message = "plain Darknet has nothing that computes this"
    return step.error(message, found=what or f"[{step.name}]", hint=hint)


def _put(program: Program, old: Step, new: Step, *others: Step) -> None:
    """Put new steps in the place of an old one; the first is read in its place."""
    new.comments = (*old.comments, *new.comments)
    for step in (*others, new):
        program.insert(step, before=old)
    program.replace(old, new)


# Convolutions that say what Darknet has no section for


def _as_convolution(of_channels: ChannelMap, source: Step) -> Step:
    """A map of channels as a 1x1 convolution of `source`."""
    if of_channels.is_diagonal:
        return _depthwise(source, of_channels.scale, of_channels.shift)
    matrix = torch.zeros(len(of_channels.source), of_channels.channels, dtype=torch.float64)
    known = (of_channels.source >= 0).nonzero()[:, 0]
    matrix[known, of_channels.source[known]] = of_channels.scale[known]
    return pointwise(matrix, of_channels.shift, source=source)


def _depthwise(
    source: Step, scale: Tensor, shift: Tensor | None = None, *, activation: str = "linear"
) -> Step:
    """Each channel times a number plus a number, then the activation."""
    kernels = scale[:, None, None, None]
    shift = torch.zeros_like(scale) if shift is None else shift
    return _fixed(source, kernels, shift, groups=len(scale), activation=activation)


def _fixed(source: Step, weight: Tensor, bias: Tensor, *, activation: str = "linear", **keys: int) -> Step:
    """A convolution with these kernels [D, C/groups, k, k]; keys are those of the section."""
    filters, channels, size, _ = weight.shape
    convolution = nn.Conv2d(channels * keys.get("groups", 1), filters, size, groups=keys.get("groups", 1))
    convolution.weight, convolution.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    texts = {"filters": filters, "size": size, "stride": 1, "pad": 0, **keys, "activation": activation}
    return Step(
        "convolutional",
        ConvBlock(convolution, None, activation),
        {key: str(value) for key, value in texts.items()},
        [source],
        channels=filters,
    )


def _ones(source: Step) -> Tensor:
    return torch.ones(source.channels, dtype=torch.float64)


def _blocks_of_four(program: Program, step: Step) -> None:
    """[reorg] and [dwt]: what is made of every 2x2 block of pixels, found out by trying every pixel."""
    source = step.sources[0]
    count = 4 * source.channels
    pixels = torch.eye(count, dtype=torch.float64).reshape(count, source.channels, 2, 2)
    bias = step.module(torch.zeros_like(pixels[:1])).flatten()
    weight = (step.module(pixels).flatten(1) - bias).T.reshape(-1, source.channels, 2, 2)
    new = _fixed(source, weight, bias, stride=2)
    new.comments = (f"# [{step.name}]: every 2x2 block of pixels becomes one of {len(bias)} channels",)
    _put(program, step, new)


def _focus(program: Program, step: Step) -> None:
    from yolor_cfg.ops.resampling import ColumnsFirst

    reorg = Step("reorg", ColumnsFirst(), sources=step.sources, channels=4 * step.sources[0].channels)
    step.sources = [program.insert(reorg, before=step)]
    step.name = "convolutional"
    _blocks_of_four(program, reorg)


def _mixed_sizes(program: Program, step: Step) -> None:
    """A convolution with several kernel sizes as several convolutions."""
    if len(makers(step.module)) == 1:  # type: ignore[arg-type]
        return
    if step.sources[0] is program.image:  # which only the first section can read
        step.sources = [program.insert(_depthwise(program.image, _ones(program.image)), before=step)]
    block = without_norm(step.module) or step.module
    parts = []
    for conv in makers(block):  # type: ignore[arg-type]
        filters, _, size, _ = conv.weight.shape
        keys = {**step.keys, "size": str(size), "filters": str(filters), "pad": "1", "batch_normalize": "0"}
        parts.append(
            Step("convolutional", ConvBlock(conv, None, "linear"), keys, list(step.sources), channels=filters)
        )
    _put(program, step, route(*parts), *parts)


def _local_average(program: Program, step: Step) -> None:
    """A mean over windows in which the zeros around the map count: equal weights for each channel."""
    size, border, (down, across) = step.section.size, step.section.border, step.section.strides
    if border % 2:
        raise _unsayable(step, f"size={size}, stride={down}: zeros on two sides alone")
    weight = torch.full((step.channels, 1, size, size), size**-2, dtype=torch.float64)
    keys = {"stride": down} if down == across else {"stride_x": across, "stride_y": down}
    _put(
        program,
        step,
        _fixed(step.sources[0], weight, 0 * _ones(step), groups=step.channels, padding=border // 2, **keys),
    )


# Sections that Darknet says in other words


def _drop(program: Program, step: Step) -> None:
    if step.sources[0] is program.image:
        _put(program, step, _depthwise(program.image, _ones(step)))
    else:
        program.replace(step, step.sources[0])


def _max_pool(program: Program, step: Step) -> None:
    size, border = step.section.size, step.section.border
    if step.section.maxpool_depth:
        return
    if border % 2:
        raise _unsayable(
            step,
            f"size={size}: a zero at the right and the bottom counts as a value",
            hint="the first Darknet has no maximum with zeros; size=3 is symmetric",
        )
    step.keys.pop("padding", None)
    if border != size - 1:
        step.keys["padding"] = str(border)


def _plain_route(program: Program, step: Step) -> None:
    step.name = "route"


def _first_half(program: Program, step: Step) -> None:
    if any(source.channels % 2 for source in step.sources):
        raise _unsayable(step, "an odd count of channels")
    step.name = "route"
    step.keys.update(groups="2", group_id="0")


def _shortcut(program: Program, step: Step) -> None:
    """Sums of two, as OpenCV reads no longer ones; YOLOR's weights, which Darknet cannot normalise in the
    same way, as convolutions."""
    step.keys["activation"] = "linear"
    weighted = hasattr(step.module, "w")
    if len(step.sources) == 2 and not weighted:
        return
    made: list[Step] = []
    first, *others = step.sources
    if weighted:
        shares = step.module.shares(step.module.w.double().cpu())  # type: ignore[operator]
        made = [
            _depthwise(source, share * _ones(source))
            for source, share in zip(step.sources, shares, strict=True)
        ]
        first, *others = made
    for other in others:
        first = Step(
            "shortcut",
            nn.Identity(),
            {"activation": "linear"},
            [first, other],
            "from",
            channels=step.channels,
            relative=(True,),
        )
        made.append(first)
    _put(program, step, first, *made[:-1])


def _product(program: Program, step: Step) -> None:
    assert step.node is not None
    scale, x = step.node.inputs
    if step.name == "scale_channels" and scale not in (x._replace(height=1, width=1), x._replace(channels=1)):
        raise _unsayable(step, f"a scale {scale} for a map {x}")
    step.keys["activation"] = "linear"


def _with_vector(program: Program, step: Step) -> None:
    """x with a vector or a map z that depends on the image."""
    assert step.node is not None
    x, z = step.sources
    x_size, z_size = step.node.inputs
    kind = getattr(step.section, "combine", "")
    flat = z_size[1:] == (1, 1)
    if getattr(step.section, "flat", False) and not flat:
        raise _unsayable(step, f"a matrix {z_size} as a vector")
    if kind in ("shift", "alternate") and z_size[1:] != x_size[1:]:
        raise _unsayable(step, f"a vector of its own for each image, spread over a map {x_size}")
    made = []
    if kind == "select":
        z = _depthwise(z, _ones(z), activation="logistic")
        made = [z]
    if kind == "alternate":
        _put(program, step, route(z, x))
        return
    name = "shortcut" if kind == "shift" else "sam" if z_size[1:] == x_size[1:] else "scale_channels"
    pair = [z, x] if name == "scale_channels" else [x, z]
    new = Step(name, nn.Identity(), {"activation": "linear"}, pair, "from", channels=x.channels)
    _put(program, step, new, *made)


def _alone_standing_norm(program: Program, step: Step) -> None:
    step.name = "batchnorm"


def _activation(program: Program, step: Step) -> None:
    """Into the convolution before; OpenCV knows no [activation]."""
    _activate(program, step, step.keys.get("activation", "linear"))
    program.replace(step, step.sources[0])


def _head(program: Program, step: Step) -> None:
    """The logistic moves into the convolution before, as new_coords wants it."""
    if program.readers(step):
        raise _unsayable(step, "the raw output of a head is read by others")
    _activate(program, step, "logistic")
    step.name = "yolo"
    step.keys.update(scale_x_y="2", new_coords="1")


def _activate(program: Program, reader: Step, activation: str) -> None:
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
        between = _depthwise(source, _ones(source), activation=activation)
        reader.sources = [program.insert(between, before=reader)]


HANDLERS: dict[str, Handler] = {
    "reorg": _blocks_of_four,
    "dwt": _blocks_of_four,
    "focus": _focus,
    "convolutional": _mixed_sizes,
    "local_avgpool": _local_average,
    "empty": _drop,
    "dropout": _drop,
    "reorg3d": _drop,
    "maxpool": _max_pool,
    "route2": _plain_route,
    "route3": _plain_route,
    "route_lhalf": _first_half,
    "shortcut": _shortcut,
    "sam": _product,
    "scale_channels": _product,
    "shift_channels": _with_vector,
    "control_channels": _with_vector,
    "select_channels": _with_vector,
    "alternate_channels": _with_vector,
    "shift_channels_2d": _with_vector,
    "control_channels_2d": _with_vector,
    "select_channels_2d": _with_vector,
    "alternate_channels_2d": _with_vector,
    "BatchNorm2d": _alone_standing_norm,
    "activation": _activation,
    "yolo": _head,
    "jde": _head,
}
