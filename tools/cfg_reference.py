"""Write docs/cfg-reference.md, all sections and keys: `python tools/cfg_reference.py [--check]`.

All of it comes from the classes of the sections, the table of dialects with its comments, and the tables of
activations and of refused sections.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import pages
from pages import format_table

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import ALL_DIALECTS, DARKNET, DIALECTS, Dialect
from yolor_cfg.lang.keys import ActivationKey
from yolor_cfg.sections import SECTIONS, NetSection, Section
from yolor_cfg.sections.manual import (
    KeyManual,
    describe_key,
    describe_keys,
    format_value,
    join_reason,
    name_dialects,
    summarize,
)
from yolor_cfg.sections.refused import REFUSED_SECTIONS

PAGE = pages.DOCS / "cfg-reference.md"
NAMING_FACTS = ("name", "family", "program")
FIELD = re.compile(r"    (\w+): [^#\n]*(?:#\s*(.*))?$")
LONG = 8  # words of a fact that a cell cannot hold
ACTIVATION_LIST = "[activations](#activations)"

INTRODUCTION = """\
# The cfg language

Written by `python tools/cfg_reference.py` from the classes of the sections and the table of dialects; change
those, not this page. `yolor info --sections NAME` shows the same of one section, `yolor cfg explain CFG` of
those in a file, with their values: [cfg.md](cfg.md).

- [Families](#families): which programs are meant, how a file's is told, in which facts they differ
- [Keys of every section](#keys-of-every-section), then the sections by name
- [Activations](#activations)
- [Sections that are refused](#sections-that-are-refused)

## Families
A *dialect* is one program's reading of the language, a *family* a program with those that descend from it.

"""
TELLING = """\

How the dialect of a file is told:

1. `--dialect NAME`, else `dialect=` in `[net]`, else what a checkpoint of ours says. A family's name
   stands for the member of it that the file's own lines point to.
2. Else by the lines that not every dialect has: sections first, then keys and activations, of these
   first those that neither `darknet` nor `yolor` has. The tables below say which dialects have what.
3. Where several dialects are left the first of them counts, in the order of the table; where the others
   would read this file otherwise, a note says so.
4. Two lines that no dialect has both, one of `darknet` and one of `yolor` or two sections, are an error
   that names them.

The facts in which the dialects differ; an empty cell is as in `darknet`:

"""
USES = """\

## How to read the tables
*use*: **both** shapes the network, so that running and training it go by it; **inference**: only
finding boxes does; **training**: only training does; **none**: nothing here does, and the last column
says why. The keys of `[net]` and of heads for training count in the families that train as C Darknet
does; in those of PyTorch, but for `batch` and `subdivisions`, the recipe (`--hyp`) has these numbers. A
default "from other keys" or with the name of a key follows that key; a *required* key has to be given.
*dialects*: those that have the key, where not all that have the section do.

## Keys of every section

"""


ACTIVATIONS_TEXT = """\

## Activations
What an unknown name means is a fact of the dialect (`unknown_activation`). "foreign": it
runs here, although the program itself does not know the name.

"""


def write_page() -> str:
    """The whole page."""
    parts = (
        INTRODUCTION,
        *format_table(("dialect", "family", "program"), _list_programs()),
        TELLING,
        *format_table(("fact", "meaning", *ALL_DIALECTS), list_facts()),
        *(f"\n`{fact}` of {names}: {words}.\n" for fact, names, words in list_long_facts()),
        USES,
        *_format_keys(describe_key(Section, name) for name in Section.keys),
        *(part for kind in list_kinds() for part in _format_section(kind)),
        ACTIVATIONS_TEXT,
        *format_table(("activation", *ALL_DIALECTS), _list_activations()),
        "\n## Sections that are refused\n\n",
        *format_table(
            ("section", "reason"), ((f"`[{name}]`", why) for name, why in REFUSED_SECTIONS.items())
        ),
    )
    return "".join(parts)


def list_kinds() -> list[type[Section]]:
    """Every kind of section: [net], then by name."""
    kinds = sorted(set(SECTIONS.values()) - {NetSection}, key=lambda kind: kind.names[0].casefold())
    return [NetSection, *kinds]


def describe_facts() -> dict[str, str]:
    """What each fact of a dialect means: the comments in its class."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.getsource(Dialect).splitlines():
        field = FIELD.match(line)
        if field:
            name = field[1]
            found[name] = field[2] or ""
        elif line.startswith("    # ") and name:
            found[name] += " " + line.removeprefix("    # ")
        elif not line.strip():
            name = ""
    return found


def list_facts() -> Iterator[tuple[str, ...]]:
    """The facts in which any two dialects differ: name, meaning, value in each where it is not Darknet's."""
    meanings = describe_facts()
    for fact in Dialect._fields:
        values = [getattr(one, fact) for one in DIALECTS.values()]
        if fact not in NAMING_FACTS and len(set(values)) > 1:
            cells = (_format_fact(value, getattr(DARKNET, fact)) for value in values[1:])
            yield f"`{fact}`", meanings[fact], _format_fact(values[0], None), *cells


def list_long_facts() -> Iterator[tuple[str, str, str]]:
    """The facts that are too long for a cell: name, dialects, words; those of several dialects once."""
    for fact in Dialect._fields:
        names: dict[tuple[str, ...], list[str]] = {}
        for one in DIALECTS.values():
            if _is_long(value := getattr(one, fact)):
                names.setdefault(value, []).append(one.name)
        shared = set[str].intersection(*map(set, names)) if len(names) > 1 else set[str]()
        if shared:
            every = ", ".join(name for some in names.values() for name in some)
            yield fact, every, ", ".join(sorted(shared))
        for words, some in names.items():
            own = [word for word in words if word not in shared]
            if own:
                more = "also " if shared else ""
                yield fact, ", ".join(some), more + ", ".join(own)


def _is_long(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > LONG


def _format_fact(value: Any, usual: Any) -> str:
    if value == usual:
        return ""
    if _is_long(value):
        return f"{len(value)} words, below"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_value(value).replace(",", ", ")


def _list_programs() -> Iterator[tuple[str, ...]]:
    for one in DIALECTS.values():
        yield f"`{one.name}`", one.family, one.program


def _list_activations() -> Iterator[tuple[str, ...]]:
    for name in sorted(ACTIVATIONS):
        yield f"`{name}`", *(_say_known(name, one) for one in DIALECTS.values())


def _say_known(name: str, dialect: Dialect) -> str:
    if not ActivationKey("linear").has_option(name, dialect):
        return ""
    return "yes" if ACTIVATIONS[name].is_in(dialect.name) else "foreign"


def _format_section(kind: type[Section]) -> Iterator[str]:
    names = ", ".join(f"[{name}]" for name in kind.names)
    yield f"\n## {names}\n{summarize(kind)}\n\n"
    yield f"Dialects: {name_dialects(kind.dialects) or 'all'}.\n"
    keys = list(describe_keys(kind))
    if keys:
        yield "\n"
        yield from _format_keys(keys, kind.dialects)


def _format_keys(keys: Iterable[KeyManual], usual: tuple[str, ...] = ALL_DIALECTS) -> Iterator[str]:
    """The table of keys; `usual` are the dialects that need no mention."""
    heads = ("key", "default", "unit", "allowed", "use", "dialects", "meaning")
    return format_table(heads, (_key_cells(key, usual) for key in keys))


def _key_cells(key: KeyManual, usual: tuple[str, ...]) -> tuple[str, ...]:
    words = sorted(ACTIVATIONS)
    allowed = ACTIVATION_LIST if key.allowed == ", ".join(words) else key.allowed
    names = "" if key.dialects == usual else name_dialects(key.dialects)
    meaning = join_reason(key.meaning, key.reason)
    return f"`{key.name}`", key.default, key.unit, allowed, key.use, names, meaning


@click.command()
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="another page")
@click.option("--check", is_flag=True, help="write nothing; exit 1 if the page is not what the classes give")
def main(page: Path, check: bool) -> None:
    """Write the reference of the cfg language."""
    pages.update_page(page, write_page(), tool="cfg_reference", check=check)


if __name__ == "__main__":
    main()
