"""Parameter groups, optimizers and the EMA of a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolor_cfg.model import Network
from yolor_cfg.train.schedule import Rates

EMA_DECAY, EMA_RAMP = 0.9999, 2000
CLASSIFIER_WEIGHT = "classifier.weight"
"""Of the identities that embeddings learn."""


class Groups(NamedTuple):
    """The parameter groups: weights with weight decay (`decayed`); `biases`, with their own warm-up; and
    `others` (batch norm gains, implicit knowledge, fusion weights), without weight decay. Those that C
    Darknet updates by SGD even with `adam=1` are in `plain` as well."""

    decayed: list[nn.Parameter]
    biases: list[nn.Parameter]
    others: list[nn.Parameter]
    plain: frozenset[nn.Parameter] = frozenset()


def parameter_groups(network: Network) -> Groups:
    """The groups of the trainable parameters: sections name the decayed ones; biases end in "bias"."""
    decaying = {
        f"module_list.{node.index}.{name}" for node in network.graph.nodes for name in node.section.decayed()
    }
    groups = Groups([], [], [], find_plain(network))
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = name in decaying or name == CLASSIFIER_WEIGHT
        kind = groups.decayed if decayed else groups.biases if name.endswith("bias") else groups.others
        kind.append(parameter)
    return groups


def find_plain(network: Network) -> frozenset[nn.Parameter]:
    """The parameters of the sections whose update in C Darknet knows no Adam."""
    layers = zip(network.graph.nodes, network.module_list, strict=True)
    return frozenset(
        parameter
        for node, layer in layers
        if not node.section.learns_by_adam
        for parameter in layer.parameters()
    )


class OptimizerSettings(NamedTuple):
    """`kind` is sgd, adam or adamw; `momentum` is Adam's first beta, `beta2` its second, `eps` its own.
    `decays_all`: biases and gains take weight decay as well. With `plain_momentum` the plain parameters
    learn by SGD with that momentum; `nesterov` is of the kind sgd."""

    kind: str
    weight_decay: float
    momentum: float
    beta2: float = 0.999
    eps: float = 1e-8
    decays_all: bool = False
    plain_momentum: float | None = None
    nesterov: bool = True


def build_optimizer(
    groups: Groups, settings: OptimizerSettings, *, factors: Mapping[nn.Parameter, float] | None = None
) -> Optimizer:
    """SGD with momentum, Adam or AdamW over the three groups; `set_rates` sets their rates, times the factors
    of those parameters that have one."""
    lists = [
        {"params": groups.others, "name": "others", "weight_decay": 0.0},
        {"params": groups.decayed, "name": "decayed", "weight_decay": settings.weight_decay},
        {"params": groups.biases, "name": "biases", "weight_decay": 0.0},
    ]
    if settings.decays_all and settings.kind == "sgd":
        lists = [{**group, "weight_decay": settings.weight_decay} for group in lists]
    filled = [part for group in lists for part in _split_group(group, factors or {})]
    momentum = settings.momentum if settings.kind == "sgd" else settings.plain_momentum or 0.0
    if settings.kind == "sgd":
        nesterov = settings.nesterov and momentum > 0
        return torch.optim.SGD(filled, lr=0.01, momentum=momentum, nesterov=nesterov)
    plain = groups.plain if settings.plain_momentum is not None else frozenset()
    slow = [part for group in filled for part in _pick_parameters(group, lambda p: p in plain)]
    fast = [part for group in filled for part in _pick_parameters(group, lambda p: p not in plain)]
    if settings.decays_all:
        fast = [{**group, "weight_decay": settings.weight_decay} for group in fast]
    if not slow:
        return _build_adam(fast, settings)
    parts = [_build_adam(fast, settings)] if fast else []
    plain_groups = [{**group, "own_momentum": momentum} for group in slow]
    return MixedOptimizer(*parts, torch.optim.SGD(plain_groups, lr=0.01, momentum=momentum))


def _build_adam(groups: list[dict[str, Any]], settings: OptimizerSettings) -> Optimizer:
    make = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adam
    return make(groups, lr=0.01, betas=(settings.momentum, settings.beta2), eps=settings.eps)


class MixedOptimizer(Optimizer):
    """Several optimizers as one, each for its own groups."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure here
        """One update by each of them; groups and state are those of the whole."""
        first = 0
        for part in self.parts:
            end = first + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[first:end], self.state
            part.step()
            first = end


def _pick_parameters(
    group: dict[str, Any], is_wanted: Callable[[nn.Parameter], bool]
) -> Iterator[dict[str, Any]]:
    """The group with some of its parameters, if there are any."""
    chosen = [parameter for parameter in group["params"] if is_wanted(parameter)]
    if chosen:
        yield {**group, "params": chosen}


def _split_group(group: dict[str, Any], factors: Mapping[nn.Parameter, float]) -> Iterator[dict[str, Any]]:
    """The group in parts of one factor each."""
    found = {parameter: factors.get(parameter, 1.0) for parameter in group["params"]}
    for factor in sorted(set(found.values()), reverse=True):
        yield {**group, "params": [p for p, its in found.items() if its == factor], "factor": factor}


def set_rates(optimizer: Optimizer, rates: Rates) -> None:
    """Set the learning rates and the momentum (Adam's first beta) for a batch."""
    for group in optimizer.param_groups:
        rate = rates.bias if group["name"] == "biases" else rates.other
        group["lr"] = rate * group.get("factor", 1.0)
        if "momentum" in group:
            group["momentum"] = group.get("own_momentum", rates.momentum)
        else:
            group["betas"] = (rates.momentum, group["betas"][1])


def ema_decay(updates: int) -> float:
    """The decay of the EMA at update `updates` (from 1): it starts near 0 and approaches .9999."""
    return EMA_DECAY * (1 - math.exp(-updates / EMA_RAMP))


def darknet_ema_decay(alpha: float, iterations: int) -> Callable[[int], float]:
    """The decay at an update (from 1) by `ema_alpha`: from half of the training on (network.c 430). C Darknet
    puts the average in the place of the weights 1000 iterations before the end; here it is tested and saved
    beside them."""
    return lambda update: alpha if update > iterations // 2 else 0.0


class ModelEMA:
    """The EMA of a network's parameters and batch norm statistics: the weights that are tested and saved."""

    def __init__(self, network: Network, *, decay: Callable[[int], float] = ema_decay) -> None:
        self.network = copy.deepcopy(network).eval()
        self.updates, self.decay = 0, decay
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._followed: nn.Module | None = None
        self._pairs = TensorPairs([], [], [])

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Call once after each step; floating-point tensors are averaged (frozen ones stay bit-identical),
        counters are copied.

        The tensors are looked up on the first call with a network, which must keep them afterwards.
        """
        if network is not self._followed:
            self._followed, self._pairs = network, match_tensors(self.network, network)
        self.updates += 1
        torch._foreach_lerp_(self._pairs.ema, self._pairs.network, 1 - self.decay(self.updates))
        for mine, live in self._pairs.counters:
            mine.copy_(live)


class TensorPairs(NamedTuple):
    """The floating-point tensors of an EMA and of its network, in one order, and pairs of counters."""

    ema: list[Tensor]
    network: list[Tensor]
    counters: list[tuple[Tensor, Tensor]]


def match_tensors(ema: nn.Module, network: nn.Module) -> TensorPairs:
    """The tensors of both state dicts."""
    pairs = list(zip(ema.state_dict().values(), network.state_dict().values(), strict=True))
    numbers = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    counters = [pair for pair in pairs if not pair[0].dtype.is_floating_point]
    return TensorPairs([mine for mine, _ in numbers], [live for _, live in numbers], counters)
