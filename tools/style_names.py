"""Names to avoid: a participle for a function, one name for two types, a type and a function that differ
only in case."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

NO_PARTICIPLES = frozenset("embed feed need proceed seed shed speed".split())
IRREGULAR = frozenset(
    "begun bought bound broken built caught chosen cut done drawn driven fed felt found frozen given gone "
    "grown held hidden kept known laid led left lent lost made meant met paid proven read said seen sent "
    "shown sold spent split spoken stood sought taken taught thought thrown told torn understood worn wound "
    "written".split()
)
KEPT = frozenset({"decayed"})
"""A name of the Section contract."""
VERBS_TOO = frozenset("cut put read set split".split())
PREPOSITIONS = frozenset("as at behind between by in of on with without".split())

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Definition(NamedTuple):
    """A name with the place where it is defined."""

    text: str
    path: str
    line: int


def function_name_fault(name: str) -> str:
    """Why the name of a function is neither verb nor noun; empty if it is fine."""
    words = name.strip("_").split("_")
    if name in KEPT:
        return ""
    if words[0] in PREPOSITIONS:
        return f"{name} starts with a preposition: name the verb, or what it returns"
    if len(words) == 1 and is_participle(words[0]):
        return f"{name} is a bare participle: name the verb, or what it returns"
    return ""


def is_participle(word: str) -> bool:
    """True for `added`, `found` and the like; `read` and `split` are verbs as well."""
    if word in IRREGULAR:
        return word not in VERBS_TOO
    return word.endswith("ed") and len(word) > 3 and word not in NO_PARTICIPLES


def is_named_freely(function: Function) -> bool:
    """True for special methods and for properties, which may be adjectives."""
    decorators = {ast.unparse(item).rpartition(".")[2] for item in function.decorator_list}
    return function.name.startswith("__") or bool(decorators & {"property", "cached_property"})


def type_names(path: str, tree: ast.Module) -> Iterator[Definition]:
    """The classes of a file and the aliases that it gives to types, on its top level."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield Definition(name, path, node.lineno)
            case ast.Assign(targets=[ast.Name(id=name)]) if _is_type(node.value) and name[:1].isupper():
                if not name.isupper():
                    yield Definition(name, path, node.lineno)


def _is_type(value: ast.expr) -> bool:
    """True for `tuple[int, int]`, `A | B` and the like."""
    return isinstance(value, ast.Subscript | ast.BinOp)


def twin_faults(
    types: Iterable[Definition], functions: Iterable[Definition]
) -> Iterator[tuple[Definition, str]]:
    """Each type whose name is also that of another type, or of a module's function but for case."""
    by_name: dict[str, list[Definition]] = defaultdict(list)
    for name in types:
        by_name[name.text].append(name)
    called = {name.text.lower(): name for name in functions}
    for names in by_name.values():
        for other in names[1:]:
            yield other, f"{other.text} is a type in {names[0].path}:{names[0].line} too"
        twin = called.get(names[0].text.lower())
        if twin is not None:
            yield names[0], f"{names[0].text} and the function {twin.text} ({twin.path}) differ only in case"
