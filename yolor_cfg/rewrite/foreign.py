"""What a section of one dialect means only there."""

from __future__ import annotations

from yolor_cfg.lang.dialect import Dialect
from yolor_cfg.rewrite.program import ProgramStep
from yolor_cfg.sections.norms import NORM_FACTS

TRANSLATED = {
    *NORM_FACTS,
    "norm_has_bias",
    "lstm_gates",
    "reorg_order",
    "pads_last_window",
    "groups_softmax",
    "keeps_probability",
    "resizes_to_crop",
}
"""The facts that tensors or keys make up for."""


def find_foreign_part(step: ProgramStep, target: Dialect) -> str:
    """The section, key or rule that the target dialect does not have, in words; empty if there is none."""
    section = step.section
    if target.name not in section.dialects and section.darknet_form not in ("cut", "head"):
        return f"[{step.name}]"
    for name, value in section.values.items():
        key = section.keys[name]
        is_own = target.name not in key.dialects and target.name in section.dialects
        if is_own and value != key.default_for(section):
            return f"{name}={step.keys.get(name, value)}"
    for fact in section.facts():
        if fact not in TRANSLATED and getattr(section.dialect, fact) != getattr(target, fact):
            return f"[{step.name}] as {section.dialect.program} computes it"
    return ""
