"""[grl] and [dc] of Mazin-Hnewa/MS-DAYOLO, a fork of C Darknet: a detector that learns to look alike on the
images of two domains. No domain is learned here; its networks count, run, detect and train their boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY
from yolor_cfg.lang.keys import Float
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

NO_DOMAINS = "the images here are of one domain"


class ReversalSection(Section, names="grl"):
    """Passes the previous section on, and its gradient back with the other sign (src/grl_layer.c)."""

    dialects = DARKNET_ONLY
    examples = ("[grl]\nweight=0.5",)
    darknet_form = "nothing"

    weight = Float(0.1, use="training", unit="factor", help="the gradient is multiplied by minus this")

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.domains import GradientReversal

        return GradientReversal(self.weight)


class DomainSection(Section, names="dc"):
    """The probability of the labelled domain for each cell of a map of one channel (src/dc_layer.c)."""

    dialects = DARKNET_ONLY
    is_loss = True
    examples = ("[convolutional]\nfilters=1\n[dc]",)

    weight = Float(1, unused=NO_DOMAINS, help="weight of the loss of the domain")

    def shape(self, x: Shape) -> Shape:
        if x.channels != 1:
            message = "the previous section has the wrong number of channels"
            raise self.error("", message, found=f"filters={x.channels}", allowed="filters=1")
        return x

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        return nn.Sigmoid()
