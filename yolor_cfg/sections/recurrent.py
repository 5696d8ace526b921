"""[rnn] [gru] [lstm] [crnn] [conv_lstm] [history]: sections that remember the call before.

Their sub-layers are whole connected layers or convolutions, each with bias or batch norm and activation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yolor_cfg.lang.dialect import DARKNET_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Float, Int
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.tensors import TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

ANY_SHAPE = Shape(1, 1, 1)  # where only the names of the parts are asked for
SIZE_MESSAGE = "the state would not keep its size"
LOGISTIC_OF_RNN = {1: "logistic", 2: "loggy"}


class SubLayer(NamedTuple):
    """One sub-layer: how many channels (or numbers) it takes and gives, and what is applied to them."""

    inputs: int
    outputs: int
    activation: str = "linear"


class ConnectedCellSection(Section):
    """What the cells of vectors have in common."""

    dialects = DARKNET_ONLY

    output = Int(1, least=1, wanted=True, help="length of the output")
    batch_normalize = Flag(False, help="batch norm in every sub-layer in place of a bias")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """The sub-layers in the order in which they are stored."""
        raise AssertionError(f"[{self.type}] names no parts")

    def shape(self, x: Shape) -> Shape:
        return Shape(self.output, 1, 1)

    def build_sublayers(self, x: Shape) -> dict[str, nn.Module]:
        """The modules of the sub-layers."""
        return {name: self._build_sublayer(part) for name, part in self.sublayers(x).items()}

    def _build_sublayer(self, part: SubLayer) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.recurrent import LinearBlock

        linear = nn.Linear(part.inputs, part.outputs, bias=not self.batch_normalize)
        norm = nn.BatchNorm1d(part.outputs, eps=self.dialect.bn_eps) if self.batch_normalize else None
        return LinearBlock(linear, norm, part.activation)

    def macs(self, out: Shape, x: Shape) -> int:
        return sum(part.inputs * part.outputs for part in self.sublayers(x).values())

    def tensors(self, x: Shape) -> list[TensorSpec]:
        return [
            stored for name, part in self.sublayers(x).items() for stored in self._sublayer_specs(name, part)
        ]

    def _sublayer_specs(self, name: str, part: SubLayer) -> list[TensorSpec]:
        weight = TensorSpec("weight", f"{name}.Linear.weight", (part.outputs, part.inputs), transposable=True)
        if not self.batch_normalize:
            return [TensorSpec("bias", f"{name}.Linear.bias", (part.outputs,)), weight]
        beta, *statistics = batch_norm_specs(part.outputs, f"{name}.BatchNorm1d.")
        return [beta, weight, *statistics]

    def decayed(self) -> tuple[str, ...]:
        return tuple(f"{name}.Linear.weight" for name in self.sublayers(ANY_SHAPE))


class RnnSection(ConnectedCellSection, names="rnn"):
    """A hidden vector that each call renews from the input and from itself; the output is read off it."""

    examples = (
        "[rnn]\noutput=5\nhidden=7\nactivation=leaky\nbatch_normalize=1",
        "[rnn]\noutput=5\nhidden=7\nlogistic=1\nshortcut=1\nactivation=tanh",
    )

    hidden = Int(1, least=1, wanted=True, help="length of the hidden vector")
    activation = ActivationKey("logistic")
    logistic = Int(0, help="what the hidden vector's own sub-layer applies: 1 logistic, 2 loggy")
    shortcut = Flag(False, help="the hidden vector is also added to its renewal")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """input, self, output."""
        own = LOGISTIC_OF_RNN.get(self.logistic, self.activation)
        return {
            "input": SubLayer(x.size, self.hidden, self.activation),
            "self": SubLayer(self.hidden, self.hidden, own),
            "output": SubLayer(self.hidden, self.output, self.activation),
        }

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import RnnCell, StateSize

        return RnnCell(self.build_sublayers(x), StateSize(Shape(self.hidden, 1, 1)), shortcut=self.shortcut)


class GruSection(ConnectedCellSection, names="gru"):
    """A gated recurrent unit; its candidate goes through a logistic, as C Darknet is built."""

    examples = ("[gru]\noutput=5\nbatch_normalize=1", "[gru]\noutput=5")

    tanh = Flag(False, help="an older Darknet's key: tanh for the candidate; has no effect")

    def check(self) -> None:
        if self.tanh:
            self.warn("tanh", "has no effect: the candidate is logistic, as in C Darknet", found="tanh=1")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """What sees the input (update, reset, candidate), then what sees the state."""
        seen = {f"input_{gate}": SubLayer(x.size, self.output) for gate in "zrh"}
        return seen | {f"state_{gate}": SubLayer(self.output, self.output) for gate in "zrh"}

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import GruCell, StateSize

        return GruCell(self.build_sublayers(x), StateSize(Shape(self.output, 1, 1)))


class LstmSection(ConnectedCellSection, names="lstm"):
    """A long short-term memory."""

    examples = ("[lstm]\noutput=5\nbatch_normalize=1", "[lstm]\noutput=5")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """w* see the state, u* the input; gates forget, in, candidate, out."""
        seen = {f"w{gate}": SubLayer(self.output, self.output) for gate in "figo"}
        return seen | {f"u{gate}": SubLayer(x.size, self.output) for gate in "figo"}

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import LstmCell, StateSize

        return LstmCell(self.build_sublayers(x), StateSize(Shape(self.output, 1, 1)))


class ConvolutionalCellSection(Section):
    """What the cells of maps have in common; the state is a map, so its size must stay that of the input."""

    dialects = DARKNET_ONLY

    output = Int(1, least=1, wanted=True, help="channels of the output")
    size = Int(3, least=1, help="height and width of each kernel")
    stride = Int(1, least=1, help="only 1 keeps the size of the state")
    dilation = Int(1, least=1, help="pixels between two kernel elements")
    pad = Flag(False, help="1: zeros of size/2 all around")
    padding = Int(0, least=0, help="zeros all around, in pixels")
    groups = Int(1, least=1, help="input and output channels split into so many independent parts")
    batch_normalize = Flag(False, help="batch norm in every convolution in place of a bias")
    xnor = Flag(False, help="binary weights and inputs")

    def check(self) -> None:
        if self.xnor:
            self.fault(
                "xnor",
                "binary convolutions inside a recurrent section are missing",
                found="xnor=1",
                hint="leave xnor out: the same weights file fits, the convolutions run in float",
            )

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """The convolutions in the order in which they are stored."""
        raise AssertionError(f"[{self.type}] names no parts")

    def shape(self, x: Shape) -> Shape:
        self._check_size()
        for part in self.sublayers(x).values():
            if part.inputs % self.groups or part.outputs % self.groups:
                raise self.error(
                    "groups",
                    "does not divide the channels",
                    found=f"{part.inputs} to {part.outputs} channels, groups={self.groups}",
                )
        return Shape(self.output, x.height, x.width)

    def _check_size(self) -> None:
        pads = self.size // 2 if self.pad else self.padding
        if self.stride != 1:
            raise self.error("stride", SIZE_MESSAGE, found=str(self.stride), allowed="1")
        if 2 * pads != self.size - 1:
            raise self.error(
                "size",
                SIZE_MESSAGE,
                found=f"size={self.size}, {pads} zeros around",
                allowed="an odd size with pad=1",
            )

    def build_sublayers(self, x: Shape) -> dict[str, nn.Module]:
        """The modules of the convolutions."""
        return {name: self._build_sublayer(part) for name, part in self.sublayers(x).items()}

    def _build_sublayer(self, part: SubLayer) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.blocks import ConvBlock, fresh_batch_norm

        conv = nn.Conv2d(
            part.inputs,
            part.outputs,
            self.size,
            padding=self.size // 2 * self.dilation,
            dilation=self.dilation,
            groups=self.groups,
            bias=not self.batch_normalize,
        )
        eps = self.dialect.bn_eps
        norm = fresh_batch_norm(part.outputs, eps=eps, yolor=False) if self.batch_normalize else None
        return ConvBlock(conv, norm, part.activation)

    def macs(self, out: Shape, x: Shape) -> int:
        weights = sum(part.inputs // self.groups * part.outputs for part in self.sublayers(x).values())
        return weights * self.size**2 * out.area

    def bflops(self, out: Shape, x: Shape) -> float:
        return 2 * self.macs(out, x) / 1e9

    def tensors(self, x: Shape) -> list[TensorSpec]:
        return [
            stored for name, part in self.sublayers(x).items() for stored in self._sublayer_specs(name, part)
        ]

    def _sublayer_specs(self, name: str, part: SubLayer) -> list[TensorSpec]:
        shape = (part.outputs, part.inputs // self.groups, self.size, self.size)
        bias = [TensorSpec("bias", f"{name}.Conv2d.bias", (part.outputs,))]
        norm = batch_norm_specs(part.outputs, f"{name}.BatchNorm2d.")
        return [
            *(norm if self.batch_normalize else bias),
            TensorSpec("weight", f"{name}.Conv2d.weight", shape),
        ]

    def decayed(self) -> tuple[str, ...]:
        return tuple(f"{name}.Conv2d.weight" for name in self.sublayers(ANY_SHAPE))


class CrnnSection(ConvolutionalCellSection, names="crnn"):
    """[rnn] on maps: three convolutions in place of three matrices."""

    examples = (
        "[crnn]\noutput=6\nhidden=4\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\nactivation=leaky",
        "[crnn]\noutput=5\nhidden=4\nsize=5\npadding=2\ndilation=2\nshortcut=1\nactivation=tanh",
    )

    hidden = Int(1, least=1, wanted=True, help="channels of the hidden map")
    activation = ActivationKey("logistic")
    shortcut = Flag(False, help="the hidden map is also added to its renewal")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """input, self, output."""
        steps = (x.channels, self.hidden), (self.hidden, self.hidden), (self.hidden, self.output)
        names = "input", "self", "output"
        return {name: SubLayer(*step, self.activation) for name, step in zip(names, steps, strict=True)}

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import RnnCell, StateSize

        state = StateSize(Shape(self.hidden, x.height, x.width), self.image)
        return RnnCell(self.build_sublayers(x), state, shortcut=self.shortcut)


class ConvLstmSection(ConvolutionalCellSection, names="conv_lstm"):
    """A long short-term memory of maps; of C Darknet's two the GPU's, as its CPU's knows neither
    `lstm_activation` nor `bottleneck`."""

    examples = (
        "[conv_lstm]\noutput=6\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\nactivation=leaky",
        "[conv_lstm]\noutput=4\nsize=1\npeephole=1\nlstm_activation=logistic\nstate_constrain=1",
        "[conv_lstm]\noutput=8\nsize=5\npadding=2\ndilation=2\nbottleneck=1\nshortcut=1",
    )

    activation = ActivationKey("linear", help="what is applied to the output of each convolution")
    peephole = Flag(False, help="the gates also see the cell")
    bottleneck = Flag(False, help="one convolution mixes state and input before the gates")
    # time_steps is 1 wherever frames come one by one, so Darknet's 32*time_steps is 32.
    state_constrain = Int(32, least=0, help="bound on the cell that is kept; 0: none")
    shortcut = Flag(False, help="with bottleneck: the first half of the mixture is added to the output")
    lstm_activation = ActivationKey("tanh", help="what is applied to candidate and cell")
    time_normalizer = Float(1, help="factor on gradients through time in training")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """v* see the cell, w* the state, u* the input (with bottleneck: what wf makes of both)."""
        own, seen = self.output, self.output if self.bottleneck else x.channels
        parts = {f"v{gate}": SubLayer(own, own, self.activation) for gate in ("fio" if self.peephole else "")}
        if self.bottleneck:
            parts["wf"] = SubLayer(2 * own, own, self.activation)
        else:
            parts |= {f"w{gate}": SubLayer(own, own, self.activation) for gate in "figo"}
        return parts | {f"u{gate}": SubLayer(seen, own, self.activation) for gate in "figo"}

    def shape(self, x: Shape) -> Shape:
        if self.bottleneck and x.channels != self.output:
            raise self.error(
                "bottleneck",
                "state and input must have the same number of channels",
                found=f"{self.output} and {x.channels}",
                allowed=f"output={x.channels}",
            )
        return super().shape(x)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import LstmCell, LstmRules, StateSize

        rules = LstmRules(
            self.peephole,
            self.bottleneck,
            self.shortcut,
            limit=self.state_constrain,
            activation=self.lstm_activation,
        )
        return LstmCell(
            self.build_sublayers(x), StateSize(Shape(self.output, x.height, x.width), self.image), rules
        )

    def bflops(self, out: Shape, x: Shape) -> float:
        gates = 12 if self.peephole else 9
        return super().bflops(out, x) + gates * out.size / 1e9


class HistorySection(Section, names="history"):
    """Room for the last maps; given one frame at a time, as here, all but the first are zero."""

    dialects = DARKNET_ONLY
    examples = ("[history]\nhistory_size=3",)

    history_size = Int(4, least=1, help="how many maps there is room for")

    def shape(self, x: Shape) -> Shape:
        return Shape(x.channels * self.history_size, x.height, x.width)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import History

        return History(self.history_size)
