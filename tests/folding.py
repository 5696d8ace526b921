"""Networks whose batch norms have seen something, and how far two networks are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolor_cfg.graph import Graph
from yolor_cfg.model import Network
from yolor_cfg.ops.blocks import ConvBlock

LEAST, MOST = 1e-4, 10.0  # running variances
CFG = Path(__file__).parents[1] / "cfg"
QUICK = ("yolor_csp_sss_paper", "yolor_csp_ssss_dwt", "yolor_nano", "yolov4_csp_sss")
"""One shipped network of each kind of stem and implicit knowledge that the quick tests take."""
SMALL = (
    *QUICK,
    *(
        "u5r5_s",
        "u5r5_s6",
        "yolor_csp_sss",
        "yolor_csp_sss_dwt",
        "yolor_csp_ssss",
        "yolor_csp_ssss_dwt_paper",
    ),
    *("yolor_csp_ssss_paper", "yolor_micro", "yolor_s", "yolor_u5r5_s", "yolov4_csp_sss_dwt"),
    *("yolov4_csp_ssss", "yolov4_csp_ssss_dwt"),
)
"""Those with less than 20 million parameters."""


def shipped(names: Iterable[str] | None = None) -> list[ParameterSet]:
    """These networks in `cfg/`, all by default, as parameters of a test; all but a few are slow tests."""
    stems = sorted(path.stem for path in CFG.glob("*.cfg")) if names is None else sorted(names)
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in stems]


def lived_in(graph: Graph, *, seed: int = 0) -> Network:
    """A float64 network with running variances from 1e-4 to 10 whose activations are nevertheless of order 1:
    each kernel is scaled so that what it gives for a random image is as large as its batch norm's deviation.
    Implicit tensors are far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(graph).double().eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            _draw(module, generator)
    for name, parameter in network.named_parameters():
        if name.endswith(".implicit") or name.endswith(".w"):
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    hooks = [hook for module in network.modules() for hook in _hooks(module)]
    with torch.no_grad():
        network(pictures(graph))
    for hook in hooks:
        hook.remove()
    network.reset()
    return network


def pictures(graph: Graph, images: int = 1, *, seed: int = 1) -> Tensor:
    """Random images of the network's size, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(images, *graph.image, generator=generator, dtype=torch.float64)


def apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference relative to max(1, |x|) of the first."""
    assert [x.shape for x in one] == [x.shape for x in other]
    return max(((x - y).abs() / x.abs().clamp(min=1)).max().item() for x, y in zip(one, other, strict=True))


def _draw(norm: _BatchNorm, generator: torch.Generator) -> None:
    def random(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(norm.num_features, generator=generator, dtype=torch.float64)

    norm.running_var = LEAST * (MOST / LEAST) ** random(0, 1)
    norm.running_mean = random(-1, 1) * norm.running_var.sqrt()
    norm.weight.data, norm.bias.data = random(0.5, 1.5), random(-0.5, 0.5)


def _hooks(module: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
    if isinstance(module, ConvBlock) and module.norm is not None:
        norm = module.norm
        inner = getattr(module, module.conv_name)
        return [inner.register_forward_hook(lambda _, __, out: _fitted(inner, norm, out))]
    return []


def _fitted(convolution: nn.Module, norm: nn.BatchNorm2d, out: Tensor) -> Tensor:
    """Scale the kernels so that their output is as large as the norm's deviation."""
    assert norm.running_var is not None
    scale = (norm.running_var / out.square().mean().clamp(min=1e-12)).sqrt()
    start = 0
    for part in getattr(convolution, "m", [getattr(convolution, "conv", convolution)]):
        part.weight.data *= scale[start : start + len(part.weight), None, None, None]
        start += len(part.weight)
    return out * scale[:, None, None]
