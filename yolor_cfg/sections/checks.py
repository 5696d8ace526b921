"""Checks that several sections share."""

from __future__ import annotations

from os.path import isfile
from typing import Protocol, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.lang.tree import Tree, read_tree, resolve_cfg_path
from yolor_cfg.sections.tensors import can_split_filters, next_filter_count

BOX_VALUES = 4  # of those that `coords` counts in the heads of the first two YOLOs


class CheckedSection(Protocol):
    """A section that raises or records its errors and warnings."""

    path: str
    warnings: list[CfgError]

    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError: ...
    def fault(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None: ...
    def warn(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None: ...
    def require_keys(self, *names: str) -> None: ...


def check_coords(head: CheckedSection, coords: int) -> None:
    """Record an error for boxes of fewer than four numbers, a warning for more: C Darknet reads four."""
    if coords < BOX_VALUES:
        head.fault(
            "coords",
            "a box has four coordinates",
            found=str(coords),
            allowed=str(BOX_VALUES),
            hint="with fewer, C Darknet reads beyond the end of its memory",
        )
    elif coords > BOX_VALUES:
        head.warn(
            "coords",
            "a box has four coordinates",
            found=str(coords),
            allowed=str(BOX_VALUES),
            hint="C Darknet makes room for more, and then reads the boxes as if there were four each",
        )


def check_one_source(section: CheckedSection, references: tuple[int, ...]) -> None:
    """Record an error unless the key `from` names exactly one section."""
    section.require_keys("from")
    if len(references) > 1:
        section.fault("from", "takes one section", found=f"{len(references)} sections", allowed="one number")


def load_tree(section: CheckedSection, name: str, classes: int) -> Tree:
    """The class tree named by the key `tree`, relative to the folder of the cfg or the current one.

    Raises CfgError at the key if it cannot be read or has another number of classes.
    """
    path = resolve_cfg_path(name, section.path)
    try:
        tree = read_tree(path)
    except CfgError as fault:
        place = f"{path}:{fault.line}" if fault.line else str(path)
        found = f"{place} {fault.found}".strip()
        hint = "a path is tried from the folder of the cfg, then from the current one"
        raise section.error("tree", fault.message, found=found, allowed=fault.allowed, hint=hint) from None
    if len(tree.names) != classes:
        raise section.error(
            "tree",
            "its number of classes is not that of the section",
            allowed=str(classes),
            found=f"{len(tree.names)} in {path}",
        )
    return tree


def check_file(section: CheckedSection, key: str, name: str) -> None:
    """Warn of a file that is named and not there."""
    if name and not isfile(resolve_cfg_path(name, section.path)):
        section.warn(
            key,
            "no such file",
            found=name,
            hint="C Darknet stops here; tried from the folder of the cfg, then from the current one",
        )


def check_tree(section: CheckedSection, name: str, classes: int) -> None:
    """Warn of a class tree that is there and cannot be used; its network cannot be built."""
    if isfile(resolve_cfg_path(name, section.path)):
        try:
            load_tree(section, name, classes)
        except CfgError as fault:
            section.warnings.append(fault)


def check_sizes(section: CheckedSection, sizes: tuple[int, ...], filters: int) -> None:
    """Record an error unless kernels of these sizes can be used in parallel, and the filters divided among
    them."""
    if not all(size % 2 for size in sizes):
        section.fault("size", "a list of sizes takes odd ones", found=f"{sizes}", allowed="odd sizes")
    if not can_split_filters(sizes, filters):
        section.fault(
            "filters",
            "the filters cannot be divided among these sizes",
            found=f"{filters}",
            hint=f"{next_filter_count(sizes, filters)} can be divided",
        )
