"""Write docs/cli.md, all commands and options: `python tools/cli_reference.py [--check]`.

All of it is what `yolor COMMAND --help` says, taken from the commands themselves.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pages
from pages import format_table

from yolor_cfg.cli import ALIASES, main

PAGE = pages.DOCS / "cli.md"
PROGRAM = "yolor"
HELP = ["-h", "--help"]
LONG = 200  # characters of a first sentence
UNWRAPPED = "\b"  # click's mark of a paragraph whose lines stay as they are
STAR = re.compile(r"(`[^`]*`)|\*")

INTRODUCTION = """\
# The command line

Written by `python tools/cli_reference.py` from the commands; change those, not this page.
`yolor COMMAND --help` shows the same of one command.

"""
AFTER_OPTIONS = """
These stand before or behind the name of a command. `--json` of a command prints for programs: one document,
or, for `detect`, a line for each image. Exit codes: [what went wrong, and what to do](errors.md#exit-codes).
"""


def write_page() -> str:
    """The whole page."""
    commands = list(list_commands())
    parts = (
        INTRODUCTION,
        *(_format_entry(name, command) for name, command in commands),
        "\n## Options of every command\n",
        *_format_options(main),
        AFTER_OPTIONS,
        *(part for name, command in commands for part in _format_command(name, command)),
    )
    return "".join(parts)


def list_commands(group: click.Group = main, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its name behind `yolor`, in the order of the help; a group is its members."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{name} ")
        else:
            yield above + name, command


def _format_entry(name: str, command: click.Command) -> str:
    return f"- [{name}](#{name.replace(' ', '-')}): {_escape(command.get_short_help_str(LONG))}\n"


def _format_command(name: str, command: click.Command) -> Iterator[str]:
    context = _make_context(command)
    usage = " ".join([PROGRAM, name, *command.collect_usage_pieces(context)])
    yield f"\n## {name}\n```\n{usage}\n```\n"
    yield from _format_text(command.help or "")
    aliases = [alias for alias, real in ALIASES.items() if real == name]
    if aliases:
        yield f"\nAlso called {' and '.join(f'`yolor {alias}`' for alias in aliases)}.\n"
    yield from _format_options(command)
    yield from _format_text(command.epilog or "")


def _format_text(text: str) -> Iterator[str]:
    """The paragraphs of a help text; those whose lines stay as they are as code."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith(UNWRAPPED):
            yield f"\n```\n{inspect.cleandoc(paragraph.removeprefix(UNWRAPPED)).strip()}\n```\n"
        elif paragraph:
            yield f"\n{_escape(' '.join(paragraph.split()))}\n"


def _format_options(command: click.Command) -> Iterator[str]:
    context = _make_context(command)
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and not one.hidden]
    yield "\n"
    yield from format_table(("option", "value", "meaning"), (_option_cells(one, context) for one in options))


def _option_cells(option: click.Option, context: click.Context) -> tuple[str, ...]:
    """Names, values, meaning with default and bounds, as the help tells them."""
    # A command keeps the --help of its first call, which may have had other names.
    is_help = option is context.command.get_help_option(context)
    words = HELP if is_help else [*option.opts, *option.secondary_opts]
    names = ", ".join(f"`{word}`" for word in words)
    has_value = not (option.is_flag or option.count)
    value = option.make_metavar(context).replace("|", " | ") if has_value else ""
    record = option.get_help_record(context)
    return names, value, _escape(record[1] if record else "")


def _make_context(command: click.Command) -> click.Context:
    return click.Context(command, info_name=PROGRAM, help_option_names=HELP)


def _escape(text: str) -> str:
    """The text, with stars outside of code as Markdown writes them."""
    return STAR.sub(lambda found: found[1] or r"\*", text)


@click.command()
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="another page")
@click.option("--check", is_flag=True, help="write nothing; exit 1 if the page is not what the commands say")
def write(page: Path, check: bool) -> None:
    """Write the reference of the command line."""
    pages.update_page(page, write_page(), tool="cli_reference", check=check)


if __name__ == "__main__":
    write()
