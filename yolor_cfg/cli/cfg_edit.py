"""`yolor cfg set-classes`, `set-size` and `set-anchors`: changes to a cfg that keep the rest of its text."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.options import (
    SizeParam,
    cfg_argument,
    dialect_option,
    print_stderr,
    report_warnings,
)

if TYPE_CHECKING:
    from yolor_cfg.lang.syntax import Document
    from yolor_cfg.shape import WidthHeight

DIFF_COLORS = {"+": "green", "-": "red", "@": "cyan"}


def parse_anchors(_: click.Context, argument: click.Parameter, texts: Sequence[str]) -> list[WidthHeight]:
    """`10,14, 23,27`, as one argument or as several: width, height of each anchor in pixels of the input."""
    text = " ".join(texts)
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if not numbers or len(numbers) % 2 or not all(0 < number < float("inf") for number in numbers):
        raise click.BadParameter(
            f"{text[:60]!r} is no list of anchors: use 10,14 23,27 ... (width,height pairs)", param=argument
        )
    return list(zip(numbers[::2], numbers[1::2], strict=True))


class Target(NamedTuple):
    """Where the new text goes: `output`, else a name made of `suffix`, else over the cfg itself."""

    output: str | None
    suffix: str
    in_place: bool
    force: bool

    def path(self, cfg: str) -> str:
        """The file that is written."""
        root, ending = os.path.splitext(cfg)
        return cfg if self.in_place else self.output or f"{root}-{self.suffix}{ending or '.cfg'}"


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the new text goes."""
    options = (
        click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to this file."),
        click.option("--in-place", is_flag=True, help="Overwrite CFG itself."),
        click.option("--force", is_flag=True, help="Overwrite an existing file."),
    )
    for option in reversed(options):
        command = option(command)
    return command


weights_option = click.option(
    "--weights",
    nargs=2,
    type=click.Path(),
    metavar="FILE OUT",
    help="Also write the weights FILE for the new cfg to OUT (.weights, .pt, .safetensors).",
)


@click.command("set-classes")
@cfg_argument
@click.argument("classes", type=click.IntRange(1), metavar="N")
@click.option(
    "--data",
    type=click.Path(),
    metavar="FILE|FOLDER",
    help="The data set: max_batches is not below its number of training images.",
)
@target_options
@dialect_option
def set_classes(cfg: str, classes: int, data: str | None, dialect: str | None, **target: Any) -> None:
    """Write a copy of CFG for N classes, by default NAME-N.cfg, and show what changes.

    In every head `classes`; before it `filters` by the head's formula, and implicit values that scale or
    shift them; in a classifier the outputs before [softmax] or [cost]. In [net] of a detector max_batches =
    N * 2000, at least 6000 and the number of training images; steps at 80 % and 90 % of it.
    """
    from yolor_cfg.analysis.class_edit import ClassCount, replace_classes
    from yolor_cfg.errors import count_of
    from yolor_cfg.graph import ReadOptions, read_document

    document = read_document(cfg)
    wanted = ClassCount(classes, _count_images(data) if data else 0)
    text = replace_classes(document, wanted, ReadOptions(dialect))
    write_change(document, text, Target(suffix=str(classes), **target))
    needed = f"the data needs {count_of(classes, 'name')} too"
    report_warnings((), [f"{needed}: in its .names file, and as classes= in a .data file"])


@click.command("set-size")
@cfg_argument
@click.argument("size", type=SizeParam(), metavar="N|HxW")
@target_options
@dialect_option
def set_size(cfg: str, size: int | tuple[int, int], dialect: str | None, **target: Any) -> None:
    """Write a copy of CFG for images of N x N or height x width pixels, and show what changes."""
    from yolor_cfg.analysis.class_edit import replace_size
    from yolor_cfg.graph import ReadOptions, read_document

    document = read_document(cfg)
    height, width = (size, size) if isinstance(size, int) else size
    text = replace_size(document, (height, width), ReadOptions(dialect))
    name = str(height) if height == width else f"{height}x{width}"
    write_change(document, text, Target(suffix=name, **target))
    report_warnings(
        (), ["anchors in pixels stay as they are: `yolor anchors CFG --data DATA` finds new ones"]
    )


@click.command("set-anchors")
@cfg_argument
@click.argument("anchors", nargs=-1, required=True, callback=parse_anchors, metavar="W,H W,H ...")
@target_options
@dialect_option
def set_anchors(cfg: str, anchors: list[WidthHeight], dialect: str | None, **target: Any) -> None:
    """Write a copy of CFG with these anchors, in pixels of the input, and show what changes.

    As many as the list in CFG has are written in this order, and masks stay. Another number is sorted by area
    and shared out among the heads: `num`, `mask` and the `filters` before the heads change too.
    """
    from yolor_cfg.analysis.anchor_edit import write_anchors
    from yolor_cfg.graph import ReadOptions, build_graph, load_graph
    from yolor_cfg.lang.syntax import parse

    graph = load_graph(cfg, ReadOptions(dialect))
    text = write_anchors(graph, anchors)
    build_graph(parse(text, graph.path), ReadOptions(graph.dialect.name))
    write_change(graph.document, text, Target(suffix="anchors", **target))


def _count_images(data: str) -> int:
    from yolor_cfg.data.sources import open_data

    return len(open_data(data).samples)


def write_change(document: Document, text: str, target: Target) -> None:
    """Print the difference, then write the file."""
    from yolor_cfg.errors import YolorError, printable
    from yolor_cfg.files import replace_file
    from yolor_cfg.lang.text_diff import unified_diff

    if target.in_place and target.output:
        raise click.UsageError("--in-place and -o cannot be used together")
    if target.output == "-":
        raise click.UsageError("-o - names no file: give a name")
    path = target.path(document.path)
    data = text.encode(document.encoding)
    is_same = target.in_place and text == document.text
    if not is_same:
        force = target.force or target.in_place
        replace_file(path, lambda file: file.write(data), fault=YolorError, force=force)
    before, after = document.text.splitlines(), text.splitlines()
    for line in unified_diff(before, after, (document.path, path)):
        click.echo(click.style(printable(line), fg=DIFF_COLORS.get(line[:1])))
    print_stderr(f"{path}: {'unchanged' if is_same else 'written'}", "green")
