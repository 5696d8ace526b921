"""What is told of images that belong together: leaks first, a list of images without them.

Legend: N images.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yolor_cfg.data.duplicates.links import LINK_KINDS, ImageLink, LinkedImages
from yolor_cfg.errors import DataError
from yolor_cfg.images.headers import read_image_info


class PlacedImage(NamedTuple):
    """An image and the sets that list it: splits, `against` before those of another data set."""

    path: str
    sets: tuple[str, ...]


class DuplicateGroup(NamedTuple):
    """Images that belong together, by their number, and the links between them."""

    members: list[int]
    links: list[ImageLink]


class Findings(NamedTuple):
    """All images and the groups of several among them: those that leak come first, then the largest."""

    images: list[PlacedImage]
    groups: list[DuplicateGroup]

    def sets_of(self, group: DuplicateGroup) -> list[str]:
        """The sets that have an image of the group, in the order of the data set."""
        return list(dict.fromkeys(name for number in group.members for name in self.images[number].sets))

    def is_leak(self, group: DuplicateGroup) -> bool:
        """Whether its images stand in several sets."""
        return len(self.sets_of(group)) > 1

    @property
    def leaks(self) -> list[DuplicateGroup]:
        """The groups with images of several sets."""
        return [group for group in self.groups if self.is_leak(group)]

    @property
    def kinds(self) -> dict[str, int]:
        """How many links there are of each kind, those that occur."""
        counts = Counter(link.kind for group in self.groups for link in group.links)
        return {kind: counts[kind] for kind in LINK_KINDS if counts[kind]}

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "images": len(self.images),
            "sets": dict(Counter(name for image in self.images for name in image.sets)),
            "kinds": self.kinds,
            "leaks": len(self.leaks),
            "groups": [self._describe(group) for group in self.groups],
        }

    def _describe(self, group: DuplicateGroup) -> dict[str, Any]:
        return {
            "leak": self.is_leak(group),
            "images": [
                {"path": self.images[number].path, "sets": list(self.images[number].sets)}
                for number in group.members
            ],
            "links": [
                {
                    "paths": [self.images[link.one].path, self.images[link.other].path],
                    "kind": link.kind,
                    "score": round(link.score, 4),
                }
                for link in group.links
            ],
        }


def place_images(parts: Mapping[str, Sequence[str]]) -> list[PlacedImage]:
    """Each image once, by its real path, with all sets that list it."""
    found: dict[str, PlacedImage] = {}
    for name, paths in parts.items():
        for path in paths:
            real = os.path.realpath(path)
            known = found.get(real, PlacedImage(path, ()))
            if name not in known.sets:
                found[real] = known._replace(sets=(*known.sets, name))
    return list(found.values())


def describe_links(images: Sequence[PlacedImage], linked: LinkedImages) -> Findings:
    """The groups of several images, and single images that several sets list."""
    links: dict[int, list[ImageLink]] = {}
    for link in linked.links:
        links.setdefault(int(linked.groups[link.one]), []).append(link)
    groups = [DuplicateGroup(members, links[members[0]]) for members in linked.members()]
    grouped = {number for group in groups for number in group.members}
    groups += [
        DuplicateGroup([number], [])
        for number, image in enumerate(images)
        if len(image.sets) > 1 and number not in grouped
    ]
    found = Findings(list(images), groups)
    return found._replace(
        groups=sorted(groups, key=lambda group: (not found.is_leak(group), -len(group.members)))
    )


def keep_one(found: Findings, chosen: str) -> list[str]:
    """The paths of the images of one set, in its order, without those that belong to an image of another set,
    and of those that belong together only the largest."""
    dropped: set[int] = set()
    for group in found.groups:
        own = [number for number in group.members if found.images[number].sets == (chosen,)]
        if found.is_leak(group):
            dropped.update(group.members)
        else:
            best = max(own, key=lambda number: _count_pixels(found.images[number].path), default=-1)
            dropped.update(set(own) - {best})
    return [
        image.path
        for number, image in enumerate(found.images)
        if chosen in image.sets and number not in dropped
    ]


def _count_pixels(path: str) -> int:
    """The pixels of an image; 0 if it cannot be read."""
    try:
        return math.prod(read_image_info(path).size)
    except DataError:
        return 0
