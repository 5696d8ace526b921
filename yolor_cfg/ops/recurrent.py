"""Recurrent cells: pure functions of an input and a state kept by the caller; parts have Darknet's names.

N images, C channels, H W cells. A vector of length n is [N, n, 1, 1], so cells work on vectors and maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolor_cfg.ops.activations import activate, activate_
from yolor_cfg.ops.pnnx import is_for_pnnx
from yolor_cfg.shape import Shape

CellState = tuple[Tensor, ...]


class LinearBlock(nn.Module):
    """Linear layer, batch norm (or bias) and activation; children: Linear and BatchNorm1d."""

    def __init__(self, linear: nn.Linear, norm: nn.BatchNorm1d | None, activation: str) -> None:
        super().__init__()
        self.Linear = linear
        if norm is not None:
            self.BatchNorm1d = norm
        self.has_norm = norm is not None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W], flattened -> [N, outputs, 1, 1]."""
        if is_for_pnnx() and not self.has_norm:
            return activate_(self._convolve(x), self.activation)
        x = self.Linear(x.flatten(1))
        if self.has_norm:
            x = self.BatchNorm1d(x)
        return activate_(x, self.activation)[:, :, None, None]

    def _convolve(self, x: Tensor) -> Tensor:
        """The linear layer as a convolution: maps made of vectors have an axis too many in ncnn."""
        kernel = self.Linear.weight.reshape(-1, *map(int, x.shape[1:]))
        return F.conv2d(x, kernel, self.Linear.bias)


class StateSize(NamedTuple):
    """The shape of a state for images of size `image` (None: for any size)."""

    shape: Shape
    image: Shape | None = None

    def zeros(self, images: Tensor) -> Tensor:
        """The state [N, C, H, W] before the first step; for other image sizes in proportion, rounded up."""
        channels, height, width = self.shape
        if self.image is not None:
            height = -(-images.shape[2] * height // self.image.height)
            width = -(-images.shape[3] * width // self.image.width)
        return images.new_zeros(images.shape[0], channels, height, width)


class RecurrentCell(nn.Module):
    """Base of the recurrent cells: named parts, and an initial state of zeros."""

    restarts_in_training = False

    def __init__(self, parts: Mapping[str, nn.Module], states: tuple[StateSize, ...]) -> None:
        super().__init__()
        self.states = states
        for name, part in parts.items():
            self.add_module(name, part)

    def initial_state(self, images: Tensor) -> CellState:
        """Zeros, one tensor per state, with the batch size, dtype and device of `images`."""
        return tuple(state.zeros(images) for state in self.states)


class RnnCell(RecurrentCell):
    """state' = input(x) + self(state), plus the state itself with `shortcut`; y = output(state')."""

    input: nn.Module
    self: nn.Module
    output: nn.Module
    restarts_in_training = True  # rnn_layer.c and crnn_layer.c clear the state before a pass of training

    def __init__(self, parts: Mapping[str, nn.Module], state: StateSize, *, shortcut: bool) -> None:
        super().__init__(parts, (state,))
        self.shortcut = shortcut

    def forward(self, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """x [N, C, H, W], state ([N, hidden, H, W],) -> y [N, output, H, W] and the next state."""
        (hidden,) = state
        after = self.input(x) + self.self(hidden)
        if self.shortcut:
            after = after + hidden
        return self.output(after), (after,)


class GruCell(RecurrentCell):
    """Gated recurrent unit; y is the next state. The candidate's `activation` is logistic in C Darknet."""

    input_z: nn.Module
    input_r: nn.Module
    input_h: nn.Module
    state_z: nn.Module
    state_r: nn.Module
    state_h: nn.Module

    def __init__(
        self, parts: Mapping[str, nn.Module], state: StateSize, activation: str = "logistic"
    ) -> None:
        super().__init__(parts, (state,))
        self.activation = activation

    def forward(self, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """x [N, C, H, W], state ([N, output, 1, 1],) -> y [N, output, 1, 1] and the next state."""
        (hidden,) = state
        update_gate = torch.sigmoid(self.input_z(x) + self.state_z(hidden))
        reset_gate = torch.sigmoid(self.input_r(x) + self.state_r(hidden))
        candidate = activate(self.input_h(x) + self.state_h(reset_gate * hidden), self.activation)
        after = update_gate * hidden + (1 - update_gate) * candidate
        return after, (after,)

    def darknet_output(self, value: Tensor) -> Tensor:
        """[N, output]."""
        return value.flatten(1)


class LstmRules(NamedTuple):
    """The variants of the LSTM.

    `peephole` lets the gates see the cell; `bottleneck` first mixes state and input, and `shortcut` then adds
    the first half of the result to the output; `limit` clamps the cell that is kept (0: no limit);
    `activation` is applied to candidate and cell.
    """

    peephole: bool = False
    bottleneck: bool = False
    shortcut: bool = False
    limit: float = 0.0
    activation: str = "tanh"


PLAIN_LSTM = LstmRules()


class LstmCell(RecurrentCell):
    """LSTM on vectors or maps: w* read the state, u* the input, v* the cell."""

    wf: nn.Module

    def __init__(
        self, parts: Mapping[str, nn.Module], state: StateSize, rules: LstmRules = PLAIN_LSTM
    ) -> None:
        super().__init__(parts, (state, state))
        self.rules = rules

    def forward(self, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """x [N, C, H, W], state (y, cell), each [N, output, H, W] -> y [N, output, H, W], next state."""
        seen, cell = state
        if self.rules.bottleneck:
            x = activate(self.wf(torch.cat([seen, x], dim=1)), self.rules.activation)
        forget_gate = torch.sigmoid(self._gate_sum("f", x, seen=seen, cell=cell))
        input_gate = torch.sigmoid(self._gate_sum("i", x, seen=seen, cell=cell))
        candidate = activate(self._gate_sum("g", x, seen=seen, cell=None), self.rules.activation)
        cell = forget_gate * cell + input_gate * candidate
        output_gate = torch.sigmoid(self._gate_sum("o", x, seen=seen, cell=cell))
        after = output_gate * activate(cell, self.rules.activation)
        y = after + _first_half(x) if self.rules.bottleneck and self.rules.shortcut else after
        return y, (after, self._clamp_cell(cell))

    def _gate_sum(self, gate: str, x: Tensor, *, seen: Tensor, cell: Tensor | None) -> Tensor:
        total: Tensor = getattr(self, f"u{gate}")(x)
        if not self.rules.bottleneck:
            total = getattr(self, f"w{gate}")(seen) + total
        if self.rules.peephole and cell is not None:
            total = total + getattr(self, f"v{gate}")(cell)
        return total

    def _clamp_cell(self, cell: Tensor) -> Tensor:
        return cell.clamp(-self.rules.limit, self.rules.limit) if self.rules.limit else cell


class History(nn.Module):
    """Channels for `frames` maps; Darknet, given one frame at a time, fills the first, the rest stay zero."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, frames*C, H, W]."""
        return F.pad(x, (0, 0, 0, 0, 0, x.shape[1] * (self.frames - 1)))


def _first_half(x: Tensor) -> Tensor:
    """The first half of the values of each image, zeros in the other half: Darknet halves the buffer."""
    flat = x.flatten(1)
    half = flat.shape[1] // 2
    return F.pad(flat[:, :half], (0, flat.shape[1] - half)).view_as(x)
