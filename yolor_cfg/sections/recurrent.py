"""[rnn], [gru], [lstm], [crnn], [conv_lstm]: sections with a state kept from call to call.

Their sub-layers are fully connected layers or convolutions, each with bias or batch norm and activation.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from yolor_cfg.errors import count_of
from yolor_cfg.lang.dialect import C_DARKNET, DARKNET_ONLY, PJREDDIE_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Float, Int
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.ops.windows import EACH_CELL, Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm, norm_rules
from yolor_cfg.sections.tensors import TensorSpec, batch_norm_specs
from yolor_cfg.shape import FlatShape, Shape

if TYPE_CHECKING:
    from torch import nn

ANY_SHAPE = Shape(1, 1, 1)  # where only the names of the sub-layers matter
SIZE_MESSAGE = "the state would change its size"
LOGISTIC_OF_RNN = {1: "logistic", 2: "loggy"}


class SubLayer(NamedTuple):
    """One sub-layer: its numbers of input and output channels (or values) and its activation."""

    inputs: int
    outputs: int
    activation: str = "linear"


class ConnectedCellSection(Section):
    """The common part of recurrent cells on vectors."""

    dialects: ClassVar[tuple[str, ...]] = C_DARKNET
    reads_vectors = True

    output = Int(1, least=1, wanted=True, help="number of outputs")
    batch_normalize = Flag(False, help="batch norm instead of a bias in each sub-layer")

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

        from yolor_cfg.ops.norms import fresh_vector_norm
        from yolor_cfg.ops.recurrent import LinearBlock

        linear = nn.Linear(part.inputs, part.outputs, bias=not self.batch_normalize)
        norm = fresh_vector_norm(part.outputs, norm_rules(self.dialect)) if self.batch_normalize else None
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

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS if self.batch_normalize else ()


class RnnSection(ConnectedCellSection, names="rnn"):
    """Each call updates a hidden vector from the input and itself, then computes the output from it."""

    examples = (
        "[rnn]\noutput=5\nhidden=7\nactivation=leaky\nbatch_normalize=1",
        "[rnn]\noutput=5\nhidden=7\nlogistic=1\nshortcut=1\nactivation=tanh",
    )

    hidden = Int(1, least=1, wanted=True, help="length of the hidden vector (pjreddie: always `output`)")
    activation = ActivationKey("logistic")
    logistic = Int(
        0,
        dialects=DARKNET_ONLY,
        help="activation function of the hidden vector's own sub-layer: 1 logistic, 2 loggy",
    )
    shortcut = Flag(False, help="add the previous hidden vector to the new one")

    def check(self) -> None:
        if not self.dialect.rnn_has_hidden and self.hidden != self.output and "hidden" in self.values:
            self.warn("hidden", "has no effect: it is as long as the output", found=str(self.hidden))

    @property
    def _hidden_length(self) -> int:
        return self.hidden if self.dialect.rnn_has_hidden else self.output

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """input, self, output."""
        own, hidden = LOGISTIC_OF_RNN.get(self.logistic, self.activation), self._hidden_length
        return {
            "input": SubLayer(x.size, hidden, self.activation),
            "self": SubLayer(hidden, hidden, own),
            "output": SubLayer(hidden, self.output, self.activation),
        }

    def facts(self) -> tuple[str, ...]:
        return super().facts() + (("rnn_has_hidden",) if self.hidden != self.output else ())

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import RnnCell, StateSize

        state = StateSize(Shape(self._hidden_length, 1, 1))
        return RnnCell(self.build_sublayers(x), state, shortcut=self.shortcut)


class GruSection(ConnectedCellSection, names="gru"):
    """A gated recurrent unit; the activation of its candidate is logistic, as C Darknet is compiled, in the
    first Darknet tanh by the key of that name."""

    examples = ("[gru]\noutput=5\nbatch_normalize=1", "[gru]\noutput=5")

    tanh = Flag(False, help="1: tanh for the candidate (pjreddie)")

    def check(self) -> None:
        if self.tanh and not self.dialect.gru_takes_tanh:
            self.warn("tanh", "has no effect: the candidate is logistic, as in C Darknet", found="tanh=1")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """The sub-layers of the input (update, reset, candidate), then those of the state."""
        seen = {f"input_{gate}": SubLayer(x.size, self.output) for gate in "zrh"}
        return seen | {f"state_{gate}": SubLayer(self.output, self.output) for gate in "zrh"}

    def shape(self, x: Shape) -> Shape:
        return FlatShape(self.output, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import GruCell, StateSize

        has_tanh = self.tanh and self.dialect.gru_takes_tanh
        state = StateSize(Shape(self.output, 1, 1))
        return GruCell(self.build_sublayers(x), state, "tanh" if has_tanh else "logistic")

    def facts(self) -> tuple[str, ...]:
        return super().facts() + (("gru_takes_tanh",) if self.tanh else ())


class LstmSection(ConnectedCellSection, names="lstm"):
    """A long short-term memory (LSTM)."""

    examples = ("[lstm]\noutput=5\nbatch_normalize=1", "[lstm]\noutput=5")

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """w* take the state, u* the input; gates: forget, input, g (the candidate), output."""
        gates = self.dialect.lstm_gates
        seen = {f"w{gate}": SubLayer(self.output, self.output) for gate in gates}
        return seen | {f"u{gate}": SubLayer(x.size, self.output) for gate in gates}

    def facts(self) -> tuple[str, ...]:
        return (*super().facts(), "lstm_gates")

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import LstmCell, StateSize

        return LstmCell(self.build_sublayers(x), StateSize(Shape(self.output, 1, 1)))


class ConvolutionalCellSection(Section):
    """The common part of recurrent cells on feature maps; the state must have the size of the input."""

    dialects: ClassVar[tuple[str, ...]] = C_DARKNET

    output = Int(1, least=1, wanted=True, dialects=DARKNET_ONLY, help="number of filters")
    size = Int(3, least=1, dialects=DARKNET_ONLY, unit="pixels", help="kernel height and width")
    stride = Int(
        1,
        least=1,
        dialects=DARKNET_ONLY,
        unit="pixels",
        help="stride; must be 1 to keep the size of the state",
    )
    dilation = Int(1, least=1, dialects=DARKNET_ONLY, unit="pixels", help="dilation in pixels")
    pad = Flag(
        lambda section: section.dialect.crnn_is_padded,
        dialects=DARKNET_ONLY,
        help="1: zero padding of size/2 pixels on each side",
    )
    padding = Int(
        0, least=0, dialects=DARKNET_ONLY, unit="pixels", help="zero padding on each side, in pixels"
    )
    groups = Int(1, least=1, dialects=DARKNET_ONLY, help="number of groups of a grouped convolution")
    batch_normalize = Flag(False, help="batch norm instead of a bias in each convolution")
    xnor = Flag(False, dialects=DARKNET_ONLY, help="binary weights and inputs; not supported")

    def check(self) -> None:
        if self.xnor:
            message = "binary convolutions are not supported in a recurrent section"
            hint = "remove xnor: the same weights file fits, and the convolutions run in floating point"
            self.fault("xnor", message, found="xnor=1", hint=hint)

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """The convolutions in the order in which they are stored."""
        raise AssertionError(f"[{self.type}] names no parts")

    def shape(self, x: Shape) -> Shape:
        self._check_size()
        for part in self.sublayers(x).values():
            if part.inputs % self.groups or part.outputs % self.groups:
                found = f"{part.inputs} to {count_of(part.outputs, 'channel')}, groups={self.groups}"
                raise self.error("groups", "does not divide the channels", found=found)
        return Shape(self.output, x.height, x.width)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        """Those of the convolutions in a row that lead from a frame to the output of the same frame."""
        one = ConvGeometry((1, 1), self.size // 2 * self.dilation, self.dilation).sight(self.size)
        return (reduce(Sight.then, [one] * self._count_steps(), EACH_CELL),)

    def _count_steps(self) -> int:
        return 2  # input, output

    def _check_size(self) -> None:
        pads = self.size // 2 if self.pad else self.padding
        if self.stride != 1:
            raise self.error("stride", SIZE_MESSAGE, found=str(self.stride), allowed="1")
        if 2 * pads != self.size - 1:
            found = f"size={self.size}, padding {pads}"
            raise self.error("size", SIZE_MESSAGE, found=found, allowed="an odd size with pad=1")

    def build_sublayers(self, x: Shape) -> dict[str, nn.Module]:
        """The modules of the convolutions."""
        return {name: self._build_sublayer(part) for name, part in self.sublayers(x).items()}

    def _build_sublayer(self, part: SubLayer) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.blocks import ConvBlock

        conv = nn.Conv2d(
            part.inputs,
            part.outputs,
            self.size,
            padding=self.size // 2 * self.dilation,
            dilation=self.dilation,
            groups=self.groups,
            bias=not self.batch_normalize,
        )
        norm = build_batch_norm(self.dialect, part.outputs) if self.batch_normalize else None
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
    """[rnn] on feature maps: three convolutions instead of three matrices."""

    examples = (
        "[crnn]\noutput=6\nhidden=4\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\nactivation=leaky",
        "[crnn]\noutput=5\nhidden=4\nsize=5\npadding=2\ndilation=2\nshortcut=1\nactivation=tanh",
        "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n"
        "[crnn]\noutput_filters=5\nhidden_filters=4\nbatch_normalize=1\nactivation=leaky",
    )

    output_filters = Int(1, least=1, dialects=PJREDDIE_ONLY, help="number of filters (pjreddie)")
    hidden_filters = Int(
        1, least=1, dialects=PJREDDIE_ONLY, help="number of channels of the hidden state (pjreddie)"
    )
    output = Int(
        lambda section: section.output_filters,
        least=1,
        wanted=True,
        dialects=DARKNET_ONLY,
        help="number of filters",
    )
    hidden = Int(
        lambda section: section.hidden_filters,
        least=1,
        wanted=True,
        dialects=DARKNET_ONLY,
        help="number of channels of the hidden state",
    )
    activation = ActivationKey("logistic")
    shortcut = Flag(False, help="add the previous hidden state to the new one")

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
    """An LSTM on feature maps, as in C Darknet's GPU code; its CPU code has neither `lstm_activation` nor
    `bottleneck`."""

    dialects = DARKNET_ONLY
    examples = (
        "[conv_lstm]\noutput=6\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\nactivation=leaky",
        "[conv_lstm]\noutput=4\nsize=1\npeephole=1\nlstm_activation=logistic\nstate_constrain=1",
        "[conv_lstm]\noutput=8\nsize=5\npadding=2\ndilation=2\nbottleneck=1\nshortcut=1",
    )

    activation = ActivationKey("linear", help="activation function of each convolution")
    peephole = Flag(False, help="peephole connections from the cell to the gates")
    bottleneck = Flag(False, help="one convolution combines state and input before the gates")
    # time_steps is 1 where frames come one at a time, so Darknet's 32*time_steps is 32.
    state_constrain = Int(32, least=0, help="limit on the absolute value of the cell state; 0: none")
    shortcut = Flag(False, help="with bottleneck: add the first half of the combination to the output")
    lstm_activation = ActivationKey("tanh", help="activation function of candidate and cell")
    time_normalizer = Float(
        1,
        unused="no recurrent network is trained on sequences here",
        help="factor on the gradients through time in training",
    )

    def _count_steps(self) -> int:
        return 1 + self.bottleneck + self.peephole

    def sublayers(self, x: Shape) -> dict[str, SubLayer]:
        """v* take the cell, w* the state, u* the input (with bottleneck: the output of wf for both)."""
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
