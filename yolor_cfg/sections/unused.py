"""Which keys of a section have no effect here, by what their declarations say."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.keys import Key
from yolor_cfg.lang.syntax import quote_text
from yolor_cfg.sections.base import Section


def find_unused_keys(section: Section, losses: Collection[str] = ()) -> list[CfgError]:
    """A warning for each key that has another value than its default and no effect; `losses` are the kinds of
    loss that train the network."""
    keys = [section.keys[name] for name in section.lines if name in section.values]
    return [
        section.error(
            key.name,
            "has no effect here",
            found=quote_text(section.lines[key.name].value),
            hint=_explain(key, losses),
        )
        for key in keys
        if _explain(key, losses) and section.values[key.name] != key.default_for(section)
    ]


def _explain(key: Key[Any], losses: Collection[str]) -> str:
    """Why the key has no effect; empty if it has one."""
    if key.loss and key.loss not in losses:
        return f"only C Darknet's loss of [{key.loss}] goes by it, and no head here has that"
    return key.unused
