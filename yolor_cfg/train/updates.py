"""What sections ask of training in a Darknet cfg: which layers learn, from which update on, and how fast.

As on C Darknet's GPU (backward_network_gpu and update_network_gpu in network_kernels.cu): layers without
gradients still have their weight decay and momentum, and batch norm statistics change in all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yolor_cfg.model import Network
from yolor_cfg.ops.dropblock import DropBlock
from yolor_cfg.sections.demands import UpdateRules

USUAL = UpdateRules()
HeldGradients = dict[nn.Parameter, Tensor]
"""Gradients that wait for the first update of their layer."""


class LayerUpdates:
    """The rules of all layers of a network, applied around each update of its weights."""

    def __init__(self, network: Network) -> None:
        self.rules = read_rules(network)
        self.layers: list[nn.Module] = list(network.module_list)
        self.limited = [
            (layer.get_parameter(name), rules.limit, number)
            for number, (node, layer, rules) in enumerate(
                zip(network.graph.nodes, self.layers, self.rules, strict=True)
            )
            for name in (node.section.decayed() if rules.limit else ())
        ]

    @property
    def are_usual(self) -> bool:
        """Whether no layer asks for anything."""
        return all(rules == USUAL for rules in self.rules)

    def prepare_gradients(self, updates: int) -> HeldGradients:
        """Call before an update, when so many are done: layers behind a stop have no gradient, and what is
        not due has none at all, so that the optimizer leaves it. What is not due yet is returned: as in C
        Darknet, its gradients add up until it is."""
        held: HeldGradients = {}
        if self.are_usual:
            return held
        stop = self._find_stop(updates)
        for number, layer in enumerate(self.layers):
            if not self._is_due(number, updates):
                held |= take_gradients(layer) if self.rules[number].first else {}
                layer.zero_grad(set_to_none=True)
                continue
            for parameter in layer.parameters():
                if parameter.requires_grad and (number <= stop or parameter.grad is None):
                    parameter.grad = torch.zeros_like(parameter)
        return held

    @torch.no_grad()
    def limit_weights(self, updates: int) -> None:
        """Call after the same update: bring weights back between their bounds."""
        for weight, limit, number in self.limited:
            if weight.requires_grad and self._is_due(number, updates):
                weight.clamp_(-limit, limit)

    def _is_due(self, number: int, updates: int) -> bool:
        first = self.rules[number].first
        return 0 < first <= updates + 1

    def _find_stop(self, updates: int) -> int:
        """The last layer at which gradients stop; -1: none."""
        stops = [n for n, rules in enumerate(self.rules) if rules.stop == 1 or rules.stop > updates]
        return max(stops, default=-1)


def take_gradients(layer: nn.Module) -> HeldGradients:
    """The gradients of a layer by parameter."""
    found = [(parameter, parameter.grad) for parameter in layer.parameters()]
    return {parameter: gradient for parameter, gradient in found if gradient is not None}


def read_rules(network: Network) -> list[UpdateRules]:
    """The rules of each layer; what trains its statistics alone says so for the layers before it too."""
    nodes, net = network.graph.nodes, network.graph.net
    rules = [node.section.update_rules(net.burn_in) for node in nodes]
    rules = [each._replace(limit=each.limit or abs(net.clip)) for each in rules]
    last = max((number for number, each in enumerate(rules) if not each.first), default=-1)
    return [each._replace(first=0) if number <= last else each for number, each in enumerate(rules)]


def apply_rules(network: Network) -> None:
    """Freeze the layers before the last stop that holds for ever, and cut the gradients of layers that do not
    pass them on; call it before the optimizer is built."""
    rules = read_rules(network)
    last = max((number for number, each in enumerate(rules) if each.stop == 1), default=0)
    for layer, each in zip(network.module_list, rules, strict=True):
        if not each.passes:
            layer.register_forward_hook(_cut_gradients)
    for layer in network.module_list[:last]:
        layer.requires_grad_(False)


def rate_factors(network: Network) -> dict[nn.Parameter, float]:
    """The factors on the learning rate, of parameters that have one."""
    return {
        parameter: each.factor
        for layer, each in zip(network.module_list, read_rules(network), strict=True)
        for parameter in layer.parameters()
        if each.factor != 1
    }


def set_progress(network: Network, progress: float) -> None:
    """Tell layers that change over the training how far it has come, from 0 to 1."""
    for layer in network.modules():
        if isinstance(layer, DropBlock):
            layer.progress = progress


def _cut_gradients(layer: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    return (
        tuple(_cut_gradients(layer, inputs, each) for each in output) if isinstance(output, tuple) else output
    )
