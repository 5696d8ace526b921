"""Parameter groups, optimizers and the running average of a network."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolor_cfg.model import Network
from yolor_cfg.train.schedule import Rates

EMA_DECAY, EMA_RAMP = 0.9999, 2000


class Groups(NamedTuple):
    """The parameters by what the optimizer does to them: `decayed` weights; `biases` with their own warm-up;
    and the `others` (batch norm gains, implicit knowledge, fusion weights), which do not decay."""

    decayed: list[nn.Parameter]
    biases: list[nn.Parameter]
    others: list[nn.Parameter]


def parameter_groups(network: Network) -> Groups:
    """Each section says which of its parameters decay; what a name ends in says which are biases."""
    decaying = {
        f"module_list.{node.index}.{name}" for node in network.graph.nodes for name in node.section.decayed()
    }
    groups = Groups([], [], [])
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = (
            groups.decayed if name in decaying else groups.biases if name.endswith("bias") else groups.others
        )
        kind.append(parameter)
    return groups


def build_optimizer(groups: Groups, *, kind: str, weight_decay: float, momentum: float) -> Optimizer:
    """SGD with Nesterov momentum, Adam or AdamW over the three groups; rates are set for each batch."""
    lists = [
        {"params": groups.others, "name": "others", "weight_decay": 0.0},
        {"params": groups.decayed, "name": "decayed", "weight_decay": weight_decay},
        {"params": groups.biases, "name": "biases", "weight_decay": 0.0},
    ]
    filled = [group for group in lists if group["params"]]
    if kind == "sgd":
        return torch.optim.SGD(filled, lr=0.01, momentum=momentum, nesterov=momentum > 0)
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return make(filled, lr=0.01, betas=(momentum, 0.999))


def set_rates(optimizer: Optimizer, rates: Rates) -> None:
    """The learning rates and the momentum (Adam's first beta) of this batch."""
    for group in optimizer.param_groups:
        group["lr"] = rates.bias if group["name"] == "biases" else rates.other
        if "momentum" in group:
            group["momentum"] = rates.momentum
        else:
            group["betas"] = (rates.momentum, group["betas"][1])


def ema_decay(updates: int) -> float:
    """How much of the average stays at update number `updates` (from 1): 0 at first, .9999 in the end."""
    return EMA_DECAY * (1 - math.exp(-updates / EMA_RAMP))


class ModelEMA:
    """The running average of a network's parameters and statistics: what is tested and kept."""

    def __init__(self, network: Network, *, updates: int = 0) -> None:
        self.network = copy.deepcopy(network).eval()
        self.updates = updates
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self._followed: nn.Module | None = None
        self._pairs = TensorPairs([], [], [])

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Once after each step; everything that is a floating number is averaged (what is frozen keeps every
        bit), counters are copied.

        Tensors are looked up when a network comes for the first time: from then on it keeps its tensors.
        """
        if network is not self._followed:
            self._followed, self._pairs = network, match_tensors(self.network, network)
        self.updates += 1
        torch._foreach_lerp_(self._pairs.ema, self._pairs.network, 1 - ema_decay(self.updates))
        for mine, live in self._pairs.counters:
            mine.copy_(live)


class TensorPairs(NamedTuple):
    """The floating numbers of an average and of the network that it follows, in one order, and the counters
    of both."""

    ema: list[Tensor]
    network: list[Tensor]
    counters: list[tuple[Tensor, Tensor]]


def match_tensors(ema: nn.Module, network: nn.Module) -> TensorPairs:
    """All that both state dicts hold."""
    pairs = list(zip(ema.state_dict().values(), network.state_dict().values(), strict=True))
    numbers = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    counters = [pair for pair in pairs if not pair[0].dtype.is_floating_point]
    return TensorPairs([mine for mine, _ in numbers], [live for _, live in numbers], counters)
