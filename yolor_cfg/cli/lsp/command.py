"""`yolor lsp`: the language server as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.options import dialect_option
from yolor_cfg.errors import MissingExtra

if TYPE_CHECKING:
    from yolor_cfg.cli.lsp.server import CfgServer


@click.command()
@click.option(
    "--stdio", is_flag=True, help="Speak over standard input and output: the default, and only way."
)
@dialect_option
def lsp(stdio: bool, dialect: str | None) -> None:
    """Serve an editor that shows cfg files (language server protocol).

    An editor starts it and speaks to it over standard input and output. It shows errors and warnings of
    `yolor cfg check` while you type, sizes and costs of sections, what each key means; it completes, and
    leads to the sections that `from=` and `layers=` name. docs/editor.md has settings for editors.
    """
    make_server(dialect).start_io()


def make_server(dialect: str | None = None) -> CfgServer:
    """The server with all that it answers; raises MissingExtra without pygls."""
    try:
        import pygls  # noqa: F401
    except ImportError as cause:
        raise MissingExtra("lsp") from cause
    from importlib.metadata import PackageNotFoundError, version

    from yolor_cfg.cli.lsp.answers import add_answers
    from yolor_cfg.cli.lsp.diagnostics import add_diagnostics
    from yolor_cfg.cli.lsp.server import CfgServer

    try:
        server = CfgServer(version("yolor-cfg"), dialect)
    except PackageNotFoundError:
        server = CfgServer("unknown", dialect)
    add_answers(server)
    add_diagnostics(server)
    return server
