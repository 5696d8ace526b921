"""Learning-rate schedules: YOLOR's warm-up and cosine, and the policies of a cfg.

A batch is one forward pass of all processes together; a step is one update of the weights.
"""

from __future__ import annotations

import math
from itertools import takewhile
from typing import NamedTuple, Protocol

import numpy as np

from yolor_cfg.sections.net import NetSection

NOMINAL_BATCH = 64  # the batch size that YOLOR's learning rates and weight decay are meant for
JDE_WARMUP, JDE_MILESTONES = 1000, (0.5, 0.75)
DRAWS = 0x9A7E
"""Separates the random rates from all other random numbers."""


class Rates(NamedTuple):
    """At one batch: learning rates of biases and of other parameters, momentum, batches per step."""

    bias: float
    other: float
    momentum: float
    accumulate: int


class Schedule(Protocol):
    """Returns the rates at batch `batch` (from 0)."""

    def __call__(self, batch: int) -> Rates: ...


class CosineHyperparameters(NamedTuple):
    """YOLOR's hyperparameters (hyp.scratch.*.yaml): learning rates, momentum, weight decay and warm-up."""

    lr0: float = 0.01
    lrf: float = 0.2
    momentum: float = 0.937
    weight_decay: float = 0.0005
    warmup_epochs: float = 3.0
    warmup_momentum: float = 0.8
    warmup_bias_lr: float = 0.1
    least_warmup: int = 1000


class Cosine:
    """YOLOR's schedule without its lag: every epoch has its own cosine rate, where the original is one
    epoch late after the warm-up. During the warm-up the rate of the biases falls from `warmup_bias_lr`,
    the other rates rise from 0, and momentum and accumulation rise to their final values."""

    def __init__(self, hyp: CosineHyperparameters, *, epochs: int, batches: int, batch_size: int) -> None:
        """An epoch has `batches` batches of `batch_size` images."""
        self.hyp, self.epochs, self.batches, self.batch_size = hyp, epochs, batches, batch_size
        self.warmup = max(round(hyp.warmup_epochs * batches), hyp.least_warmup)

    def __call__(self, batch: int) -> Rates:
        """The rates at this batch."""
        hyp, nominal = self.hyp, NOMINAL_BATCH / self.batch_size
        rate = hyp.lr0 * self.factor(batch // self.batches)
        if batch > self.warmup:
            return Rates(rate, rate, hyp.momentum, max(round(nominal), 1))
        part = batch / self.warmup
        return Rates(
            bias=_interpolate(hyp.warmup_bias_lr, rate, part),
            other=_interpolate(0.0, rate, part),
            momentum=_interpolate(hyp.warmup_momentum, hyp.momentum, part),
            accumulate=max(round(_interpolate(1.0, nominal, part)), 1),
        )

    def factor(self, epoch: int) -> float:
        """Half a cosine from 1 to lrf over all epochs."""
        return (1 + math.cos(epoch * math.pi / self.epochs)) / 2 * (1 - self.hyp.lrf) + self.hyp.lrf

    def weight_decay(self) -> float:
        """The weight decay, scaled to the number of images in a step."""
        accumulate = max(round(NOMINAL_BATCH / self.batch_size), 1)
        return self.hyp.weight_decay * self.batch_size * accumulate / NOMINAL_BATCH


class JdeSteps:
    """The schedule of JDE (Zhongdao/Towards-Realtime-MOT, train.py): a tenth of the rate after half of the
    epochs, a hundredth after three quarters; in the first epoch the rate rises by the fourth power over 1000
    batches, or over all of it. Every batch is an update."""

    def __init__(self, hyp: CosineHyperparameters, *, epochs: int, batches: int, batch_size: int) -> None:
        """As of `Cosine`; the number of images does not matter."""
        self.hyp, self.epochs, self.batches, self.batch_size = hyp, epochs, batches, batch_size
        self.warmup = min(JDE_WARMUP, batches)

    def __call__(self, batch: int) -> Rates:
        """The rates at this batch."""
        epoch = batch // self.batches
        passed = sum(epoch >= int(share * self.epochs) for share in JDE_MILESTONES)
        rise = (batch / self.warmup) ** 4 if batch < self.warmup and not epoch else 1.0
        rate = self.hyp.lr0 * 0.1**passed * rise
        return Rates(rate, rate, self.hyp.momentum, 1)

    def weight_decay(self) -> float:
        """The weight decay."""
        return self.hyp.weight_decay


class Policy:
    """The learning rate set in the cfg's [net] (get_current_rate in network.c): burn_in, then `policy`.

    A step has `subdivisions` batches. C Darknet counts a step before it updates the weights, so the first
    one has the number 1. `seed` decides what the policy `random` draws.
    """

    def __init__(self, net: NetSection, *, seed: int = 0) -> None:
        self.net, self.seed = net, seed

    def __call__(self, batch: int) -> Rates:
        """The rates at this batch; the cfg counts in steps."""
        rate = self.rate(batch // self.net.subdivisions + 1)
        return Rates(rate, rate, self.net.momentum, self.net.subdivisions)

    def rate(self, step: int) -> float:
        """The learning rate at this step."""
        net = self.net
        if step < net.burn_in:
            rise: float = (step / net.burn_in) ** net.power
            return net.learning_rate * rise
        if net.policy == "sgdr":
            return _sgdr_rate(net, step)
        if net.policy == "random":
            drawn: float = _draw_number(self.seed, step) ** net.power
            return net.learning_rate * drawn
        return net.learning_rate * POLICIES[net.policy](net, step)


def _draw_number(seed: int, step: int) -> float:
    """From 0 to 1 (but never 0, which has no negative power); it depends on the seed and the step alone, so
    that a resumed training draws the same."""
    return 1.0 - float(np.random.default_rng([DRAWS, seed, step]).random())


def _sgdr_rate(net: NetSection, step: int) -> float:
    """Cosines from learning_rate to learning_rate_min, each `sgdr_mult` times as long as the last; one ends
    when it is exceeded, so that its last step has the least rate."""
    cycle = max(net.sgdr_cycle, 1)
    while step > cycle:
        step -= cycle
        cycle *= max(net.sgdr_mult, 1)
    least = net.learning_rate_min
    return least + (net.learning_rate - least) * (1 + math.cos(step * math.pi / cycle)) / 2


def _constant_factor(net: NetSection, step: int) -> float:
    return 1.0


def _poly_factor(net: NetSection, step: int) -> float:
    factor: float = max(0.0, 1 - step / max(net.max_batches, 1)) ** net.power
    return factor


def _step_factor(net: NetSection, step: int) -> float:
    return net.scale ** (step // net.step)


def _steps_factor(net: NetSection, step: int) -> float:
    """The scales up to the first of the steps, as they are written, that lies ahead."""
    passed = takewhile(lambda pair: pair[0] <= step, zip(net.steps, net.scales, strict=False))
    return math.prod(scale for _, scale in passed)


def _exp_factor(net: NetSection, step: int) -> float:
    return net.gamma**step


def _sigmoid_factor(net: NetSection, step: int) -> float:
    return 1 / (1 + math.exp(min(net.gamma * (step - net.step), 700.0)))


POLICIES = {
    "constant": _constant_factor,
    "poly": _poly_factor,
    "step": _step_factor,
    "steps": _steps_factor,
    "exp": _exp_factor,
    "sigmoid": _sigmoid_factor,
}


def _interpolate(start: float, end: float, part: float) -> float:
    return start + (end - start) * part
