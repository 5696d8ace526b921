"""`yolor data sheet`: images of a data set with their boxes, many at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yolor_cfg.cli.data.options import (
    OutputFile,
    class_option,
    class_words,
    data_argument,
    force_option,
    input_option,
    open_matched,
    refuse_own_image,
    splits_option,
    tell_written,
)
from yolor_cfg.cli.options import image_options
from yolor_cfg.errors import count_of

SUFFIXES = (".html", ".jpg", ".jpeg", ".png")
ORDERS = ("random", "largest", "smallest", "most", "oddest")


@click.command()
@data_argument
@click.argument("out", type=OutputFile(SUFFIXES))
@splits_option
@class_option
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=48,
    show_default=True,
    metavar="N",
    help="Images, or with --crops objects of each class.",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(ORDERS),
    default="random",
    show_default=True,
    help="random; with the largest or smallest box, as a share of its image; with most boxes; with most "
    "labels that are worth a look, as `yolor data stats` counts them.",
)
@click.option("--crops", is_flag=True, help="Single objects, a section for each class, in place of images.")
@click.option(
    "--columns",
    type=click.IntRange(1, 40),
    default=6,
    show_default=True,
    metavar="N",
    help="Images side by side.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the random order.",
)
@input_option
@image_options
@force_option
def sheet(path: str, out: Path, order: str, count: int, seed: int, **options: Any) -> None:
    """Draw images of DATA with their boxes into one file: an image, or a page (.html) of any length.

    With --class only images that have these classes are shown, and only their boxes.
    """
    from yolor_cfg.data.statistics.summary import pick_classes
    from yolor_cfg.data.statistics.table import InputFit, join_tables, label_table
    from yolor_cfg.errors import DataError
    from yolor_cfg.report.dataset.choose import SheetChoice, crop_parts, image_part
    from yolor_cfg.report.dataset.sheet import ContactSheet, write_sheet

    opened = open_matched(path, options["wanted"])
    first = next(iter(opened.values()))
    refuse_own_image(out, (one.image for part in opened.values() for one in part.samples))
    words = class_words(options["classes"], first.names)
    chosen = pick_classes(words, first) if words else tuple(range(len(first.names)))
    table = join_tables([label_table(part) for part in opened.values()]).select_classes(chosen)
    size = options["size"]
    fit = None if size is None else InputFit(size if isinstance(size, tuple) else (size, size))
    choice = SheetChoice(count, order, seed, fit, bare=not words)
    parts = crop_parts(table, choice, chosen) if options["crops"] else [image_part(table, choice)]
    total = sum(len(part.tiles) for part in parts)
    if not total:
        what = "no label is worth a look" if choice.order == "oddest" else "no image has such a box"
        raise DataError(what, path=first.origin, found=count_of(len(table.classes), "box", spec=","))
    title = f"{first.origin}: {_describe(total, choice.order, crops=options['crops'])}"
    write_sheet(ContactSheet(title, parts, options["columns"]), out, force=options["force"])
    tell_written(out, count_of(total, "object" if options["crops"] else "image", spec=","))


def _describe(count: int, order: str, *, crops: bool) -> str:
    """What the title says."""
    words = {
        "random": "at random",
        "largest": "the largest boxes first",
        "smallest": "the smallest boxes first",
        "most": "most boxes first",
        "oddest": "most labels that are worth a look first",
    }
    return f"{count_of(count, 'object' if crops else 'image', spec=',')}, {words[order]}"
