"""[iseg]: a head that gives each pixel its classes, and numbers that tell one object from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import PJREDDIE_ONLY
from yolor_cfg.lang.keys import Int
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class IsegSection(Section, names="iseg"):
    """For each cell the probabilities of the classes, then the numbers of an embedding as they are.

    pjreddie/darknet, src/iseg_layer.c; that program itself ends here where there are no labels.
    """

    dialects = PJREDDIE_ONLY
    is_head = True
    examples = ("[iseg]\nclasses=3\nids=5",)

    classes = Int(20, least=1, wanted=True, help="number of classes")
    ids = Int(32, least=0, help="length of the embedding of a cell")

    def channels_for(self, classes: int, _: Shape, /) -> int:
        """The channels that it reads if there are so many classes."""
        return classes + self.ids

    def shape(self, x: Shape) -> Shape:
        wanted = self.classes + self.ids
        if x.channels != wanted:
            raise self.error(
                "classes",
                "the previous section has the wrong number of channels",
                found=f"filters={x.channels}",
                allowed=f"filters={wanted}",
                hint="filters = classes + ids",
            )
        return x

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.pixels import PixelHead

        return PixelHead(self.classes)
