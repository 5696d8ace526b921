"""What the commands share: options, messages for people (stderr) and output for programs (stdout)."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import click

from yolor_cfg.arguments import MOST_COUNTED, parse_count, parse_device, parse_fraction, parse_size
from yolor_cfg.cli.process import TERMINATED_CODE, Terminated
from yolor_cfg.errors import YolorError, escape, is_plain, printable
from yolor_cfg.lang.dialect import DIALECTS

MAX_WARNINGS = 20  # printed without -v
INTERRUPTED_CODE = 130  # by shell convention: 128 + SIGINT


class TextParam(click.ParamType, ABC):  # type: ignore[type-arg]  # generic in newer releases of click only
    """A value that is written as text; its `parse` raises ValueError with what is wrong."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of a text; anything else, such as a default, is a value already."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)

    @abstractmethod
    def parse(self, text: str) -> object:
        """The value of this text."""


def was_given(name: str) -> bool:
    """True if this option of the command that runs stands on its command line."""
    from click.core import ParameterSource

    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def unpack_single(values: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """The values of an option that may be repeated: None for none, and a single one by itself."""
    return values if len(values) > 1 else values[0] if values else None


class SizeParam(TextParam):
    """`416` is a square, `416x320` is height x width, in pixels."""

    name = "size"

    def parse(self, text: str) -> int | tuple[int, int]:
        """An int for a square, else (height, width)."""
        return parse_size(text)


class FractionParam(TextParam):
    """A number from 0 to 1; with `below_one`, less than 1."""

    name = "float"

    def __init__(self, *, below_one: bool = False) -> None:
        self.below_one = below_one

    def parse(self, text: str) -> float:
        """The number."""
        number = parse_fraction(text)
        if self.below_one and number == 1:
            raise ValueError(f"{text} is not in the range 0<=x<1.")
        return number


class NumberRange(click.FloatRange):
    """A number within bounds, which `nan` passes unseen where only < and > are asked."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of this text."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class CountParam(TextParam):
    """A whole number from 1 to `most`."""

    name = "integer"

    def __init__(self, most: int) -> None:
        self.most = most

    def parse(self, text: str) -> int:
        """The number."""
        return parse_count(text, self.most)


class DeviceParam(TextParam):
    """`cpu`, `cuda`, `cuda:1`, `mps`; a number is that GPU, as in YOLOR."""

    name = "device"

    def parse(self, text: str) -> str:
        """torch's name of the device; several are answered with the way to use them."""
        return parse_device(text) if text.strip() else _best_device()


class TaskNames(TextParam):
    """`day,night`: names of tasks."""

    name = "names"

    def parse(self, text: str) -> tuple[str, ...]:
        """The names; whether they can be names of tasks is told later."""
        return tuple(name.strip() for name in text.split(","))


def _best_device() -> str:
    """What YOLOR takes for --device '': a GPU if there is one."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


class CommandError(click.ClickException):
    """A user error: its text goes to stderr without a traceback, and it sets the exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: Any = None) -> None:
        """Print the text unchanged."""
        print_stderr(self.message, "red")


cfg_argument = click.argument("cfg", type=click.Path())
dialect_option = click.option(
    "--dialect",
    type=click.Choice(sorted(DIALECTS)),
    help="Dialect of the cfg; default: detected from the file.",
)
strict_option = click.option("--strict", is_flag=True, help="Treat warnings as errors.")
size_option = click.option(
    "--img-size",
    "--img",
    "--imgsz",
    "size",
    type=SizeParam(),
    metavar="N|HxW",
    help="Image size: N pixels square, or height x width; default: the size in the cfg.",
)
data_option = click.option(
    "--data",
    type=click.Path(),
    metavar="FILE|FOLDER",
    help="Data set: a Darknet .data file, a YOLO .yaml, a COCO .json or a Pascal VOC folder.",
)
several_data_option = click.option(
    "--data",
    type=click.Path(),
    multiple=True,
    metavar="[TASK=]FILE|FOLDER",
    help="Data set: a Darknet .data file, a YOLO .yaml, a COCO .json or a Pascal VOC folder; give it again "
    "for each further one.",
)
fix_labels_option = click.option(
    "--fix-labels",
    type=click.Choice(["clip", "drop"]),
    help="Clip or drop invalid labels; default: they are an error.",
)
ORIENTATION_HELP = (
    "Read images as they are stored, whatever their EXIF orientation, as C Darknet without OpenCV does."
)
by_number_option = click.option(
    "--by-number",
    is_flag=True,
    help="Take class ids as they are, even where the names of the classes say otherwise.",
)
PIXELS_HELP = "Read no image of more than N pixels, as its file declares; default: 200 million."
train_reading_options = (
    click.option(
        "--val-data",
        type=click.Path(),
        multiple=True,
        metavar="[TASK=]FILE|FOLDER",
        help="Validate on this data set, on its val split or all of it, instead of the val split of --data.",
    ),
    click.option("--no-val", is_flag=True, help="Train without validation; the last weights are the best."),
    fix_labels_option,
    click.option("--ignore-orientation", is_flag=True, help=ORIENTATION_HELP),
    click.option("--max-pixels", type=click.IntRange(1, MOST_COUNTED), metavar="N", help=PIXELS_HELP),
    by_number_option,
)
"""Passed as values, because a run saves them."""
cutoff_option = click.option(
    "--cutoff",
    type=click.IntRange(1, MOST_COUNTED),
    metavar="N",
    help="Read only layers 0 to N-1 of the weights file.",
)
task_option = click.option(
    "--task",
    metavar="NAME|FILE",
    help="The task to run: one that the cfg names, a file that `yolor train --task` wrote, or the name "
    "of one beside the weights.",
)
tasks_option = click.option(
    "--tasks",
    type=TaskNames(),
    default=(),
    metavar="A,B,...",
    help="Places with values for each of these tasks, before the last activations.",
)
device_option = click.option(
    "--device",
    type=DeviceParam(),
    default="cpu",
    show_default=True,
    metavar="DEVICE",
    help="Device to run on: cpu, cuda, cuda:1 or 1, mps, ...; under torchrun, `cuda` is one GPU per process.",
)
report_option = click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Write report.html, a page with all results, into the folder of the run.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document to standard output."
)


def _set_orientation_rule(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    from yolor_cfg.images.orientation import orientation_rule

    orientation_rule.ignores = value


orientation_option = click.option(
    "--ignore-orientation",
    is_flag=True,
    expose_value=False,
    callback=_set_orientation_rule,
    help=ORIENTATION_HELP,
)


def _set_pixel_limit(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    from yolor_cfg.images.declared import MAX_PIXELS, pixel_limit

    pixel_limit.most = value or MAX_PIXELS


pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1, MOST_COUNTED),
    metavar="N",
    expose_value=False,
    callback=_set_pixel_limit,
    help=PIXELS_HELP,
)


def image_options(function: Any) -> Any:
    """--ignore-orientation and --max-pixels: how images are read."""
    return orientation_option(pixels_option(function))


def folder_options(project: str) -> Iterator[Callable[[Any], Any]]:
    """--project and --name: where the results are written."""
    yield click.option(
        "--project",
        default=project,
        show_default=True,
        metavar="FOLDER",
        help="Parent folder of the results.",
    )
    yield click.option(
        "--name",
        default="exp",
        show_default=True,
        metavar="NAME",
        help="Folder of the results; if it exists, NAME2, NAME3, ...: nothing is overwritten.",
    )


def global_options(*, hidden: bool) -> Iterator[click.Option]:
    """New -q, -v and --debug options; they may be given before or after the name of the command."""
    for names, text in (
        (("-q", "--quiet"), "Suppress warnings, notes and progress."),
        (("-v", "--verbose"), f"Print all warnings, not just the first {MAX_WARNINGS}."),
        (("--debug",), "Print the traceback of an error."),
    ):
        yield click.Option(
            [*names], is_flag=True, expose_value=False, callback=_store_flag, help=text, hidden=hidden
        )


def is_on(name: str) -> bool:
    """Whether `quiet`, `verbose` or `debug` was given, before or after the name of the command."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(f"yolor_cfg.{name}"))


def to_command_error(fault: BaseException) -> CommandError:
    """The message to print: a YolorError's text, one line for a system error, a word for an interrupt."""
    if isinstance(fault, YolorError):
        return CommandError(str(fault), fault.exit_code)
    if isinstance(fault, OSError):
        return CommandError(_format_os_error(fault), 1)
    if isinstance(fault, Terminated):
        return CommandError("terminated", TERMINATED_CODE)
    return CommandError("interrupted", INTERRUPTED_CODE)


def report_warnings(warnings: Sequence[YolorError], notes: Iterable[str] = ()) -> None:
    """Print warnings, then notes, to stderr; nothing with -q, all warnings with -v."""
    if is_on("quiet"):
        return
    shown = len(warnings) if is_on("verbose") else MAX_WARNINGS
    for warning in warnings[:shown]:
        print_stderr(str(warning), "yellow")
    if len(warnings) > shown:
        print_stderr(f"{len(warnings)} warnings in {warnings[0].path}; use -v to show all", "yellow")
    for note in notes:
        print_stderr(f"note: {note}", "yellow")


def print_stderr(text: str, color: str) -> None:
    """Print lines to stderr, coloured on a terminal unless NO_COLOR is set; indented ones stay plain."""
    lines = printable(text).split("\n")
    styled = [line if line.startswith("  ") else click.style(line, fg=color) for line in lines]
    click.echo("\n".join(styled), err=True, color=False if os.environ.get("NO_COLOR") else None)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print lines for people, without what would command the terminal."""
    click.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    """Print the one JSON document to standard output."""
    import json

    click.echo(json.dumps(value, indent=2))


def format_columns(rows: Sequence[Sequence[str]], *, words: Collection[int]) -> list[str]:
    """Rows as lines with aligned columns: those in `words` are left-aligned, the others right-aligned."""
    columns = []
    for column in zip(*rows, strict=True):
        columns.append(column if is_plain("".join(column)) else [escape(cell) for cell in column])
    widths = [max(map(len, column)) for column in columns]
    line = "  ".join(f"%{'-' if i in words else ''}{width}s" for i, width in enumerate(widths))
    return [(line % row).rstrip() for row in zip(*columns, strict=True)]


def _store_flag(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[f"yolor_cfg.{param.name}"] = True  # meta is shared by the contexts of group and command


def _format_os_error(fault: OSError) -> str:
    reason = (fault.strerror or str(fault) or type(fault).__name__).lower()
    return f"{escape(os.fsdecode(fault.filename))}: {reason}" if fault.filename else reason
