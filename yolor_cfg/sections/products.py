"""[sam] and [scale_channels], which multiply values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY, LATER
from yolor_cfg.lang.keys import ActivationKey, Flag
from yolor_cfg.lang.lists import RefList
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.checks import check_one_source, check_same_size, warn_unused_activation
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


NOT_AFTER_PRODUCTS = ("swish", "mish")


class _ProductSection(Section):
    """The product of the previous section and the one in `from`."""

    dialects = LATER
    darknet_form = "product"

    from_ = RefList((), wanted=True, help="section to multiply by")
    activation = ActivationKey("linear")

    def check(self) -> None:
        self.try_checks(self._check_activation)
        check_one_source(self, self.from_)

    def _check_activation(self) -> None:
        warn_unused_activation(self)
        if self.dialect.activates_sums and self.activation in NOT_AFTER_PRODUCTS:
            self.warn(
                "activation",
                "C Darknet's CPU code outputs zeros",
                found=self.activation,
                hint="C Darknet supports neither swish nor mish here",
            )

    def sources(self) -> tuple[int, ...]:
        return (self.index - 1, *self.resolve_refs(self.from_, "from"))

    def module(self, *inputs: Shape) -> nn.Module:
        from yolor_cfg.ops.combining import Multiply

        return Multiply(self.activation if self.dialect.activates_sums else "linear")

    def facts(self) -> tuple[str, ...]:
        return ("activates_sums",) if self.activation != "linear" else ()


class SamSection(_ProductSection, names="sam"):
    """The element-wise product of the previous section (an attention map) and `from`."""

    examples = ("[convolutional]\nfilters=6\n[maxpool]\nsize=3\n[sam]\nfrom=-2\nactivation=leaky",)

    def shape(self, x: Shape, y: Shape) -> Shape:
        check_same_size(self, "from", (x, y))
        if x.channels != y.channels:
            raise self.error("from", "channel counts differ", found=str(y.channels), allowed=str(x.channels))
        return x


class ScaleChannelsSection(_ProductSection, names="scale_channels"):
    """Multiply the feature map in `from` by the previous section: one value per channel or pixel."""

    examples = (
        "[maxpool]\nsize=3\n[avgpool]\n[scale_channels]\nfrom=-2\nactivation=leaky",
        "[maxpool]\nsize=3\n[convolutional]\nfilters=1\n[scale_channels]\nfrom=-2\nscale_wh=1",
    )

    darknet_form = "scale"

    scale_wh = Flag(
        False,
        dialects=DARKNET_ONLY,
        help="1: the previous section has one value per pixel instead of one per channel",
    )

    def shape(self, scale: Shape, x: Shape) -> Shape:
        wanted = Shape(1, x.height, x.width) if self.scale_wh else Shape(x.channels, 1, 1)
        if scale != wanted and not (self.dialect.broadcasts_scales and self._can_broadcast(scale, x)):
            raise self.error(
                "from",
                "the previous section does not have the shape of a scale",
                found=str(scale),
                allowed=str(wanted),
                hint=f"`from` is {x}",
            )
        return x

    @staticmethod
    def _can_broadcast(scale: Shape, x: Shape) -> bool:
        return all(one in (1, other) for one, other in zip(scale, x, strict=True))
