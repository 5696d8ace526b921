"""`yolor info --sections`: the sections and keys of the language, from the section classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import echo, format_columns, print_json

if TYPE_CHECKING:
    from yolor_cfg.lang.keys import Key
    from yolor_cfg.sections import Section

MAX_CELL_WIDTH = 30  # characters per cell in the table of keys


def print_language(names: Sequence[str], as_json: bool) -> None:
    """Print all sections with a sentence each, or the named ones with their keys."""
    from yolor_cfg.sections import SECTIONS
    from yolor_cfg.sections.manual import summarize

    wanted = [_find_section(name, SECTIONS) for name in names]
    kinds = wanted or sorted(set(SECTIONS.values()), key=lambda kind: kind.names)
    if as_json:
        return print_json([_section_to_json(kind) for kind in kinds])
    if wanted:
        return echo("\n\n".join(_format_manual(kind) for kind in kinds))
    rows = [(f"[{']  ['.join(kind.names)}]", _dialect_note(kind), summarize(kind)) for kind in kinds]
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
    from yolor_cfg.sections.manual import summarize

    title = f"[{']  ['.join(kind.names)}]  {_dialect_note(kind)}".rstrip()
    common = ", ".join(name for name in kind.keys if name in Section.keys)
    example = [f"    {line}" for line in "\n".join(kind.examples[:1]).splitlines()]
    lines = [title, f"  {summarize(kind)}", "", *_format_keys(kind), "", f"  in every section: {common}"]
    return "\n".join([*lines, *(["  for example:", *example] if example else [])])


def _format_keys(kind: type[Section]) -> list[str]:
    """The table of keys, followed by the lists of values that are too long for a cell."""
    from yolor_cfg.sections.manual import describe_keys

    own = list(describe_keys(kind))
    long = [key for key in own if len(key.allowed) > MAX_CELL_WIDTH]
    if not own:
        return ["  no keys"]
    rows = [
        (key.name, key.default, "see below" if key in long else key.allowed, key.use, key.sentence)
        for key in own
    ]
    table = format_columns([("key", "default", "allowed", "use", "meaning"), *rows], words=range(5))
    return [f"  {line}" for line in (*table, *(f"{key.name}: {key.allowed}" for key in long))]


def _section_to_json(kind: type[Section]) -> dict[str, Any]:
    from yolor_cfg.sections.manual import summarize

    return {
        "names": list(kind.names),
        "dialects": list(kind.dialects),
        "sentence": summarize(kind),
        "head": kind.is_head,
        "keys": [_key_to_json(kind, key) for key in kind.keys.values()],
        "ignored": kind.ignored_keys,
        "examples": list(kind.examples),
    }


def _key_to_json(kind: type[Section], key: Key[Any]) -> dict[str, Any]:
    """`default` is null if it is derived from other keys; `use` is both, inference, training or none, that
    with its reason."""
    from yolor_cfg.sections.manual import find_use, key_dialects

    default = None if callable(key.default) else key.default
    use, reason = find_use(kind, key.name)
    return {
        "name": key.name,
        "type": type(key).__name__.lower(),
        "default": default,
        "allowed": key.allowed,
        "unit": key.unit,
        "dialects": list(key_dialects(kind, key)),
        "use": use,
        "reason": reason,
        "help": key.help,
    }


def _dialect_note(kind: type[Section]) -> str:
    from yolor_cfg.sections.manual import name_dialects

    names = name_dialects(kind.dialects)
    return f"only {names}" if names else ""
