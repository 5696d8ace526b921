"""Images that belong together as a sheet: those of a group side by side."""

from __future__ import annotations

import os

import numpy as np

from yolor_cfg.data.duplicates.findings import DuplicateGroup, Findings
from yolor_cfg.data.duplicates.links import LINK_KINDS
from yolor_cfg.errors import count_of
from yolor_cfg.report.dataset.sheet import ContactSheet, SheetPart
from yolor_cfg.report.dataset.tiles import Thumbnail

MOST_GROUPS, MOST_MEMBERS = 60, 6


def pairs_sheet(found: Findings, origin: str) -> ContactSheet:
    """The first groups, those that leak first, each with its first images."""
    parts = [_group_part(found, group, number) for number, group in enumerate(found.groups[:MOST_GROUPS], 1)]
    shown = f", the first {MOST_GROUPS}" if len(found.groups) > MOST_GROUPS else ""
    groups, leaks = count_of(len(found.groups), "group"), count_of(len(found.leaks), "leak")
    words = f"{groups} of images that belong together{shown}, {leaks}"
    return ContactSheet(f"{origin}: {words}", parts, columns=MOST_MEMBERS)


def _group_part(found: Findings, group: DuplicateGroup, number: int) -> SheetPart:
    kinds = dict.fromkeys(LINK_KINDS[link.kind] for link in group.links)
    scores = [link.score for link in group.links if link.score < 1]
    least = f", likeness {min(scores):.2f}" if scores else ""
    leak = f" - leak: {', '.join(found.sets_of(group))}" if found.is_leak(group) else ""
    many = f", {len(group.members)} images" if len(group.members) > MOST_MEMBERS else ""
    title = f"{number}. {'; '.join(kinds) or 'listed twice'}{least}{many}{leak}"
    nothing = np.zeros((0, 4))
    tiles = [
        Thumbnail(image.path, f"{', '.join(image.sets)}: {os.path.basename(image.path)}", nothing, (), ())
        for image in (found.images[member] for member in group.members[:MOST_MEMBERS])
    ]
    return SheetPart(title, tiles)
