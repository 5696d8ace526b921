"""In one task implicit knowledge is a preconditioner: a shift before a linear 1x1 convolution and a scale
behind it do not enlarge what a network can compute; they change the steps that an optimizer takes.

With m (W (x + z) + b) = V x + c, where V = diag(m) W and c = m (b + W z), an optimizer that sees only V, c
and their gradients takes the same steps as one of W, b, z and m: it keeps z, m and the optimizer's own
numbers of all four beside V and c (from which W = V / m and b = c / m - W z), and pulls each gradient back
through the derivative J of (V, c) by (W, b, z, m). To first order in the rate the preconditioner is

- of SGD J J^T: the rate of each row of V is multiplied by m^2, and through m the row learns along itself;
- of momentum J_t times the average of all J_s^T g_s: each gradient is averaged as it was pulled back;
- of AdamW J D^-1 J^T, where D divides each number that was pulled back by its own size: a factor m of a whole
  row drops out of D^-1 J^T g, so that the rate of V is multiplied by |m| alone; decay of W and m decays V.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network

INPUTS, OUTPUTS, STEPS = 12, 9, 300
CFG = f"""[net]
dialect=yolor
height=8
width=8
channels={INPUTS}
[convolutional]
filters={INPUTS}
size=1
activation=silu
[implicit_add]
filters={INPUTS}
[implicit_mul]
filters={OUTPUTS}
[route]
layers=0
[shift_channels]
from=1
[convolutional]
filters={OUTPUTS}
size=1
activation=linear
[control_channels]
from=2
"""
CONV, ADD, MUL = 5, 1, 2
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "sgd": lambda numbers: torch.optim.SGD(numbers, lr=0.2),
    "momentum": lambda numbers: torch.optim.SGD(numbers, lr=0.02, momentum=0.9, nesterov=True),
    "adamw": lambda numbers: torch.optim.AdamW(numbers, lr=0.01, weight_decay=0.05),
}


class Folded(NamedTuple):
    """The one convolution that a network with implicit knowledge amounts to: V [D, C] and c [D]."""

    V: Tensor
    c: Tensor

    @staticmethod
    def of(W: Tensor, b: Tensor, z: Tensor, m: Tensor) -> Folded:
        return Folded(m[:, None] * W, m * (b + W @ z))


class FoldedSteps:
    """Steps of an optimizer on V and c, from their gradients alone."""

    def __init__(self, start: list[Tensor], make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
        self.z, self.m = start[2].clone(), start[3].clone()
        self.numbers = [tensor.clone() for tensor in start]
        self.optimizer = make(self.numbers)

    def step(self, at: Folded, by_V: Tensor, by_c: Tensor) -> Folded:
        W = at.V / self.m[:, None]
        b = at.c / self.m - W @ self.z
        pulled = (
            self.m[:, None] * (by_V + by_c[:, None] * self.z),
            self.m * by_c,
            W.T @ (self.m * by_c),
            (by_V * W).sum(1) + by_c * (b + W @ self.z),
        )
        for number, value, gradient in zip(self.numbers, (W, b, self.z, self.m), pulled, strict=True):
            number.copy_(value)
            number.grad = gradient
        self.optimizer.step()
        _, _, self.z, self.m = (number.clone() for number in self.numbers)
        return Folded.of(*self.numbers)


@pytest.fixture
def network() -> Network:
    """A frozen trunk, then a prediction with +iFA and x iPR, in float64."""
    torch.manual_seed(0)
    network = Network(build_graph(parse(CFG))).double()
    network.module_list[0].requires_grad_(False)
    return network


def learned(network: Network) -> list[Tensor]:
    """W [D, C], b [D], z [C] and m [D]; they are the network's own memory."""
    conv = network.module_list[CONV].Conv2d
    return [
        conv.weight.detach()[:, :, 0, 0],
        conv.bias.detach(),
        network.module_list[ADD].implicit.detach().reshape(-1),
        network.module_list[MUL].implicit.detach().reshape(-1),
    ]


def data() -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(4, INPUTS, 8, 8, generator=rng, dtype=torch.float64)
    labels = (torch.rand(4, OUTPUTS, 8, 8, generator=rng) < 0.5).double()
    return images, labels, torch.rand(4, OUTPUTS, 8, 8, generator=rng, dtype=torch.float64)


def loss(found: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Neither quadratic nor alike in all places."""
    return (
        F.binary_cross_entropy_with_logits(found, labels)
        + (weights * (found.sigmoid() - 0.3).square()).mean()
    )


def train(network: Network, optimizer: torch.optim.Optimizer) -> Folded:
    """What the network amounts to after all steps."""
    images, labels, weights = data()
    for _ in range(STEPS):
        optimizer.zero_grad()
        [found] = network(images)
        loss(found, labels, weights).backward()
        optimizer.step()
    return Folded.of(*learned(network))


def train_folded(start: Folded, trunk: Tensor, step: Callable[[Folded, Tensor, Tensor], Folded]) -> Folded:
    """The same for one plain convolution behind the trunk."""
    _, labels, weights = data()
    at = start
    for _ in range(STEPS):
        V, c = (tensor.clone().requires_grad_() for tensor in at)
        loss(F.conv2d(trunk, V[:, :, None, None], c), labels, weights).backward()
        assert V.grad is not None
        assert c.grad is not None
        with torch.no_grad():
            at = step(at, V.grad, c.grad)
    return at


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_implicit_knowledge_is_a_preconditioner(network, name):
    start = [tensor.clone() for tensor in learned(network)]
    with torch.no_grad():
        trunk = network.module_list[0](data()[0])
    parameters = [one for one in network.parameters() if one.requires_grad]
    wanted = train(network, OPTIMIZERS[name](parameters))
    found = train_folded(Folded.of(*start), trunk, FoldedSteps(start, OPTIMIZERS[name]).step)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() < 1e-12
    plain = [tensor.clone() for tensor in Folded.of(*start)]
    optimizer = OPTIMIZERS[name](plain)

    def step_plainly(at: Folded, by_V: Tensor, by_c: Tensor) -> Folded:
        plain[0].grad, plain[1].grad = by_V, by_c
        optimizer.step()
        return Folded(*(tensor.clone() for tensor in plain))

    without = train_folded(Folded.of(*start), trunk, step_plainly)
    assert (without.V - wanted.V).abs().max() > 0.01  # the same function, other steps


def test_rates_of_the_rows_go_by_the_squares_of_m():
    """The first-order preconditioner J J^T of SGD, against finite differences of the folded convolution."""
    rng = torch.Generator().manual_seed(2)
    sizes = ((OUTPUTS, INPUTS), (OUTPUTS,), (INPUTS,), (OUTPUTS,))
    numbers = tuple(torch.randn(size, generator=rng, dtype=torch.float64) for size in sizes)
    jacobian = torch.autograd.functional.jacobian(lambda *given: Folded.of(*given).V.flatten(), numbers)
    J = torch.cat([part.flatten(1) for part in jacobian], dim=1)
    W, _, _, m = numbers
    rows = torch.block_diag(
        *(m[i] ** 2 * torch.eye(INPUTS) + torch.outer(W[i], W[i]) for i in range(OUTPUTS))
    )
    torch.testing.assert_close(J @ J.T, rows)
