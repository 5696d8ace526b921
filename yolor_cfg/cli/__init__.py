"""The command `yolor`. A subcommand's module is imported when it is called or listed; torch is not."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from yolor_cfg.cli.options import global_options, is_on, to_command_error
from yolor_cfg.cli.process import calm_threads, raised_termination
from yolor_cfg.cli.streams import keep_stderr
from yolor_cfg.errors import YolorError, printable

COMMANDS = {
    "new": "yolor_cfg.cli.new:new",
    "info": "yolor_cfg.cli.info:info",
    "models": "yolor_cfg.cli.models:models",
    "detect": "yolor_cfg.cli.detect:detect",
    "unite": "yolor_cfg.cli.unite:unite",
    "ray": "yolor_cfg.cli.ray:ray",
    "train": "yolor_cfg.cli.train:train",
    "test": "yolor_cfg.cli.test:test",
    "report": "yolor_cfg.cli.report:report",
    "bench": "yolor_cfg.cli.bench:bench",
    "convert": "yolor_cfg.cli.convert:convert",
    "compare": "yolor_cfg.cli.compare:compare",
    "export": "yolor_cfg.cli.export:export",
    "implicit": "yolor_cfg.cli.implicit:implicit",
    "anchors": "yolor_cfg.cli.anchors:anchors",
    "cfg": "yolor_cfg.cli.cfg_translate:cfg_group",
    "lsp": "yolor_cfg.cli.lsp.command:lsp",
    "data": "yolor_cfg.cli.data:data",
    "demo": "yolor_cfg.cli.demo:demo",
    "darknet": "yolor_cfg.cli.darknet.command:darknet",
}
ALIASES = {"predict": "detect", "val": "test", "map": "test"}
ResolvedCommand = tuple[str | None, click.Command | None, list[str]]


class LazyGroup(click.Group):
    """A group that imports its commands on demand, and the one place where errors become messages."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; standard error may be closed or break without ending it."""
        keep_stderr()
        calm_threads()
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in table order, without aliases."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name or alias."""
        place = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        _add_global_options(command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> ResolvedCommand:
        """Like click's, but suggests the closest name for an unknown command."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from yolor_cfg.cli.habits import DARKNET_COMMANDS
            from yolor_cfg.lang.keys import suggest_word

            hint = DARKNET_COMMANDS.get(args[0]) or suggest_word(args[0], [*COMMANDS, *ALIASES])
            ctx.fail(f"no such command: {args[0]}" + (f"; {hint}" if hint else ""))
        return super().resolve_command(ctx, args)

    def make_context(self, *place: Any, **more: Any) -> click.Context:
        """Like click's; Ctrl-C has the same exit code here as in the command."""
        try:
            return super().make_context(*place, **more)
        except KeyboardInterrupt as fault:
            raise to_command_error(fault) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Like click's; what is wrong with the arguments is printable."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as fault:
            raise _clean_usage_error(fault) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; user errors become a message and an exit code. Click handles closed pipes."""
        try:
            with raised_termination():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except click.UsageError as fault:
            raise _clean_usage_error(fault) from None
        except (YolorError, OSError, KeyboardInterrupt) as fault:
            if is_on("debug"):
                import traceback

                traceback.print_exception(fault)
            raise to_command_error(fault) from None


def _clean_usage_error(fault: click.UsageError) -> click.UsageError:
    """The error with a text that does not command the terminal, whatever the arguments are."""
    return click.UsageError(printable(fault.format_message()), fault.ctx)


def _add_global_options(command: click.Command) -> None:
    """Accept -q, -v and --debug after the command's name too, also for the commands of a group."""
    if not any(param.name == "debug" for param in command.params):
        command.params.extend(global_options(hidden=True))
    for member in getattr(command, "commands", {}).values():
        _add_global_options(member)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"yolor {version('yolor-cfg')}")
        except PackageNotFoundError:
            click.echo("yolor, version unknown: the package is not installed")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=list(global_options(hidden=False)),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def main() -> None:
    """Inspect, train, test and run Darknet and YOLOR cfg networks."""
