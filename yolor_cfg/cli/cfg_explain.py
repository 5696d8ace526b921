"""`yolor cfg explain`: what each key of a cfg means, and the value that counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import (
    dialect_option,
    echo,
    format_columns,
    json_option,
    print_json,
    report_warnings,
)
from yolor_cfg.errors import CfgError, count_of

if TYPE_CHECKING:
    from yolor_cfg.graph import Draft
    from yolor_cfg.sections import Section
    from yolor_cfg.sections.manual import KeyInUse

HEADERS = ("key", "value", "line", "default", "allowed", "use", "meaning")
MAX_CELL_WIDTH = 30  # characters of a list of words in the table; a longer one stands below all tables
MAX_VALUE_WIDTH = 40
MAX_PLACES = 12  # sections that a title names
LINE_MARK = ":"


@click.command()
@click.argument("cfg", type=click.Path(), required=False)
@click.option(
    "--section",
    "wanted",
    metavar="NAME|N|:LINE",
    help="Only this: all sections of a name, number N (0 is the first after [net]), or the one on a line.",
)
@dialect_option
@json_option
def explain(cfg: str | None, wanted: str | None, dialect: str | None, as_json: bool) -> None:
    """Say what the keys of CFG mean: value in use, its line, default, unit, allowed values.

    Without --section, each section with the keys that it gives; those that say the same are told once. With
    it, all keys of that section: a value without a line is the default. `--section convolutional` without
    CFG is what `yolor info --sections convolutional` prints.
    """
    if cfg is None:
        return _explain_language(wanted, as_json)
    from yolor_cfg.graph import ReadOptions, draft_graph, read_document

    draft = draft_graph(read_document(cfg), ReadOptions(dialect))
    chosen = _choose_sections(draft, wanted)
    if as_json:
        print_json([_to_json(draft, section, is_whole=wanted is not None) for section in chosen])
    else:
        echo("\n\n".join(_format_sections(draft, chosen, is_whole=wanted is not None)))
    if draft.faults:
        told = f"{count_of(len(draft.faults), 'fault')} in {cfg}: `yolor cfg check` says more"
        report_warnings((), [told])


def _explain_language(wanted: str | None, as_json: bool) -> None:
    from yolor_cfg.cli.language import print_language

    if wanted is None:
        raise click.UsageError("give CFG, or --section NAME; `yolor info --sections` lists all names")
    print_language([wanted], as_json)


def _choose_sections(draft: Draft, wanted: str | None) -> list[Section]:
    """[net] and the sections that are asked for; raises CfgError if there is none."""
    sections = [draft.net, *draft.sections]
    if wanted is None:
        return sections
    word = wanted.strip("[]# ")
    chosen = [section for section in sections if _is_meant(section, word)]
    if not chosen:
        names = sorted({section.raw.name for section in sections})
        raise CfgError(
            "no such section in this file",
            path=draft.net.path,
            found=wanted,
            allowed=f"{', '.join(names)}; 0 to {len(sections) - 2}; {LINE_MARK}LINE",
        )
    return chosen


def _is_meant(section: Section, word: str) -> bool:
    """Whether a name, a number or `:LINE` means this section."""
    if word.isdecimal():
        return section.index == int(word)
    number = word.removeprefix(LINE_MARK)
    if word.startswith(LINE_MARK) and number.isdecimal():
        return section.line <= int(number) <= section.raw.lines[-1].number
    return word == section.raw.name or word in section.names


def _format_sections(draft: Draft, sections: Sequence[Section], *, is_whole: bool) -> list[str]:
    """A table for each section, or for all that say the same; then the lists that are too long for a cell."""
    from yolor_cfg.sections.manual import summarize

    groups: dict[Any, list[Section]] = {}
    for section in sections:
        groups.setdefault(section.index if is_whole else _find_content(section), []).append(section)
    blocks, long = [], dict[str, None]()
    for first, *others in groups.values():
        keys = _list_keys(first, is_whole=is_whole)
        long |= {f"{one.manual.name}: {one.manual.allowed}": None for one in keys if _is_long(one)}
        title = f"{_format_place(first)}{_format_others(others)}{_format_size(draft, first) * is_whole}"
        blocks.append("\n".join([title, f"  {summarize(type(first))}", *_format_keys(keys)]))
    return blocks + (["\n".join(long)] if long else [])


def _list_keys(section: Section, *, is_whole: bool) -> list[KeyInUse]:
    """The keys that the file gives; of a whole section also the others that it has for itself."""
    from yolor_cfg.sections.manual import explain_keys

    own = section.own_keys()
    return [one for one in explain_keys(section) if one.line or (is_whole and one.manual.name in own)]


def _find_content(section: Section) -> Any:
    """What two sections have in common if the same is to be said of them."""
    return type(section), tuple((name, line.value) for name, line in section.lines.items())


def _format_place(section: Section) -> str:
    number = "" if section.index < 0 else f" #{section.index}"
    return f"[{section.raw.name}]{number}, line {section.line}"


def _format_others(others: Sequence[Section]) -> str:
    if not others:
        return ""
    shown = [f"#{section.index}" for section in others[:MAX_PLACES]]
    more = [f"{len(others) - MAX_PLACES} more"] if len(others) > MAX_PLACES else []
    return f"; the same: {', '.join(shown + more)}"


def _format_size(draft: Draft, section: Section) -> str:
    """The sizes of what it reads and gives, where they are known."""
    nodes = [node for node in draft.nodes if node.index == section.index]
    return "".join(f": {', '.join(map(str, node.inputs)) or 'nothing'} -> {node.shape}" for node in nodes)


def _format_keys(keys: Iterable[KeyInUse]) -> list[str]:
    rows = [_key_row(one) for one in keys]
    table = format_columns([HEADERS, *rows], words=range(len(HEADERS))) if rows else ["no keys"]
    return [f"  {line}" for line in table]


def _key_row(one: KeyInUse) -> tuple[str, ...]:
    from yolor_cfg.sections.manual import format_value

    manual = one.manual
    value = "faulty" if one.value is None and one.line else format_value(one.value)
    short = value if len(value) <= MAX_VALUE_WIDTH else value[: MAX_VALUE_WIDTH - 3] + "..."
    allowed = "see below" if _is_long(one) else manual.allowed
    return manual.name, short, str(one.line or ""), manual.default, allowed, manual.use, manual.sentence


def _is_long(one: KeyInUse) -> bool:
    return len(one.manual.allowed) > MAX_CELL_WIDTH


def _to_json(draft: Draft, section: Section, *, is_whole: bool) -> dict[str, Any]:
    from yolor_cfg.sections.manual import summarize

    nodes = [node for node in draft.nodes if node.index == section.index]
    return {
        "section": section.raw.name,
        "type": section.type,
        "number": None if section.index < 0 else section.index,
        "line": section.line,
        "sentence": summarize(type(section)),
        "inputs": [list(shape) for node in nodes for shape in node.inputs],
        "shape": next((list(node.shape) for node in nodes), None),
        "keys": [_key_to_json(one) for one in _list_keys(section, is_whole=is_whole)],
    }


def _key_to_json(one: KeyInUse) -> dict[str, Any]:
    """`line` is null where the value is the default, `value` where the key is faulty or has none."""
    value = one.value
    if isinstance(value, float) and not isfinite(value):
        value = str(value)
    manual = one.manual._asdict()
    return {"name": manual.pop("name"), "value": value, "line": one.line or None, **manual}
