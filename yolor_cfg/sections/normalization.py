"""[batchnorm], [BatchNorm2d], [normalization] and [activation], which keep the shape of their input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import C_DARKNET, PJREDDIE_ONLY, YOLOR_ONLY
from yolor_cfg.lang.keys import ActivationKey as ActivationName
from yolor_cfg.lang.keys import Float, Int
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.norms import NORM_FACTS, build_batch_norm
from yolor_cfg.sections.tensors import TensorSpec, batch_norm_specs
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class _BatchNormSection(Section):
    """Batch norm of the input, without an activation."""

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.norms import drop_bias

        norm = build_batch_norm(self.dialect, x.channels)
        return norm if self.dialect.norm_has_bias else drop_bias(norm)

    def tensors(self, x: Shape) -> list[TensorSpec]:
        bias, *rest = batch_norm_specs(x.channels, prefix="")
        return [bias, *rest] if self.dialect.norm_has_bias else rest

    def facts(self) -> tuple[str, ...]:
        return (*NORM_FACTS, "norm_has_bias")


class DarknetBatchNormSection(_BatchNormSection, names="batchnorm"):
    """Batch norm, under C Darknet's name; in the first Darknet it has no bias."""

    dialects = C_DARKNET
    examples = ("[batchnorm]", "[net]\nwidth=24\nheight=16\nchannels=8\ndialect=pjreddie\n[batchnorm]")


class YolorBatchNormSection(_BatchNormSection, names="BatchNorm2d"):
    """Batch norm, under YOLOR's name."""

    dialects = YOLOR_ONLY
    examples = ("[BatchNorm2d]",)
    darknet_form = "batchnorm"


class LocalResponseNormSection(Section, names="normalization lrn"):
    """Divide each value by a power of the sum of squares over nearby channels, summed as in C Darknet."""

    dialects = C_DARKNET
    examples = ("[lrn]\nalpha=0.002\nsize=5", "[normalization]\nalpha=0.01\nbeta=0.5\nkappa=2\nsize=4")

    size = Int(5, least=1, help="number of channels in the sum")
    alpha = Float(1e-4, help="factor on the sum")
    beta = Float(0.75, help="exponent")
    kappa = Float(1, help="added to the sum")

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.local import DarknetLrn

        return DarknetLrn(self.size, alpha=self.alpha, beta=self.beta, kappa=self.kappa)


class L2NormSection(Section, names="l2norm"):
    """The numbers of each cell divided by their Euclidean length; NaN where all are zero.

    pjreddie/darknet, src/l2norm_layer.c. In its training the gradient passes unchanged, in C on the CPU.
    """

    dialects = PJREDDIE_ONLY
    examples = ("[l2norm]",)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.norms import UnitLength

        return UnitLength()


class ActivationSection(Section, names="activation"):
    """An activation function on its own."""

    dialects = C_DARKNET
    examples = ("[activation]\nactivation=mish",)
    darknet_form = "activation"

    activation = ActivationName("linear")

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.blocks import ActivationLayer as ActivationModule

        return ActivationModule(self.activation)
