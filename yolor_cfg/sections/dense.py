"""[connected] and [local]: fully connected layers, and convolutions with separate kernels per position."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yolor_cfg.lang.dialect import C_DARKNET, EARLY, PJREDDIE_ONLY
from yolor_cfg.lang.keys import ActivationKey, Flag, Int
from yolor_cfg.ops.geometry import ConvGeometry
from yolor_cfg.ops.windows import Sight
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS, norm_rules
from yolor_cfg.sections.tensors import TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class ConnectedSection(Section, names="connected conn"):
    """A fully connected layer with batch norm (or a bias) and an activation."""

    dialects: ClassVar[tuple[str, ...]] = EARLY
    reads_vectors = True
    examples = (
        "[connected]\noutput=5\nactivation=leaky",
        "[connected]\noutput=5\nbatch_normalize=1\nactivation=mish",
    )

    output = Int(1, least=1, wanted=True, help="number of outputs")
    batch_normalize = Flag(False, dialects=C_DARKNET, help="batch norm instead of a bias")
    activation = ActivationKey("logistic")

    def shape(self, x: Shape) -> Shape:
        return Shape(self.output, 1, 1)

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        from yolor_cfg.ops.norms import fresh_vector_norm
        from yolor_cfg.ops.recurrent import LinearBlock

        linear = nn.Linear(x.size, self.output, bias=not self.batch_normalize)
        norm = fresh_vector_norm(self.output, norm_rules(self.dialect)) if self.batch_normalize else None
        return LinearBlock(linear, norm, self.activation)

    def macs(self, out: Shape, x: Shape) -> int:
        return out.size * x.size

    def tensors(self, x: Shape) -> list[TensorSpec]:
        weight = TensorSpec("weight", "Linear.weight", (self.output, x.size), transposable=True)
        if not self.batch_normalize:
            return [TensorSpec("bias", "Linear.bias", (self.output,)), weight]
        # Unlike in a convolution, the weights come between the bias and the rest of the batch norm.
        bias, *statistics = batch_norm_specs(self.output, "BatchNorm1d.")
        return [bias, weight, *statistics]

    def decayed(self) -> tuple[str, ...]:
        return ("Linear.weight",)

    def facts(self) -> tuple[str, ...]:
        return NORM_FACTS if self.batch_normalize else ()


class RbmSection(ConnectedSection, names="rbm"):
    """A restricted Boltzmann machine seen from its inputs: a fully connected layer.

    A pull request of pjreddie/darknet (8bd204de, src/rbm_layer.c). It writes no weights; here they are stored
    as those of [connected]. Its training, contrastive divergence, and the initial numbers are not read.
    """

    dialects = PJREDDIE_ONLY
    examples = ("[rbm]\noutput=5\nactivation=leaky", "[rbm]\noutputs=5\nbatch_normalize=1")
    ignored_keys = {
        "weights": "numbers that the weights start with (default none)",
        "biases": "numbers that the biases start with (default none)",
        "vbiases": "biases of the inputs, in pre-training only (default none)",
    }

    outputs = Int(1, least=1, help="the older spelling of `output`")
    output = Int(lambda section: section.outputs, least=1, wanted=True, help="number of outputs")


class LocalSection(Section, names="local"):
    """A convolution with separate kernels and biases for each output position."""

    dialects = EARLY
    examples = (
        "[local]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=leaky",
        "[local]\nfilters=5\nsize=2\nactivation=linear",
    )

    filters = Int(1, least=1, wanted=True, help="number of filters")
    size = Int(1, least=1, unit="pixels", help="kernel height and width")
    stride = Int(1, least=1, unit="pixels", help="stride in pixels")
    pad = Int(0, least=0, help="zero padding on each side, in pixels: 0, or 1 with size 3")
    activation = ActivationKey("logistic")

    def shape(self, x: Shape) -> Shape:
        height, width = self._geometry.positions(self.size, x.height, x.width)
        # Darknet allocates the output by whether there is padding, but fills it by how much: both must agree.
        reach = 1 if self.pad else self.size
        announced = (x.height - reach) // self.stride + 1, (x.width - reach) // self.stride + 1
        if announced != (height, width):
            raise self.error(
                "pad",
                "does not match size",
                found=f"pad={self.pad}, size={self.size}",
                allowed=f"0, {self.size // 2}" if self.size % 2 else "0",
            )
        return Shape(self.filters, height, width)

    @property
    def _geometry(self) -> ConvGeometry:
        return ConvGeometry((self.stride, self.stride), self.pad)

    def sights(self, out: Shape, x: Shape) -> tuple[Sight]:
        return (self._geometry.sight(self.size),)

    def facts(self) -> tuple[str, ...]:
        return ("has_plain_local",) if (self.size, self.stride, self.pad) != (3, 1, 1) else ()

    def check_inputs(self, x: Shape) -> None:
        if self.facts() and not self.dialect.has_plain_local:
            self.warn(
                "",
                f"{self.dialect.program} reads other pixels here, as if stride were 1 and size 3",
                found=f"size={self.size}, stride={self.stride}, pad={self.pad}",
                allowed="size=3, stride=1, pad=1",
            )

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.local import LocallyConnected

        bias, weight = self.tensors(x)
        return LocallyConnected(
            weight.shape, bias.shape, self.activation, stride=self.stride, padding=self.pad
        )

    def macs(self, out: Shape, x: Shape) -> int:
        return out.size * x.channels * self.size**2

    def tensors(self, x: Shape) -> list[TensorSpec]:
        out = self.shape(x)
        kernels = (out.area, self.filters, x.channels, self.size, self.size)
        return [TensorSpec("bias", "bias", tuple(out)), TensorSpec("weight", "weight", kernels)]

    def decayed(self) -> tuple[str, ...]:
        return ("weight",)
