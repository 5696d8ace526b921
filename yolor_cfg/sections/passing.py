"""[empty], [silence] and [dropout], which pass on what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import DARKNET_ONLY, LATER
from yolor_cfg.lang.keys import Flag, Float, Int
from yolor_cfg.sections.base import Section
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn


class EmptySection(Section, names="empty silence"):
    """Passes the previous section on unchanged."""

    dialects = LATER
    examples = ("[silence]",)
    darknet_form = "nothing"
    is_alias = True
    reads_vectors = True

    def module(self, x: Shape) -> nn.Module:
        from torch import nn

        return nn.Identity()


USUAL_BLOCK = 7


class DropoutSection(Section, names="dropout"):
    """In training, sets random values to zero and scales up the others; otherwise does nothing."""

    examples = (
        "[dropout]\nprobability=.3",
        "[dropout]\ndropblock=1\ndropblock_size_abs=3",
        "[dropout]\ndropblock=1\ndropblock_size_rel=.2",
    )
    darknet_form = "nothing"
    is_alias = True

    probability = Float(
        lambda section: section.dialect.dropout_share,
        least=0,
        most=1,
        use="training",
        unit="fraction",
        help="probability of dropping a value in training; of keeping it in darkflow",
    )
    dropblock = Flag(
        False,
        dialects=DARKNET_ONLY,
        use="training",
        help="1: drop square blocks instead of single values in training",
    )
    dropblock_size_rel = Float(
        0,
        least=0,
        most=1,
        dialects=DARKNET_ONLY,
        use="training",
        unit="fraction",
        help="side of the blocks as a fraction of the feature map",
    )
    dropblock_size_abs = Int(
        0,
        least=0,
        dialects=DARKNET_ONLY,
        use="training",
        unit="pixels",
        help="side of the blocks in pixels (7 if neither side is given)",
    )

    @property
    def reads_vectors(self) -> bool:
        """Blocks are dropped from maps alone."""
        return not self.dropblock

    @property
    def dropped_share(self) -> float:
        """The share of the values that training drops."""
        return 1 - self.probability if self.dialect.keeps_probability else self.probability

    def facts(self) -> tuple[str, ...]:
        return ("keeps_probability",) if self.probability != 0.5 else ()

    @property
    def block_side(self) -> tuple[int, float]:
        """The side of the blocks in pixels, and as a part of the map where that is 0."""
        if self.dropblock_size_abs:
            return self.dropblock_size_abs, 0.0
        return (0, self.dropblock_size_rel) if self.dropblock_size_rel else (USUAL_BLOCK, 0.0)

    def module(self, x: Shape) -> nn.Module:
        if self.dropblock:
            from yolor_cfg.ops.dropblock import DropBlock

            pixels, part = self.block_side
            return DropBlock(self.dropped_share, pixels, part=part)
        from torch import nn

        return nn.Dropout(self.dropped_share)
