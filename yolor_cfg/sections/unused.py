"""Which keys of a section have no effect here, by what their declarations say."""

from __future__ import annotations

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.syntax import quote_text
from yolor_cfg.sections.base import Section


def find_unused_keys(section: Section) -> list[CfgError]:
    """A warning for each key that has another value than its default and no effect."""
    keys = [section.keys[name] for name in section.lines if name in section.values]
    return [
        section.error(
            key.name, "has no effect here", found=quote_text(section.lines[key.name].value), hint=key.unused
        )
        for key in keys
        if key.unused and section.values[key.name] != key.default_for(section)
    ]
