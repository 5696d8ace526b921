"""Small networks for the native engine, and each step of a plan against torch in float64."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

import torch
from small import graph_of
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.engines.native.binding import Op
from yolor_cfg.engines.native.engine import NativeEngine
from yolor_cfg.engines.native.steps import Step
from yolor_cfg.model import Network
from yolor_cfg.ops.activations import activate
from yolor_cfg.ops.native_code import kernels_path

BUILT = kernels_path() is not None


def conv(filters: int, size: int = 3, *, stride: int = 1, activation: str = "linear", more: str = "") -> str:
    """A convolution with a bias."""
    return (
        f"[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
        f"activation={activation}\n{more}\n"
    )


def network_of(text: str, *, image: tuple[int, int, int], dialect: str = "darknet") -> Network:
    """A network with weights that keep the size of values from layer to layer."""
    network = Network(graph_of(text, image=image, dialect=dialect)).eval()
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            spread = (2 / module.weight[0].numel()) ** 0.5
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * spread
            if module.bias is not None:
                module.bias.data = torch.randn(module.bias.shape, generator=generator) * 0.1
    return network.requires_grad_(False)


def images_for(network: Network, count: int = 1) -> Tensor:
    """Images of the network's size."""
    return torch.rand(count, *network.graph.image, generator=torch.Generator().manual_seed(1))


LAYERS = {
    "3x3 of an image": conv(24),
    "3x3 of an image, strided": conv(32, stride=2, activation="mish"),
    "6x6 of an image, strided": conv(16, 6, stride=2),
    "1x1 after 24": conv(24) + conv(255, 1),
    "3x3 of few to odd": conv(5) + conv(7),
    "3x3 by Winograd": conv(24) + conv(40, activation="swish"),
    "3x3 strided after 40": conv(40) + conv(33, stride=2),
    "5x5": conv(17) + conv(20, 5),
    "7x7 strided": conv(16) + conv(19, 7, stride=2),
    "dilated": conv(16) + conv(20, more="dilation=2"),
    "groups": conv(24) + conv(36, more="groups=3"),
    "depthwise": conv(40) + conv(40, more="groups=40", activation="relu6"),
    "depthwise strided": conv(12) + conv(12, 5, more="groups=12", stride=2),
    "pool": conv(24) + "[maxpool]\nsize=2\nstride=2\n",
    "pool of stride 1": conv(24) + "[maxpool]\nsize=2\nstride=1\n",
    "upsample": conv(24) + "[upsample]\nstride=2\n",
    "addition": conv(24) + conv(24) + "[shortcut]\nfrom=-2\nactivation=leaky\n",
    "addition of one read twice": conv(24) + conv(24) + "[shortcut]\nfrom=-2\n[route]\nlayers=-1,-2\n",
}
SPP = "".join(
    f"[maxpool]\nsize={size}\nstride=1\n[route]\nlayers={-1 - 2 * i}\n" for i, size in enumerate((5, 9))
)
NETWORKS = {
    "csp": conv(16)
    + conv(32, stride=2, activation="leaky")
    + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
    + conv(16)
    + conv(16)
    + "[route]\nlayers=-1,-2\n"
    + conv(32, 1)
    + "[route]\nlayers=-6,-1\n[maxpool]\nsize=2\nstride=2\n"
    + conv(30),
    "spp": conv(24, stride=2)
    + SPP
    + "[maxpool]\nsize=13\nstride=1\n[route]\nlayers=-1,-3,-5,-6\n"
    + conv(20, 1),
    "concatenated twice": conv(12)
    + conv(10)
    + "[route]\nlayers=-1,-2\n"
    + conv(9)
    + "[route]\nlayers=-1,-2,-1,-3\n"
    + conv(11, 1)
    + "[upsample]\nstride=2\n"
    + conv(8),
    "torch between": conv(16)
    + "[avgpool]\n"
    + conv(16, 1, activation="logistic")
    + "[scale_channels]\nfrom=-3\n"
    + conv(18)
    + "[activation]\nactivation=tanh\n"
    + conv(12),
}


class StepError(NamedTuple):
    """The largest difference of a step's output from what torch makes of the same inputs in float64, relative
    to its largest value."""

    label: str
    error: float


def step_errors(engine: NativeEngine, images: Tensor) -> Iterator[StepError]:
    """Run a plan step by step, and give the error of each."""
    plan = engine._plan(images)
    plan.ops[0].inp.data = images.data_ptr()
    maps, done = plan._new_wide_maps(), 0
    for step in plan.steps:
        inputs = [plan.layout.view(one).double().clone() for one in step.reads]
        if step.kind == "torch":
            plan._run_in_torch(step, maps)
            continue
        op = ctypes.byref(plan.ops, done * ctypes.sizeof(Op))
        engine._threads.run(engine.kernels, op, count=1)
        done += 1
        out = maps[step.out] if step.out in maps else plan.layout.view(step.out)
        wanted = _wanted(step, inputs, narrow=engine._builder.narrow) if inputs else images.double()
        yield StepError(step.label, float((out.double() - wanted).abs().max() / wanted.abs().max()))


def _wanted(step: Step, inputs: list[Tensor], *, narrow: bool) -> Tensor:
    """What a step should give, in the precision of its inputs."""
    x, window = inputs[0], step.window
    if step.filters is not None:
        weight, bias, is_depthwise = step.filters
        groups = len(weight) if is_depthwise else 1
        weight = weight.bfloat16() if narrow and not is_depthwise else weight
        x = F.conv2d(x, weight.double(), bias.double(), *window[1:], groups)
    elif step.kind == "pool":
        start = window.padding[0]
        reach = [
            (n - 1) * s + k - m - start
            for n, s, k, m in zip(
                (step.out.height, step.out.width), window.stride, window.kernel, x.shape[2:], strict=True
            )
        ]
        x = F.pad(x, (start, reach[1], start, reach[0]), value=-torch.inf)
        x = F.max_pool2d(x, window.kernel, window.stride)
    elif step.kind == "up":
        x = F.interpolate(x, scale_factor=float(window.stride[0]))
    if step.kind == "add":
        return activate(x + inputs[1], step.activation)
    x = activate(x, step.activation)
    return x if step.extra is None else activate(x + inputs[1], step.second)
