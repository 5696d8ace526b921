"""`yolor demo`: run the main commands on images drawn on the spot."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from yolor_cfg.cli.options import echo, is_on, json_option

TEST_SIDE = 192
"""Height and width of the test images, in pixels."""
TRAIN_SIDE, IMAGE_COUNT, HOLDOUT_COUNT = 128, 1000, 200
"""Of the images that `--train` draws; the last ones are held out for the test."""
EPOCHS = 8
DETECT_PATTERN = "shape00000?.jpg"
CommandArgs = tuple[str, ...]


@click.command()
@click.option(
    "--train",
    "trains",
    is_flag=True,
    help="First train a micro network from scratch: about three minutes on two cores.",
)
@click.option(
    "--images",
    default=100,
    show_default=True,
    type=click.IntRange(10),
    metavar="N",
    help="Number of test images to draw; ignored with --train, which draws 1000 and tests on a fifth.",
)
@click.option("--pictures", type=click.IntRange(10), hidden=True, help="The old spelling of --images.")
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Random seed of the images; the bundled network was trained on seed 0.",
)
@click.option(
    "--project",
    default="runs/demo",
    show_default=True,
    metavar="FOLDER",
    help="Parent folder of the results.",
)
@json_option
def demo(trains: bool, images: int, pictures: int | None, seed: int, project: str, as_json: bool) -> None:
    """Draw images, detect the shapes in them, and score the result.

    The network is a small one that comes with the package. Every step is a yolor command, printed before it
    runs, so that you can repeat it with your own data.
    """
    from yolor_cfg.runs import new_folder

    folder = new_folder(project, "exp")
    steps = _training_steps(folder, seed) if trains else _pretrained_steps(folder, seed, pictures or images)
    for step in steps:
        _run_command((*step, "--json") if as_json and step[0] == "test" else step)
    if not is_on("quiet"):
        echo(f"drawn images: {folder / 'shapes'}; with their detections: {folder / 'found'}", err=True)


def _pretrained_steps(folder: Path, seed: int, image_count: int) -> Iterator[CommandArgs]:
    """The steps with the bundled network, on images it has never seen."""
    network = _weights_file("yolor_nano_shapes.cfg"), _weights_file("yolor_nano_shapes.pt")
    yield _draw_step(folder, seed, count=image_count, held=image_count, side=TEST_SIDE)
    yield from _test_and_detect_steps(folder, network)


def _training_steps(folder: Path, seed: int) -> Iterator[CommandArgs]:
    """The steps with a network trained from scratch."""
    cfg, hyp = _weights_file("yolor_micro_shapes.cfg"), _weights_file("yolor_micro_shapes.yaml")
    yield _draw_step(folder, seed, count=IMAGE_COUNT, held=HOLDOUT_COUNT, side=TRAIN_SIDE)
    yield (
        "train",
        cfg,
        "--data",
        _data_path(folder),
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
    yield from _test_and_detect_steps(folder, (cfg, str(folder / "train" / "weights" / "best.pt")))


def _draw_step(folder: Path, seed: int, *, count: int, held: int, side: int) -> CommandArgs:
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


def _test_and_detect_steps(folder: Path, network: tuple[str, str]) -> Iterator[CommandArgs]:
    """Score a network, then detect objects with it."""
    images = str(folder / "shapes" / "images" / DETECT_PATTERN)
    yield ("test", *network, "--data", _data_path(folder), "--project", str(folder), "--name", "test")
    yield "detect", *network, images, "--project", str(folder), "--name", "found"


def _data_path(folder: Path) -> str:
    return str(folder / "shapes" / "shapes.data")


def _run_command(command: CommandArgs) -> None:
    from yolor_cfg.cli import main

    quiet = is_on("quiet")
    if not quiet:
        click.secho(f"\n$ yolor {shlex.join(command)}", bold=True, err=True)
    main.main(args=[*(["--quiet"] if quiet else []), *command], standalone_mode=False)


def _weights_file(name: str) -> str:
    from yolor_cfg.networks.catalog import shipped_weights

    return str(shipped_weights(name))
