"""The class tree named by `tree=`: a line `name parent` per class, parents by class id, -1 for a root."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.files import read_bounded

LINE_PATTERN = re.compile(r"\s*(\S+)\s+(-?[0-9]{1,9})(?![0-9])")


class Tree(NamedTuple):
    """Classes in file order; `parents` are class ids or -1.

    `group_sizes` are the lengths, in order, of the runs of classes with the same parent: the classes of a run
    are mutually exclusive and share one softmax.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    group_sizes: tuple[int, ...]

    @property
    def leaf_flags(self) -> tuple[bool, ...]:
        """For each class, whether it is a leaf: no other class has it as its parent."""
        inner = set(self.parents)
        return tuple(number not in inner for number in range(len(self.names)))


def read_tree(path: str | Path) -> Tree:
    """The tree in a file; raises CfgError if the file cannot be read or a line is not valid."""
    data = read_bounded(path, fault=CfgError, what="the tree")
    text = data.decode("utf-8", errors="replace")
    return parse_tree(text.replace("\r\n", "\n").replace("\r", "\n"), str(path))


def parse_tree(text: str, path: str = "<text>") -> Tree:
    """The tree in `text`; a parent must come before its children, as Darknet requires."""
    names: list[str] = []
    parents: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = LINE_PATTERN.match(line)
        if match is None or not -1 <= int(match[2]) < len(names):
            raise CfgError(
                "not a valid line of a class tree",
                path=path,
                line=number,
                found=line.strip()[:60],
                allowed=f"`name parent`, with a parent from -1 to {len(names) - 1}",
            )
        names.append(match[1])
        parents.append(int(match[2]))
    if not names:
        raise CfgError("the tree has no classes", path=path, line=1, allowed="one `name parent` per line")
    runs = tuple(len(list(run)) for _, run in groupby(parents))
    return Tree(tuple(names), tuple(parents), runs)
