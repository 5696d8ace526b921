"""`yolor models`: several networks side by side: what they cost, what they reach, which are worth it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.engine_options import engine_options
from yolor_cfg.cli.models_text import (
    HEADERS,
    describe_fronts,
    drop_empty,
    model_rows,
    model_to_dict,
    word_columns,
)
from yolor_cfg.cli.options import (
    CountParam,
    device_option,
    dialect_option,
    echo,
    format_columns,
    is_on,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
    size_option,
    was_given,
)
from yolor_cfg.cli.plotting import check_plot, save_plot
from yolor_cfg.errors import YolorError
from yolor_cfg.export.facts import is_exported
from yolor_cfg.files import check_target, replace_file

if TYPE_CHECKING:
    from yolor_cfg.analysis.models.types import Model, Score, Source
    from yolor_cfg.graph import ReadOptions

COSTS, GAINS = ("params", "macs", "memory", "time"), ("ap", "ap50")
TIMING_OPTIONS = ("turns", "engine", "precision", "no_rewrite", "device")
DRAWN = (".html", ".svg")
EXAMPLES = """\b
Examples:
  yolor models yolor_csp yolor_p6 yolov4-tiny.cfg
  yolor models cfg/*.cfg --img-size 640 --sort macs
  yolor models runs/train/* --x params --plot front.html
  yolor models yolor_p6 yolor_w6 --ap published.csv --plot front.svg
  yolor models small.cfg large.cfg --time"""


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="CFG|NAME|WEIGHTS|RUN...")
@size_option
@dialect_option
@click.option(
    "--sort",
    type=click.Choice(("name", *COSTS, *GAINS)),
    help="Sort by this, the cheapest or the best first; default: as given.",
)
@click.option("--x", type=click.Choice(COSTS), default="macs", show_default=True, help="What is a cost.")
@click.option("--y", type=click.Choice(GAINS), default="ap", show_default=True, help="What is reached.")
@click.option(
    "--ap",
    "published",
    type=click.Path(),
    metavar="FILE",
    help="Scores of networks without a run, by the names that the table shows: CSV with columns name, ap, "
    "ap50, data.",
)
@click.option("--time", "timed", is_flag=True, help="Measure one image of each here; all take turns.")
@click.option("--turns", type=CountParam(1000), default=9, show_default=True, help="Timed runs of each.")
@engine_options
@device_option
@json_option
@click.option(
    "--plot",
    type=click.Path(),
    metavar="FILE",
    help="Draw costs against scores: a page with the table (.html), .svg, or an image (.png ...).",
)
@click.option("--force", is_flag=True, help="Overwrite the file of --plot.")
def models(paths: tuple[str, ...], **options: Any) -> None:
    """Compare networks: cfgs, names that `yolor new` knows, weights behind their cfg, checkpoints, and
    folders of runs.

    Costs are for one image of each network's size, or of --img-size: parameters, multiply-adds, Darknet's
    BFLOPs, the peak of the activations in float32, the size of the weights. AP is that of the run: of a
    training the best epoch's. A network is behind others if they cost no more and reach no less, on the same
    data: scores from different data are ranked apart.
    """
    _check_usage(paths, options)
    from yolor_cfg.analysis.models.read import make_models, read_sources
    from yolor_cfg.graph import COLLECT_EVERY, ReadOptions

    gc.set_threshold(COLLECT_EVERY)  # for good: the process ends with this command
    reading = ReadOptions(options["dialect"], options["size"])
    published = _read_published(options["published"]) if options["published"] else {}
    sources = read_sources(paths, reading)
    found = make_models(sources, published)
    _report_notes(found, published, reading)
    if options["timed"]:
        found = _add_times(found, sources, options)
    found = _sort(found, options["sort"])
    _check_marks(found, options)
    rows = drop_empty([HEADERS, *model_rows(found, options["x"], options["y"])])
    if options["as_json"]:
        print_json(model_to_dict(found, options["x"], options["y"]))
    else:
        _print_table(found, rows)
    if options["plot"]:
        _save_plot(found, rows, options)


def _check_usage(paths: Sequence[str], options: dict[str, Any]) -> None:
    for path in paths:
        if is_exported(path):
            raise click.UsageError(f"{path} is an exported file: give the cfg that it was made from")
    if "time" in (options["x"], options["sort"]) and not options["timed"]:
        raise click.UsageError("there is no time without --time")
    for name in () if options["timed"] else TIMING_OPTIONS:
        if was_given(name):
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to --time, which is not given")
    if options["force"] and not options["plot"]:
        raise click.UsageError("--force is for the file of --plot")
    check_plot(options["plot"], drawn=DRAWN)
    if options["plot"]:
        check_target(options["plot"], fault=YolorError, force=options["force"])


def _read_published(path: str) -> dict[str, Score]:
    from yolor_cfg.analysis.models.published import read_published

    found = read_published(path)
    if found.in_percent:
        report_warnings((), [f"{path}: its scores are percent, as one is above 1"])
    return dict(found.scores)


def _report_notes(found: Sequence[Model], published: dict[str, Score], reading: ReadOptions) -> None:
    """What the user should know of the figures, and of those that nobody asked for."""
    strange = sorted(published.keys() - {one.name for one in found})
    notes = [f"scores of networks that are not compared: {', '.join(strange)}"] if strange else []
    if reading.size is not None and any(one.source.score for one in found):
        notes.append("the AP of a run is that at its own size; costs are those at --img-size")
    report_warnings((), notes)


def _add_times(found: Sequence[Model], sources: Sequence[Source], options: dict[str, Any]) -> list[Model]:
    from yolor_cfg.analysis.models.read import add_timings
    from yolor_cfg.analysis.models.timing import time_sources
    from yolor_cfg.engines.base import EngineSettings
    from yolor_cfg.ops.devices import find_device

    find_device(options["device"])  # what is wrong with it is told before any process starts
    names = iter([f"{one.name}: starting" for one in found])
    settings = EngineSettings(options["engine"], options["precision"], options["no_rewrite"])
    timings = time_sources(
        sources,
        settings=settings,
        device=options["device"],
        turns=options["turns"],
        tell=lambda _: None if is_on("quiet") else print_stderr(next(names), "cyan"),
    )
    for one, timing in zip(found, timings, strict=True):
        if timing.failed:
            print_stderr(f"{one.name}: not timed: {timing.failed}", "yellow")
    return add_timings(found, timings)


def _sort(found: Sequence[Model], name: str | None) -> list[Model]:
    """By name, the cheapest or the best first; what has no such figure comes last."""
    if name is None:
        return list(found)
    if name == "name":
        return sorted(found, key=lambda one: one.name)
    sign = -1 if name in GAINS else 1
    known = [one for one in found if one.figure(name) is not None]
    return sorted(known, key=lambda one: sign * (one.figure(name) or 0)) + [
        one for one in found if one.figure(name) is None
    ]


def _check_marks(found: Sequence[Model], options: dict[str, Any]) -> None:
    """Refuse a chart with nothing in it."""
    x, y = options["x"], options["y"]
    known = [one for one in found if one.figure(x) is not None and one.figure(y) is not None]
    if options["plot"] and not known:
        raise click.UsageError(
            f"--plot: no network has both {x} and {y}; give folders of runs, or --ap FILE with scores"
        )


def _print_table(found: Sequence[Model], rows: Sequence[Sequence[str]]) -> None:
    for line in format_columns(rows, words=word_columns(rows)):
        echo(line)
    report_warnings((), describe_fronts(found))


def _save_plot(found: Sequence[Model], rows: Sequence[Sequence[str]], options: dict[str, Any]) -> None:
    from yolor_cfg.analysis.models.chart import make_chart
    from yolor_cfg.analysis.models.front import name_data
    from yolor_cfg.report.scatter.draw import draw_scene

    chart = make_chart(found, options["x"], options["y"], names=name_data(found))
    scene, path = draw_scene(chart), options["plot"]
    if Path(path).suffix not in DRAWN:
        from yolor_cfg.report.scatter.figure import scene_chart

        return save_plot(scene_chart(scene), path, force=options["force"])
    from yolor_cfg.report.scatter.page import write_page
    from yolor_cfg.report.scatter.svg import write_svg

    is_page = Path(path).suffix == ".html"
    notes = describe_fronts(found)
    text = write_page(scene, rows, words=word_columns(rows), notes=notes) if is_page else write_svg(scene)
    replace_file(path, lambda file: file.write(text.encode()), fault=YolorError, force=options["force"])
    return None if is_on("quiet") else print_stderr(f"{path}: written", "green")
