"""`yolor new`: write a cfg of the bundled network family, with your classes and image size."""

from __future__ import annotations

from typing import Any

import click

from yolor_cfg.cli.options import (
    SizeParam,
    echo,
    format_columns,
    is_on,
    json_option,
    print_json,
    print_stderr,
    tasks_option,
)
from yolor_cfg.errors import YolorError, shell_word
from yolor_cfg.lang.activations import ACTIVATIONS


@click.command()
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="File to write, - for standard output; default: NAME.cfg.",
)
@click.option("--classes", type=click.IntRange(1), metavar="N", help="Number of classes; default: 80.")
@click.option(
    "--size",
    "--img-size",
    "size",
    type=SizeParam(),
    metavar="N|HxW",
    help="Image size: N pixels square, or height x width; the anchors, in pixels, stay unchanged.",
)
@click.option(
    "--activation",
    type=click.Choice(sorted(ACTIVATIONS)),
    metavar="NAME",
    help="Activation of the convolutions, such as silu, mish or leaky.",
)
@click.option(
    "--base", metavar="NAME", help="For a row of the paper: use this network instead of the paper's."
)
@tasks_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--list", "lists", is_flag=True, help="List all networks with their parameters and GFLOPs.")
@json_option
def new(
    name: str | None,
    output: str | None,
    tasks: tuple[str, ...],
    force: bool,
    lists: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    """Write the network NAME to a cfg file of your own.

    NAME is a network of the family, or a row of Tables 1 to 7 of the paper.

    \b
    Examples:
      yolor new --list
      yolor new yolor_nano --classes 3 --size 288x384 -o my.cfg
      yolor new table4/mul-iPR
      yolor new yolor_nano --classes 3 --tasks day,night
    """
    _check_usage(name, output, lists=lists)
    if lists:
        _list(as_json=as_json)
        return
    assert name is not None
    from yolor_cfg.files import replace_file
    from yolor_cfg.networks.catalog import Changes, new_cfg

    path = output or f"{name.replace('/', '_')}.cfg"
    text = new_cfg(name, Changes(**changes))
    if tasks:
        from yolor_cfg.rewrite.task_places import add_tasks_to_text

        text = add_tasks_to_text(text, f"{name}.cfg", tasks)
    if path == "-":
        click.echo(text, nl=False)
        return
    replace_file(path, lambda file: file.write(text.encode()), fault=YolorError, force=force)
    if as_json:
        print_json({"name": name, "cfg": path})
    elif not is_on("quiet"):
        print_stderr(f"{path}: written; `yolor info {shell_word(path)}` describes it", "green")


def _check_usage(name: str | None, output: str | None, *, lists: bool) -> None:
    if lists and name:
        raise click.UsageError("--list shows all networks and takes no NAME")
    if not lists and name is None:
        raise click.UsageError("give the NAME of a network; --list shows all")
    if output and output.endswith(("/", "\\")):
        raise click.UsageError(f"-o {output} is a folder; give a file name")


def _list(*, as_json: bool) -> None:
    from yolor_cfg.networks.catalog import entries
    from yolor_cfg.networks.paper import TABLES

    found = list(entries())
    rows = {f"{table}/{row}": one for table, rows in TABLES.items() for row, one in rows.items()}
    if as_json:
        networks = [{**one._asdict(), "image": list(one.image)} for one in found]
        ablations = [{"name": name, "label": one.paper_name, "base": one.base} for name, one in rows.items()]
        print_json({"networks": networks, "ablations": ablations})
        return
    head = ("network", "height x width", "parameters", "GFLOPs", "what it is")
    table = [
        (
            one.name,
            f"{one.image[0]} x {one.image[1]}",
            f"{one.parameters:,}",
            f"{one.gflops:.1f}",
            one.summary,
        )
        for one in found
    ]
    for line in format_columns([head, *table], words={0, 4}):
        echo(line)
    echo("\nRows of the paper's ablations:")
    for line in format_columns(
        [("name", "in the paper", "network"), *((n, a.paper_name, a.base) for n, a in rows.items())],
        words={0, 1, 2},
    ):
        echo(line)
