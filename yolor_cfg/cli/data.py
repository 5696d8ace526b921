"""`yolor data`: check a data set before training on it, convert it, or draw a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import (
    SizeParam,
    format_columns,
    is_on,
    json_option,
    orientation_option,
    print_json,
    print_stderr,
)

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, Fix, SplitName

DATA_FAULT_CODE = 3
MAX_FAULTS = 20
SPLITS = ("train", "val", "test")
FIXES = ("clip", "drop")
SHAPE_KINDS = ("mixed", "coloured")

data_argument = click.argument("path", metavar="DATA", type=click.Path())
fix_option = click.option(
    "--fix-labels", "fix", type=click.Choice(FIXES), help="Clip or drop invalid labels."
)


@click.group()
def data() -> None:
    """Check and convert data sets, or draw one.

    Formats read: Darknet .data, YOLO YAML, COCO JSON, Pascal VOC and plain folders.
    """


@data.command()
@data_argument
@click.option(
    "--split", type=click.Choice(SPLITS), default="train", show_default=True, help="The split to check."
)
@click.option(
    "--classes", type=click.IntRange(1), metavar="N", help="Number of classes of the network to train."
)
@orientation_option
@json_option
def check(path: str, split: SplitName, classes: int | None, as_json: bool) -> None:
    """Report what DATA contains and every error in it.

    The exit code is 3 if there are errors.
    """
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.data.types import LabelChecks

    opened = open_data(path, split=split, classes=classes, checks=LabelChecks("drop"))
    faults = [str(problem) for problem in opened.problems if problem.kind != "note"]
    notes = [str(problem) for problem in opened.problems if problem.kind == "note"]
    summary = _summary(opened)
    if as_json:
        print_json({**summary, "faults": faults, "notes": notes})
    else:
        _report_summary(summary, faults=faults, notes=notes)
    if faults:
        raise click.exceptions.Exit(DATA_FAULT_CODE)


@data.command()
@data_argument
@click.argument("out", type=click.Path())
@click.option("--split", type=click.Choice(SPLITS), multiple=True, help="Split to write; may be repeated.")
@fix_option
@orientation_option
@click.option("--force", is_flag=True, help="Overwrite an existing OUT (.json).")
def convert(path: str, out: str, split: tuple[SplitName, ...], fix: Fix | None, force: bool) -> None:
    """Write DATA as a COCO .json file or a Darknet/YOLO folder.

    If OUT ends in .json, one split is written (default: train); otherwise OUT is a folder that holds each
    split (default: train and val).
    """
    from yolor_cfg.data.convert import write_coco, write_darknet
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.data.types import LabelChecks

    as_coco = out.lower().endswith(".json")
    if as_coco and len(split) > 1:
        raise click.UsageError("a .json file holds one split: give --split once")
    parts: tuple[SplitName, ...] = split or (("train",) if as_coco else ("train", "val"))
    opened = {part: open_data(path, split=part, checks=LabelChecks(fix)) for part in parts}
    if as_coco:
        write_coco(opened[parts[0]], out, force=force)
    else:
        out = str(write_darknet(opened, out))
    print_stderr(f"{out}: {sum(len(part.samples) for part in opened.values()):,} images", "green")


@data.command()
@click.argument("out", type=click.Path())
@click.option(
    "--count", default=1000, show_default=True, type=click.IntRange(2), metavar="N", help="Number of images."
)
@click.option(
    "--size",
    default="320",
    show_default=True,
    type=SizeParam(),
    metavar="N|HxW",
    help="Image size: N pixels square, or height x width.",
)
@click.option(
    "--kind",
    type=click.Choice(SHAPE_KINDS),
    default="mixed",
    show_default=True,
    help="mixed: only the shape tells the class; coloured: each class has its own colours too.",
)
@click.option(
    "--held",
    type=click.IntRange(0),
    metavar="N",
    help="Hold out the last N images for validation; default: a fifth of them.",
)
@click.option("--identities", is_flag=True, help="Write six-column labels with object identities, as in JDE.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Random seed; the same seed draws the same images.",
)
def draw(out: str, **options: Any) -> None:
    """Draw a data set of coloured shapes into the new folder OUT.

    The labels are written both as Darknet's files and as COCO's JSON. There are six classes, with textures,
    occlusion and small objects. Nothing is downloaded.
    """
    from yolor_cfg.data.shapes import KINDS as objects
    from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes

    count, held, size = options["count"], options["held"], options["size"]
    if held is not None and held > count:
        raise click.BadParameter(f"{held} is more than --count {count}", param_hint="--held")
    size = size if isinstance(size, tuple) else (size, size)
    wanted = ShapesOptions(count, size, objects[options["kind"]], held, options["identities"])
    description = write_shapes(out, wanted, seed=options["seed"])
    print_stderr(f"{description}: {count:,} images", "green")


def _summary(opened: Dataset) -> dict[str, Any]:
    """Counts of images and boxes, boxes per class, the range of sizes."""
    samples = opened.samples
    counts = dict.fromkeys(opened.names, 0)
    for sample in samples:
        for label in sample.classes.tolist():
            counts[opened.names[label]] += 1
    heights, widths = zip(*(sample.size for sample in samples), strict=True)
    return {
        "format": opened.format,
        "pictures": len(samples),
        "without_boxes": sum(len(sample.classes) == 0 for sample in samples),
        "boxes": sum(counts.values()),
        "crowds": sum(int(sample.crowd.sum()) for sample in samples),
        "heights": [min(heights), max(heights)],
        "widths": [min(widths), max(widths)],
        "classes": counts,
    }


def _report_summary(summary: dict[str, Any], *, faults: list[str], notes: list[str]) -> None:
    for note in notes:
        print_stderr(f"note: {note}", "yellow")
    counts = summary.pop("classes")
    labels = {"pictures": "images", "without_boxes": "without boxes"}
    rows = [(labels.get(key, key), _format_value(value)) for key, value in summary.items()]
    click.echo("\n".join(format_columns(rows, words={0})))
    click.echo(
        "\n".join(["", *format_columns([(name, f"{count:,}") for name, count in counts.items()], words={0})])
    )
    shown = len(faults) if is_on("verbose") else MAX_FAULTS
    for fault in faults[:shown]:
        print_stderr(fault, "red")
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        print_stderr(count + ("; use -v to show all" if len(faults) > shown else ""), "red")


def _format_value(value: object) -> str:
    """A range as low-high, a number with thousands separators."""
    if isinstance(value, list):
        return "-".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
