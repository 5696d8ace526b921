"""`yolor demo`: the main jobs on pictures that are drawn on the spot, as the commands that do them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from yolor_cfg.cli.options import is_on, json_option

SIDE = 192
"""Height and width of the pictures to test on, in pixels."""
SMALL_SIDE, PICTURES, HELD = 128, 1000, 200
"""Of the pictures that `--train` draws; the last ones are held back for the test."""
EPOCHS = 8
SHOWN = "shape00000?.jpg"
Command = tuple[str, ...]


@click.command()
@click.option(
    "--train",
    "trains",
    is_flag=True,
    help="First train a micro network from nothing: some three minutes on two cores.",
)
@click.option(
    "--pictures",
    default=100,
    show_default=True,
    type=click.IntRange(10),
    metavar="N",
    help="How many pictures to draw for the test; with --train they are 1000, a fifth of them for the test.",
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Another seed draws other pictures; the network that comes along saw those of seed 0.",
)
@click.option(
    "--project",
    default="runs/demo",
    show_default=True,
    metavar="FOLDER",
    help="Where the folders of demos are.",
)
@json_option
def demo(trains: bool, pictures: int, seed: int, project: str, as_json: bool) -> None:
    """Draw pictures, find the shapes in them with a small network, and tell how well it did.

    Every step is a command that is shown, so that you can go on from there with your own data.
    """
    from yolor_cfg.runs import new_folder

    folder = new_folder(project, "exp")
    steps = _with_training(folder, seed) if trains else _with_trained(folder, seed, pictures)
    for step in steps:
        _run((*step, "--json") if as_json and step[0] == "test" else step)
    if not is_on("quiet"):
        click.echo(
            f"drawn pictures: {folder / 'shapes'}; with what was found in them: {folder / 'found'}", err=True
        )


def _with_trained(folder: Path, seed: int, pictures: int) -> Iterator[Command]:
    """With the network that comes along, on pictures that it never saw."""
    network = _shipped("yolor_nano_shapes.cfg"), _shipped("yolor_nano_shapes.pt")
    yield _draw(folder, seed, count=pictures, held=pictures, side=SIDE)
    yield from _used(folder, network)


def _with_training(folder: Path, seed: int) -> Iterator[Command]:
    """The same from nothing."""
    cfg, hyp = _shipped("yolor_micro_shapes.cfg"), _shipped("yolor_micro_shapes.yaml")
    yield _draw(folder, seed, count=PICTURES, held=HELD, side=SMALL_SIDE)
    yield (
        "train",
        cfg,
        "--data",
        _data(folder),
        "--hyp",
        hyp,
        "--optimizer",
        "adamw",
        "--epochs",
        str(EPOCHS),
        "--batch-size",
        "8",
        "--update-batch",
        "8",
        "--val-period",
        "0",
        "--cache",
        "--project",
        str(folder),
        "--name",
        "train",
    )
    yield from _used(folder, (cfg, str(folder / "train" / "weights" / "best.pt")))


def _draw(folder: Path, seed: int, *, count: int, held: int, side: int) -> Command:
    return (
        "data",
        "draw",
        str(folder / "shapes"),
        "--kind",
        "coloured",
        "--count",
        str(count),
        "--held",
        str(held),
        "--size",
        str(side),
        "--seed",
        str(seed),
    )


def _used(folder: Path, network: tuple[str, str]) -> Iterator[Command]:
    """Score a network, and let it find objects."""
    pictures = str(folder / "shapes" / "images" / SHOWN)
    yield ("test", *network, "--data", _data(folder), "--project", str(folder), "--name", "test")
    yield "detect", *network, pictures, "--project", str(folder), "--name", "found"


def _data(folder: Path) -> str:
    return str(folder / "shapes" / "shapes.data")


def _run(command: Command) -> None:
    from yolor_cfg.cli import main

    quiet = is_on("quiet")
    if not quiet:
        click.secho(f"\n$ yolor {shlex.join(command)}", bold=True, err=True)
    main.main(args=[*(["--quiet"] if quiet else []), *command], standalone_mode=False)


def _shipped(name: str) -> str:
    from yolor_cfg.networks.catalog import shipped_weights

    return str(shipped_weights(name))
