"""[history]: the last feature maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY
from yolor_cfg.lang.keys import Int
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class HistorySection(Section, names="history"):
    """A buffer of the last feature maps; with one frame at a time, as here, all but the first are zero."""

    dialects = DARKNET_ONLY
    examples = ("[history]\nhistory_size=3",)

    history_size = Int(4, least=1, help="number of feature maps in the buffer")

    def shape(self, x: Shape) -> Shape:
        return Shape(x.channels * self.history_size, x.height, x.width)

    def module(self, x: Shape) -> nn.Module:
        from yolor_cfg.ops.recurrent import History

        return History(self.history_size)
