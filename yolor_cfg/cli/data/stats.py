"""`yolor data stats`: what is in a data set, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from yolor_cfg.cli.options import (
    dialect_option,
    echo,
    format_columns,
    image_options,
    is_on,
    json_option,
    print_json,
)

if TYPE_CHECKING:
    from yolor_cfg.analysis.label_fit import NetworkView
    from yolor_cfg.data.statistics.measure import ClassFigures, DataFigures
    from yolor_cfg.data.statistics.summary import DataSummary
    from yolor_cfg.data.statistics.table import InputFit
    from yolor_cfg.graph import Graph

SHEET_SUFFIXES = (".html", ".jpg", ".jpeg", ".png")
MOST_CLASSES, MOST_PAIRS, BAR = 30, 5, 24
OUTPUT_HELP = """\b
What the words mean:
  small, medium, large  boxes by area as in COCO: below 32^2, below 96^2, from there on
  side                  the median root of the area
  w/h                   the median of width / height
  border                boxes that reach the end of their image: objects cut off, as a rule
  images without boxes  background alone
  worth a look          labels that are often mistakes, with an example of each kind

\b
The keys of --json, beside those of the table:
  classes    a row for each, with aspect: the 5 %, 50 % and 95 % quantiles of width / height
  together   pairs of classes that stand in one image: images, and lift, how many times as often
             as by chance
  side_bins  boxes by the root of their area: bin i counts from 2^(i/2) pixels on
  objects    images by their number of boxes, 0, 1, 2 ... the last entry 20 and more
  centres    a grid of counts by the centre of the box, rows from the top
  oddities   counts of labels worth a look, and up to 100 of each kind
  network    with --cfg what it sees
  splits     the same for each split

Boxes are measured in pixels of their images; with --img-size, or at the size of CFG, in pixels
of the input, as training and testing see them."""


@click.command(epilog=OUTPUT_HELP)
@data_argument
@splits_option
@class_option
@click.option("--cfg", type=click.Path(), metavar="CFG", help="Tell what this network will see of the boxes.")
@click.option(
    "--sheet",
    type=OutputFile(SHEET_SUFFIXES),
    metavar="FILE",
    help="Write a page of all figures with charts (.html), or an image of the labels that are worth a look.",
)
@input_option
@dialect_option
@image_options
@json_option
@force_option
def stats(path: str, cfg: str | None, sheet: Path | None, as_json: bool, force: bool, **options: Any) -> None:
    """Count and measure what DATA contains: images, classes, boxes, and labels that are worth a look.

    Faulty labels and images that cannot be read are left out.
    """
    from yolor_cfg.data.statistics.summary import summarize_data

    if options["dialect"] and cfg is None:
        raise click.UsageError("--dialect is for the file of --cfg, which is not given")
    graph = None if cfg is None else _load(cfg, options)
    fit = _choose_input(options["size"], graph)
    opened = open_matched(path, options["wanted"])
    refuse_own_image(sheet, (one.image for part in opened.values() for one in part.samples))
    classes = class_words(options["classes"], next(iter(opened.values())).names)
    summary = summarize_data(opened, fit=fit, classes=classes)
    view = None if graph is None else _view(summary, graph)
    if sheet is not None:
        _save_sheet(summary, view, sheet, force=force)
    if as_json:
        print_json({**summary.to_json(), "network": None if view is None else view.to_json()})
        return
    blocks = [_split_rows(summary), _class_rows(summary), _pair_rows(summary), _oddity_rows(summary)]
    tables = [format_columns(rows, words={0}) for rows in (*blocks, _network_rows(view)) if rows]
    echo("\n\n".join(map("\n".join, tables)))


def _load(cfg: str, options: dict[str, Any]) -> Graph:
    from yolor_cfg.graph import ReadOptions, load_graph

    return load_graph(cfg, ReadOptions(options["dialect"], options["size"]))


def _choose_input(size: int | tuple[int, int] | None, graph: Graph | None) -> InputFit | None:
    """That of the network, else a letterbox of the size; None: boxes are measured in their images."""
    if graph is not None:
        from yolor_cfg.analysis.label_fit import input_fit

        return input_fit(graph)
    if size is None:
        return None
    from yolor_cfg.data.statistics.table import InputFit

    return InputFit(size if isinstance(size, tuple) else (size, size))


def _view(summary: DataSummary, graph: Graph) -> NetworkView:
    from yolor_cfg.analysis.label_fit import view_data

    return view_data(summary.table, graph)


def _save_sheet(summary: DataSummary, view: NetworkView | None, path: Path, *, force: bool) -> None:
    if path.suffix.lower() == ".html":
        from yolor_cfg.report.dataset.page import NetworkNote, write_page

        note = None if view is None else NetworkNote(Path(view.cfg).name, view.lines)
        write_page(summary, path, note=note, force=force)
    else:
        from yolor_cfg.report.dataset.page import odd_sheet
        from yolor_cfg.report.dataset.sheet import write_sheet

        write_sheet(odd_sheet(summary), path, force=force)
    tell_written(path)


def _split_rows(summary: DataSummary) -> list[list[str]]:
    """A column for each split, and for all together where there are several."""
    parts = dict(summary.splits)
    if len(parts) > 1:
        parts["all"] = summary.whole
    columns = list(parts.values())
    rows = [["", *parts]] if len(parts) > 1 else [["format", summary.format]]
    for label, values in (
        ("images", [f"{one.images:,}" for one in columns]),
        ("images without boxes", [f"{one.empty:,}" for one in columns]),
        ("widths", [_format_spread(one, "widths") for one in columns]),
        ("heights", [_format_spread(one, "heights") for one in columns]),
        ("boxes", [f"{one.boxes:,}" for one in columns]),
        (
            "boxes an image, most",
            [f"{one.boxes / max(1, one.images):.1f}, {one.per_image.most:.0f}" for one in columns],
        ),
        ("small, medium, large", [_format_sizes(one) for one in columns]),
        ("at the border", [f"{one.truncated / max(1, one.boxes):.1%}" for one in columns]),
        ("crowds, difficult", [f"{one.crowds:,}, {one.difficult:,}" for one in columns]),
        ("most to least frequent class", [one.balance for one in columns]),
    ):
        rows.append([label, *values])
    if list(summary.channels) != [3]:
        told = (f"{images:,} with {count}" for count, images in summary.channels.items())
        rows.append(["images by channels", *[""] * (len(columns) - 1), ", ".join(told)])
    return rows


def _format_spread(figures: DataFigures, name: str) -> str:
    one = getattr(figures, name)
    return (
        f"{one.least:.0f}"
        if one.least == one.most
        else f"{one.least:.0f} - {one.median:.0f} - {one.most:.0f}"
    )


def _format_sizes(figures: DataFigures) -> str:
    return ", ".join(f"{count / max(1, figures.boxes):.0%}" for count in figures.sizes)


def _class_rows(summary: DataSummary) -> list[list[str]]:
    """The classes, the most frequent first, with a bar each."""
    ranked = sorted(summary.whole.classes, key=lambda one: -one.boxes)
    used = [one for one in ranked if one.boxes]
    shown = ranked if is_on("verbose") else used[:MOST_CLASSES]
    most = max((one.boxes for one in ranked), default=0) or 1
    head = ["class", "boxes", "", "images", "an image", "small", "medium", "large", "side", "w/h", "border"]
    if not shown:
        return []
    rows = [head, *(_class_cells(one, most) for one in shown)]
    if len(used) > len(shown):
        rows.append([f"... {len(used) - len(shown)} more: -v", *[""] * (len(head) - 1)])
    return rows


def _class_cells(one: ClassFigures, most: int) -> list[str]:
    bar = "#" * round(BAR * one.boxes / most)
    counts = [f"{count:,}" for count in (one.small, one.medium, one.large)]
    shape = [f"{one.side:.0f}", f"{one.aspect[1]:.2f}"] if one.boxes else ["-", "-"]
    start = [one.name, f"{one.boxes:,}", f"{bar:{BAR}}", f"{one.images:,}", f"{one.per_image:.1f}"]
    return [*start, *counts, *shape, f"{one.truncated / max(1, one.boxes):.0%}"]


def _pair_rows(summary: DataSummary) -> list[list[str]]:
    """The classes that stand in one image most often."""
    from yolor_cfg.data.statistics.measure import list_pairs

    pairs = list_pairs(summary.whole, MOST_CLASSES if is_on("verbose") else MOST_PAIRS)
    rows = [[" and ".join(one["classes"]), f"{one['images']:,}", f"{one['lift']:.1f}"] for one in pairs]
    return [["classes in one image", "images", "times chance"], *rows] if rows else []


def _oddity_rows(summary: DataSummary) -> list[list[str]]:
    """The kinds of labels that are worth a look, how many there are, and the first."""
    from yolor_cfg.data.statistics.oddities import KINDS

    rows = []
    for kind, count in summary.odd_totals.items():
        first = summary.describe(summary.first_odd(kind, 1)[0])
        rows.append([KINDS[kind], f"{count:,}", f"  {first['class']} in {Path(first['image']).name}"])
    absent = summary.whole.absent
    if absent:
        rows.append(["classes without a box", f"{len(absent):,}", f"  {', '.join(absent[:5])}"])
    return [["worth a look", "", ""], *rows] if rows else []


def _network_rows(view: NetworkView | None) -> list[list[str]]:
    if view is None:
        return []
    height, width = view.size
    return [[f"{view.cfg} at {width}x{height}, {view.preprocess}", ""], *([a, b] for a, b in view.lines)]
