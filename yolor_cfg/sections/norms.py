"""The batch norm of a section, as its dialect computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolor_cfg.lang.dialect import Dialect

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.ops.norms import NormRules

NORM_FACTS = ("bn_eps", "bn_eps_outside_root")
"""The facts that a section with a batch norm goes by."""


def norm_rules(dialect: Dialect) -> NormRules:
    """How batch norms are computed in this dialect."""
    from yolor_cfg.ops.norms import NormRules

    return NormRules(dialect.bn_eps, dialect.bn_eps_outside_root, dialect.bn_momentum)


def build_batch_norm(dialect: Dialect, channels: int) -> nn.BatchNorm2d:
    """A new batch norm with the epsilon and momentum of the section's dialect."""
    from yolor_cfg.ops.norms import fresh_batch_norm

    return fresh_batch_norm(channels, norm_rules(dialect))
