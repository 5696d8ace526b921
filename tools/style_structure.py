"""The structure that the imports show: rooms, imports that run up, cycles, the longest chain.

A room is a file at the package root or a folder with all of its files. Imports inside functions and those for
type checkers count like any other, since a reader has to follow them too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "yolor_cfg"
# From the bottom to the top: a room may import what stands on an earlier line or before it in its own line.
FLOORS = (
    ("errors", "arguments", "files", "shape", "runs"),
    ("lang", "ops"),
    ("sections",),
    ("graph", "count", "model"),
    ("weights", "rewrite", "images", "parallel", "names", "networks"),
    ("export", "engines"),
    ("detect", "data"),
    ("evaluate",),
    ("train",),
    ("report", "analysis"),
    ("cli", "__init__", "__main__"),
)
ORDER = [room for floor in FLOORS for room in floor]
SIBLINGS = frozenset({("data", "detect"), ("train", "detect")})
"""Pairs of rooms that must not import each other although one is above the other."""
ROOT_MODULES, CHAIN = 10, 13
"""Limits: files at the package root, and imports in a row from a command down to the last file."""


class Import(NamedTuple):
    """One module of the package that a file imports, and the line that says so."""

    line: int
    target: str


Modules = dict[str, list[Import]]
"""What each module (`detect.pipeline`, `__init__` for the package itself) imports from the package."""


@cache
def read_modules(root: Path) -> Modules:
    """The modules below root/yolor_cfg with their imports of each other."""
    files = {module_name(path, root): path for path in sorted((root / PACKAGE).rglob("*.py"))}
    return {name: list(find_imports(path, root, frozenset(files))) for name, path in files.items()}


def module_name(path: Path, root: Path) -> str:
    """`detect.pipeline` for yolor_cfg/detect/pipeline.py; a folder is its __init__."""
    parts = path.relative_to(root / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def find_imports(path: Path, root: Path, modules: frozenset[str]) -> Iterator[Import]:
    """Each import of a module of the package, relative ones included."""
    folder = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else ()
            source = ".".join([*above, *filter(None, [node.module])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == PACKAGE:
                yield Import(node.lineno, _nearest(rest, modules))


def _nearest(name: str, modules: frozenset[str]) -> str:
    """The module that a dotted name leads into: `graph` for `graph.Graph`, `__init__` for a public name."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or "__init__"


def room_of(module: str) -> str:
    """The room that a module stands in."""
    return module.partition(".")[0]


def upward_arrows(modules: Modules) -> Iterator[str]:
    """Each import between rooms that does not go down, and each between rooms that are siblings."""
    for module, imports in modules.items():
        here = room_of(module)
        for line, target in imports:
            there = room_of(target)
            if here == there:
                continue
            if here not in ORDER or there not in ORDER:
                yield f"{module}:{line}: a room without a floor: {here if here not in ORDER else there}"
            elif ORDER.index(there) > ORDER.index(here) or (here, there) in SIBLINGS:
                yield f"{module}:{line}: {here} imports {there}"


def longest_chain(modules: Modules) -> list[str]:
    """The modules of the longest way down along imports; raises ValueError at a cycle, naming it."""
    longest: dict[str, list[str]] = {}

    def follow(module: str, way: tuple[str, ...]) -> list[str]:
        if module in way:
            raise ValueError(" -> ".join([*way[way.index(module) :], module]))
        if module not in longest:
            targets = {target for _, target in modules[module] if target != module}
            below = [follow(target, (*way, module)) for target in sorted(targets)]
            longest[module] = [module, *max(below, key=len, default=[])]
        return longest[module]

    return max((follow(module, ()) for module in sorted(modules)), key=len, default=[])


def root_modules(modules: Modules) -> list[str]:
    """The files at the package root that are not entry points."""
    folders = {room_of(name) for name in modules if "." in name}
    return [name for name in modules if "." not in name and name not in folders and "__" not in name]


def structure_faults(root: Path) -> Iterator[str]:
    """What breaks the structure; nothing if there is no package."""
    if not (root / PACKAGE).is_dir():
        return
    modules = read_modules(root)
    yield from upward_arrows(modules)
    try:
        chain = longest_chain(modules)
    except ValueError as cycle:
        yield f"import cycle: {cycle}"
        return
    if len(chain) - 1 > CHAIN:
        yield f"a chain of {len(chain) - 1} imports, at most {CHAIN}: {' -> '.join(chain)}"
    if len(at_root := root_modules(modules)) > ROOT_MODULES:
        yield f"{len(at_root)} modules at the package root, at most {ROOT_MODULES}: {', '.join(at_root)}"


def structure_summary(root: Path) -> str:
    """The figures in one line."""
    modules = read_modules(root)
    try:
        chain = f"longest chain {len(longest_chain(modules)) - 1} imports, no import cycle"
    except ValueError:
        chain = "an import cycle"
    arrows = len(list(upward_arrows(modules)))
    return f"{len(root_modules(modules))} modules at the package root, {chain}, {arrows} arrows up"
