"""`yolor info --sections`: the sections and keys of the language, from the section classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import echo, format_columns, print_json
from yolor_cfg.lang.dialect import ALL_DIALECTS

if TYPE_CHECKING:
    from yolor_cfg.lang.keys import Key
    from yolor_cfg.sections import Section

MAX_CELL_WIDTH = 40  # characters per cell in the table of keys


def print_language(names: Sequence[str], as_json: bool) -> None:
    """Print all sections with a sentence each, or the named ones with their keys."""
    from yolor_cfg.sections import SECTIONS

    wanted = [_find_section(name, SECTIONS) for name in names]
    kinds = wanted or sorted(set(SECTIONS.values()), key=lambda kind: kind.names)
    if as_json:
        return print_json([_section_to_json(kind) for kind in kinds])
    if wanted:
        return echo("\n\n".join(_format_manual(kind) for kind in kinds))
    rows = [(f"[{']  ['.join(kind.names)}]", _dialect_note(kind), _sentence(kind)) for kind in kinds]
    return echo("\n".join(format_columns(rows, words=(0, 1, 2))))


def _find_section(name: str, known: dict[str, type[Section]]) -> type[Section]:
    bare = name.strip("[]")
    if bare not in known:
        from yolor_cfg.lang.keys import suggest_word

        hint = suggest_word(bare, sorted(known)) or "--sections alone lists all"
        raise click.UsageError(f"no such section: {name}; {hint}")
    return known[bare]


def _format_manual(kind: type[Section]) -> str:
    """The manual of one section: names, sentence, keys with default, bounds and help, an example."""
    from yolor_cfg.sections import Section

    title = f"[{']  ['.join(kind.names)}]  {_dialect_note(kind)}".rstrip()
    common = ", ".join(name for name in kind.keys if name in Section.keys)
    example = [f"    {line}" for line in "\n".join(kind.examples[:1]).splitlines()]
    lines = [title, f"  {_sentence(kind)}", "", *_format_keys(kind), "", f"  in every section: {common}"]
    return "\n".join([*lines, *(["  for example:", *example] if example else [])])


def _format_keys(kind: type[Section]) -> list[str]:
    """The table of keys, followed by the lists of values that are too long for a cell."""
    own = [kind.keys[name] for name in kind.own_keys()]
    long = [key for key in own if len(key.allowed) > MAX_CELL_WIDTH]
    allowed = ["see below" if key in long else key.allowed for key in own]
    rows = [
        (key.name, _format_default(key.default), text, key.help)
        for key, text in zip(own, allowed, strict=True)
    ]
    rows += [(name, "", "not used", text) for name, text in kind.ignored_keys.items()]
    if not rows:
        return ["  no keys"]
    table = format_columns([("key", "default", "allowed", "meaning"), *rows], words=range(4))
    return [f"  {line}" for line in (*table, *(f"{key.name}: {key.allowed}" for key in long))]


def _section_to_json(kind: type[Section]) -> dict[str, Any]:
    return {
        "names": list(kind.names),
        "dialects": list(kind.dialects),
        "sentence": _sentence(kind),
        "head": kind.is_head,
        "keys": [_key_to_json(key) for key in kind.keys.values()],
        "ignored": kind.ignored_keys,
        "examples": list(kind.examples),
    }


def _key_to_json(key: Key[Any]) -> dict[str, Any]:
    """`default` is null if it is derived from other keys."""
    default = None if callable(key.default) else key.default
    return {
        "name": key.name,
        "type": type(key).__name__.lower(),
        "default": default,
        "allowed": key.allowed,
        "help": key.help,
    }


def _sentence(kind: type[Section]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _dialect_note(kind: type[Section]) -> str:
    return f"only {', '.join(kind.dialects)}" if len(kind.dialects) < len(ALL_DIALECTS) else ""


def _format_default(value: Any) -> str:
    """A default as written in a cfg; a callable one depends on other keys."""
    if callable(value):
        return "from other keys"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value) or "none"
    return "none" if value in (None, "") else str(value)
