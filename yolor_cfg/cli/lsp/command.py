"""`yolor lsp`: the language server as a command."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.options import dialect_option, is_on
from yolor_cfg.errors import MissingExtra, YolorError

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
    if sys.stdin.isatty():
        raise click.UsageError("an editor starts this command: docs/editor.md has its settings")
    server = make_server(dialect)
    _end_at_signals()
    try:
        server.start_io()
    except (MemoryError, OverflowError):
        raise YolorError("the editor announced a message that is larger than the memory") from None


def _end_at_signals() -> None:
    """Let SIGINT and SIGTERM end the process at once. Nothing is to be finished, and a thread that waits for
    input would hold up the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def make_server(dialect: str | None = None) -> CfgServer:
    """The server with all that it answers; raises MissingExtra without pygls."""
    try:
        from pygls.lsp.server import LanguageServer  # noqa: F401  # of version 2 and later
    except ImportError as cause:
        raise MissingExtra("lsp") from cause
    # What a client sends that is no message is answered there; a traceback is for --debug.
    logging.getLogger("pygls").setLevel(logging.DEBUG if is_on("debug") else logging.CRITICAL)
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
