"""`yolor darknet`: a command line of C Darknet, as it was typed or scripted."""

from __future__ import annotations

import shlex
from typing import Any

import click

from yolor_cfg.cli.darknet.functions import ANSWERS, FUNCTIONS, DarknetFunction, NewForm
from yolor_cfg.cli.darknet.line import CommandLine, parse_line
from yolor_cfg.cli.darknet.meanings import describe
from yolor_cfg.cli.options import is_on, print_stderr, report_warnings
from yolor_cfg.errors import escape

OWN = frozenset(("-h", "--help", "-q", "--quiet", "-v", "--verbose", "--debug"))
DEVICE = "-i"
EXAMPLES = """\
Examples:
  yolor darknet detector test obj.data yolov4.cfg yolov4.weights \\
    street.jpg -thresh 0.4 -ext_output -dont_show
  yolor darknet detector map obj.data yolov4.cfg yolov4.weights
  yolor darknet detector train obj.data yolov4.cfg yolov4.conv.137 -map"""
WORDS = "yolor_cfg.darknet_words"


class DarknetCommand(click.Command):
    """A command whose options have one dash, as C Darknet's, and stand anywhere."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options that all our commands have; the rest are words to click."""
        own = [arg for arg in args if arg in OWN]
        rest = [arg for arg in args if arg not in OWN]
        ctx.meta[WORDS] = rest
        return super().parse_args(ctx, [*own, "--", *rest])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The functions, or of one that is named how it is called and what its options are here."""
        words = parse_line(ctx.meta.get(WORDS, ())).words
        name, _ = _find_function(CommandLine(words, {})) if words else ("", None)
        formatter.write_paragraph()
        if not name:
            usages = [f"  {each} {function.usage}" for each, function in FUNCTIONS.items()]
            formatter.write(
                "\n".join(["Functions (--help after one shows its options):", *usages, "", EXAMPLES])
            )
            formatter.write("\n")
            return
        formatter.write(f"{name} {FUNCTIONS[name].usage}\n")
        rows = [(option, describe(meaning)) for option, meaning in sorted(FUNCTIONS[name].options.items())]
        with formatter.indentation():
            formatter.write_dl(rows)


@click.command(cls=DarknetCommand)
@click.argument("args", nargs=-1, metavar="FUNCTION ...")
@click.pass_context
def darknet(ctx: click.Context, args: tuple[str, ...]) -> None:
    """Run a command line of C Darknet (AlexeyAB) by the command of ours that does the same.

    Write `yolor darknet` for `./darknet`: the new form is printed first, to standard error, then run. What
    C Darknet prints for other programs goes to standard output, equal to its own. An option without an equal
    here is told or, where the result would be another, refused. Existing files are overwritten only with
    --force; options of the new form may be added as --name=value.
    """
    name, line = _find_function(parse_line(args))
    function = FUNCTIONS[name]
    if len(line.words) < function.least:
        ctx.fail(f"usage: yolor darknet {name} {function.usage}")
    form = _complete(name, function, line)
    if form.words:
        _say_new_form(form)
    report_warnings((), form.notes)
    if form.run:
        form.run()
    else:
        _run_command(ctx, form.words)


def _find_function(line: CommandLine) -> tuple[str, CommandLine]:
    """The name of the function, and the line without it; raises UsageError for one that is not here."""
    for count in (2, 1):
        name = " ".join(line.words[:count])
        if name in FUNCTIONS and len(line.words) >= count:
            return name, line._replace(words=line.words[count:])
    names = [" ".join(line.words[:count]) for count in (2, 1)]
    answer = next((f"{name}: {ANSWERS[name]}" for name in names if name in ANSWERS), None)
    if answer:
        raise click.UsageError(answer)
    from yolor_cfg.lang.keys import suggest_word

    word = names[0] if names[1] in ("detector", "classifier") else names[1]
    hint = suggest_word(word, FUNCTIONS) or f"known are {', '.join(FUNCTIONS)}"
    what = f"no such function of C Darknet: {escape(word)}" if word else "give a function of C Darknet"
    raise click.UsageError(f"{what}; {hint}")


def _complete(name: str, function: DarknetFunction, line: CommandLine) -> NewForm:
    """The translation, with the words and the notes of the options."""
    words, notes = list[str](), list[str]()
    for option, value in line.options.items():
        meaning = function.options.get(option)
        if meaning is None:
            notes.append(f"{option} has no effect in `{name}`, as in C Darknet")
        elif meaning.refusal:
            raise click.UsageError(f"{option}: {meaning.refusal}")
        else:
            words += [word.format(value) for word in meaning.words]
            notes += [f"{option}: {meaning.note}"] if meaning.note else []
    form = function.translate(line)
    if not form.words:
        _refuse_own(line)
        return form._replace(notes=(*notes, *form.notes))
    device = _device_words(line) if form.words[0] in ("detect", "test", "train") else ()
    return NewForm((*form.words, *words, *device, *line.own), (*form.notes, *notes))


def _refuse_own(line: CommandLine) -> None:
    """Where no command of ours runs there is only --force."""
    strange = [word for word in line.own if word != "--force"]
    if strange:
        raise click.UsageError(f"no such option: {strange[0]}; only --force may be added here")


def _device_words(line: CommandLine) -> tuple[str, ...]:
    """-i is the number of the GPU; -1 stands for none."""
    number = line.integer(DEVICE, -1)
    return ("--device", str(number)) if number >= 0 else ()


def _say_new_form(form: NewForm) -> None:
    if not is_on("quiet"):
        print_stderr(f"new form: yolor {shlex.join(form.words)}", "cyan")


def _run_command(ctx: click.Context, words: tuple[str, ...]) -> Any:
    """Run a command of ours as if it had been typed."""
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    command = group.get_command(ctx, words[0])
    assert command is not None, words
    with command.make_context(words[0], list(words[1:]), parent=ctx.parent) as inner:
        return command.invoke(inner)
