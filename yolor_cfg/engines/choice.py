"""Which engine runs a network. An engine is imported when it is chosen: most need libraries of their own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch

from yolor_cfg.arguments import ENGINE_NAMES, PRECISION_NAMES
from yolor_cfg.engines.base import DEFAULT_ENGINE, Engine, EngineSettings
from yolor_cfg.errors import CfgError, MissingExtra, YolorError, check_choice
from yolor_cfg.model import Network

REWRITER = "yolor_cfg.rewrite.faster:rewrite_for_speed"
NATIVE_LIBRARY = "yolor_cfg.ops.native_code"


class EngineKind(NamedTuple):
    """Where an engine is, the modules that it needs, the extra that brings them, its precisions, and what
    it runs on."""

    home: str
    modules: tuple[str, ...] = ()
    extra: str = ""
    precisions: tuple[str, ...] = ("fp32", "bf16")
    devices: tuple[str, ...] = ("cpu",)


ENGINES = {
    "torch": EngineKind(
        "yolor_cfg.engines.torch_engine:TorchEngine",
        precisions=("fp32", "bf16", "fp16"),
        devices=("cpu", "cuda", "mps"),
    ),
    "compiled": EngineKind(
        "yolor_cfg.engines.compiled:CompiledEngine",
        precisions=("fp32", "bf16", "fp16"),
        devices=("cpu", "cuda"),
    ),
    "onnxruntime": EngineKind(
        "yolor_cfg.engines.onnxruntime_engine:OnnxruntimeEngine",
        ("onnxruntime", "onnx", "onnxscript", "onnxslim"),
        "export",
        ("fp32",),
    ),
    "openvino": EngineKind(
        "yolor_cfg.engines.openvino_engine:OpenvinoEngine",
        ("openvino", "onnx", "onnxscript", "onnxslim"),
        "openvino",
    ),
    "native": EngineKind("yolor_cfg.engines.native.engine:make_owner", (NATIVE_LIBRARY,)),
}
AUTO_ORDER = ("native", "torch")
"""What `auto` takes: the first that is installed and runs the network. Those that are missing here have to
export or compile it first, which takes longer than most runs."""


def is_installed(name: str) -> bool:
    """Whether everything is there that an engine needs."""
    if not all(_has_module(module) for module in ENGINES[name].modules):
        return False
    return name != "native" or import_module(NATIVE_LIBRARY).kernels_path() is not None


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def installed_engines(device: str = "cpu") -> tuple[str, ...]:
    """The engines that can be chosen on a device."""
    return tuple(name for name, kind in ENGINES.items() if device in kind.devices and is_installed(name))


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself, and so faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def choose_engine(network: Network, settings: EngineSettings = DEFAULT_ENGINE) -> Engine:
    """An engine with a rewritten copy of the network; one that keeps a state runs in torch as it is. Raises
    CfgError for what does not go together, MissingExtra for what is not installed."""
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    check_choice(settings.engine, ENGINE_NAMES)
    precision = check_choice(settings.precision, PRECISION_NAMES)
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    if any(hasattr(layer, "initial_state") for layer in network.module_list):
        _refuse_state(network, settings.engine)
        return make_engine("torch", network, precision)
    names = [settings.engine]
    if settings.engine == "auto":
        names = [name for name in AUTO_ORDER if _fits(name, precision, device) and is_installed(name)]
    _check_fit(names[-1], precision, device)
    return _first_that_runs(names, network, precision=precision, without=settings.without)


def _refuse_state(network: Network, engine: str) -> None:
    if engine not in ("auto", "torch"):
        raise CfgError(
            "a recurrent network runs in torch alone",
            path=network.graph.path,
            found=f"engine {engine}",
            allowed=("auto", "torch"),
        )


def _fits(name: str, precision: str, device: torch.device) -> bool:
    """Whether the engine has this precision on this device; torch takes the others too, to say what is wrong
    with them."""
    kind = ENGINES[name]
    return name == "torch" or (precision in kind.precisions and device.type in kind.devices)


def _check_fit(name: str, precision: str, device: torch.device) -> None:
    """Raise an error unless the engine is installed and has this precision on this device."""
    kind = ENGINES[name]
    if device.type not in kind.devices:
        raise CfgError(
            "the engine does not run on this device", found=f"{name} on {device}", allowed=kind.devices
        )
    if precision not in kind.precisions or (precision == "fp16" and device.type == "cpu"):
        allowed = [one for one in kind.precisions if one != "fp16" or device.type != "cpu"]
        raise CfgError(
            "the engine has no such precision on this device",
            found=f"{name} in {precision} on {device.type}",
            allowed=allowed,
        )
    if not is_installed(name) and kind.extra:
        raise MissingExtra(kind.extra)


def _first_that_runs(
    names: Sequence[str], network: Network, *, precision: str, without: tuple[str, ...]
) -> Engine:
    """The first engine that takes the network; the error of the last one."""
    for name in names[:-1]:
        try:
            return make_engine(name, _rewrite(network, without), precision)
        except YolorError:
            continue
    return make_engine(names[-1], _rewrite(network, without), precision)


def _rewrite(network: Network, without: tuple[str, ...]) -> Network:
    """A rewritten network that shares nothing with this one."""
    faster: Network = _load(REWRITER)(network, without=without).network
    return copy.deepcopy(network) if faster is network else faster


def engine_note(engine: Engine, network: Network) -> str:
    """One line on what runs the network, and whether another precision would be faster."""
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    text = f"engine: {engine.name}, {engine.precision}"
    if engine.precision == "fp32" and has_bf16(device):
        text += "; bf16 (--precision auto) would be about twice as fast here, with slightly other boxes"
    return text


def make_engine(name: str, network: Network, precision: str) -> Engine:
    """The engine of that name, which takes the network over."""
    engine: Engine = _load(ENGINES[name].home)(network, precision=precision)
    engine.name, engine.precision = name, precision
    return engine


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
