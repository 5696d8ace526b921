"""The class trees that sections name."""

from __future__ import annotations

from os.path import isfile

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.paths import resolve_cfg_path
from yolor_cfg.lang.tree import Tree, read_tree
from yolor_cfg.sections.checks import CheckedSection


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


def check_tree(section: CheckedSection, name: str, classes: int) -> None:
    """Warn of a class tree that is there and cannot be used; its network cannot be built."""
    if isfile(resolve_cfg_path(name, section.path)):
        try:
            load_tree(section, name, classes)
        except CfgError as fault:
            section.warnings.append(fault)
