"""`yolor anchors`: anchors that fit the boxes of a data set, written into a copy of the cfg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.anchor_groups import group_entries, group_lines, poor_notes
from yolor_cfg.cli.options import (
    cfg_argument,
    dialect_option,
    echo,
    format_columns,
    image_options,
    is_on,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
    size_option,
)
from yolor_cfg.cli.plotting import check_plot, save_plot
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.analysis.anchors import AnchorFit, Goal, SearchOptions, Shapes
    from yolor_cfg.analysis.class_recall import GroupFit, LabeledShapes
    from yolor_cfg.data.types import Fix
    from yolor_cfg.graph import Graph

PROGRESS_DELAY_S = 1.0
"""Seconds before the progress bar appears."""
METRIC_NAMES = ("best possible recall", "fitness", "mean IoU")
ANCHOR_SETS = ("before", "after")
OUTPUT_HELP = """\b
What is printed, before and after:
  best possible recall  the share of boxes that some anchor fits: both sides within a factor of
                        4, as YOLOR's training requires
  fitness               the mean over all boxes of the smaller ratio of sides to the best
                        anchor; 0 for a box that none fits
  mean IoU              of each box with its most similar anchor, both at the same centre

In the yolor dialect a set is better if its fitness is higher and its recall no lower; in the
darknet dialect, where a box always goes to its most similar anchor, if its mean IoU is higher.

Below stand recall and mean IoU of each class and of small, medium and large boxes (COCO's areas,
in the input); classes that the anchors of CFG serve badly are named: a recall below 0.95, or a
mean IoU below 0.85 of that of all boxes.

\b
The keys of --json:
  size            height, width of the input that the boxes were scaled to
  boxes, small    how many are used, and how many are too small: a side below 2 pixels
  before, after   recall, fitness, mean_iou, and anchors: width, height in input pixels
  heads           section, line, stride (across, down), before and after: its anchors
  classes, sizes  name, boxes, before and after (recall, fitness, mean_iou); of classes is_poor
  better          whether `after` is better
  written         the new cfg, or null"""


class AnchorSearchResult(NamedTuple):
    """The cfg before and after, the boxes that are used, and what was found for them."""

    graphs: tuple[Graph, Graph]
    labeled: LabeledShapes
    small_count: int
    anchor_sets: tuple[Shapes, Shapes]
    fits: tuple[AnchorFit, AnchorFit]
    is_better: bool

    @property
    def boxes(self) -> Shapes:
        """Width and height of the boxes in the input."""
        return self.labeled.shapes

    @property
    def size(self) -> str:
        """Height x width of the input."""
        image = self.graphs[0].image
        return f"{image.height}x{image.width}"


@click.command(epilog=OUTPUT_HELP)
@cfg_argument
@click.option(
    "--data",
    required=True,
    type=click.Path(),
    metavar="FILE|FOLDER",
    help="The data set; its training part is used.",
)
@click.option(
    "-num_of_clusters",
    "-n",
    "count",
    type=click.IntRange(1),
    metavar="N",
    help="The number of anchors of all heads together; default: as many as they have now.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How often k-means is run; the best result is kept.",
)
@click.option(
    "--generations",
    type=click.IntRange(0, 1_000_000),
    default=1000,
    show_default=True,
    help="How many mutations are tried afterwards.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random numbers."
)
@click.option(
    "--write", type=click.Path(), metavar="OUT.cfg", help="Write a copy of CFG with the new anchors."
)
@click.option(
    "--plot",
    type=click.Path(),
    metavar="FILE.png",
    help="Draw boxes and anchors as a chart (needs matplotlib).",
)
@click.option("--fix-labels", "fix", type=click.Choice(["clip", "drop"]), help="Repair faulty labels.")
@image_options
@size_option
@dialect_option
@json_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def anchors(
    cfg: str,
    data: str,
    count: int | None,
    runs: int,
    generations: int,
    seed: int,
    write: str | None,
    plot: str | None,
    fix: Fix | None,
    size: Any,
    dialect: str | None,
    as_json: bool,
    force: bool,
) -> None:
    """Find anchors that fit the boxes of a data set, by k-means and evolution; --write puts them into a cfg.

    Small anchors go to the heads with small strides. Nothing is written unless the new set is better.
    """
    from yolor_cfg.analysis.anchor_edit import anchors_per_head, find_head_anchors, used_slots
    from yolor_cfg.analysis.anchors import SearchOptions
    from yolor_cfg.graph import ReadOptions, load_graph

    check_plot(plot)
    graph = load_graph(cfg, ReadOptions(dialect, size))
    heads = find_head_anchors(graph)
    own = len(used_slots(heads))
    if count not in (None, own):
        anchors_per_head(heads, count or own)
    report_warnings(graph.warnings, [*graph.notes, *_task_notes(graph)])
    boxes, small = _read_box_shapes(graph, data, fix)
    found = _find_anchors(
        graph, boxes, small, wanted=SearchOptions(count or own, runs, generations), seed=seed
    )
    if plot:
        from yolor_cfg.analysis.anchor_plot import anchors_chart

        save_plot(anchors_chart(found.boxes, *found.anchor_sets), plot, force=force)
    if write and found.is_better:
        _save_cfg(found, write, force=force)
        if size is not None:
            note = f"train with --img-size {found.size}: the anchors are made for this size"
            report_warnings((), [note])
    if as_json:
        print_json({**_to_json(found), "written": write if found.is_better else None})
    else:
        _print_tables(found)
    if not found.is_better:
        _report_no_gain(found, write)


def _task_notes(graph: Graph) -> list[str]:
    return [f"the heads of all tasks get them: {', '.join(graph.tasks)}"] if graph.tasks else []


def _read_box_shapes(graph: Graph, data: str, fix: Fix | None) -> tuple[LabeledShapes, int]:
    """The sizes in the input of the boxes that are used, and how many are too small."""
    import numpy as np

    from yolor_cfg.analysis.anchors import LEAST_SIDE, MOST_SEARCHED, box_shapes
    from yolor_cfg.analysis.class_recall import LabeledShapes
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.data.types import LabelChecks
    from yolor_cfg.errors import DataError
    from yolor_cfg.images.fit import default_preprocess

    dataset = open_data(data, checks=LabelChecks(fix))
    size = graph.image.height, graph.image.width
    shapes = box_shapes(dataset.samples, size, stretched=default_preprocess(graph) == "stretch")
    counts = (shapes >= LEAST_SIDE).all(axis=1)
    small = int((~counts).sum())
    notes = [str(problem) for problem in dataset.problems]
    if small:
        boxes = f"{count_of(small, 'box', spec=',')} {'is' if small == 1 else 'are'}"
        notes.append(f"{boxes} not used: a side is below {LEAST_SIDE:g} pixels in the input")
    if counts.sum() > MOST_SEARCHED:
        notes.append(f"the search uses {MOST_SEARCHED:,} of {counts.sum():,} boxes, the table all of them")
    report_warnings((), notes)
    if not counts.any():
        raise DataError(
            "there are no boxes in the part for training",
            path=dataset.origin,
            found=f"{count_of(len(dataset.samples), 'image')}, "
            + (f"{count_of(small, 'box')} too small" if small else "no box"),
        )
    classes = np.concatenate([one.classes[~one.crowd] for one in dataset.samples])
    return LabeledShapes(shapes[counts], classes[counts], dataset.names), small


def _find_anchors(
    graph: Graph, labeled: LabeledShapes, small: int, *, wanted: SearchOptions, seed: int
) -> AnchorSearchResult:
    """The search, its result as the new cfg rounds it, and both sets measured on all boxes."""
    from yolor_cfg.analysis.anchor_edit import replace_anchors
    from yolor_cfg.analysis.anchors import Goal, measure_fit
    from yolor_cfg.graph import ReadOptions, build_graph
    from yolor_cfg.lang.syntax import parse

    old, boxes = _used_anchors(graph), labeled.shapes
    before = measure_fit(boxes, old)
    goal = Goal(uses_iou=not graph.dialect.is_pytorch, recall=before.recall)
    best = _run_search(boxes, old, wanted, goal=goal, seed=seed)
    text = replace_anchors(graph, [(float(w), float(h)) for w, h in best])
    reading = ReadOptions(graph.dialect.name, (graph.image.height, graph.image.width))
    changed = build_graph(parse(text, graph.path), reading)
    new = _used_anchors(changed)
    better = goal.rank(boxes, new) > goal.rank(boxes, old)
    report_warnings((), _equal_notes(new))
    return AnchorSearchResult(
        (graph, changed), labeled, small, (old, new), (before, measure_fit(boxes, new)), better
    )


def _equal_notes(anchors: Shapes) -> list[str]:
    """Two equal anchors compete for the same boxes."""
    import numpy as np

    number = len(np.unique(anchors, axis=0))
    same = f"the new anchors have {count_of(number, 'size')} among {len(anchors)}"
    return [f"{same}: the boxes differ too little for so many"] if number < len(anchors) else []


def _used_anchors(graph: Graph) -> Shapes:
    """Width and height in pixels of the anchors that heads use."""
    import numpy as np

    from yolor_cfg.analysis.anchor_edit import find_head_anchors, used_slots

    return np.array([place.size_in_pixels for place in used_slots(find_head_anchors(graph))], np.float64)


def _run_search(boxes: Shapes, old: Shapes, wanted: SearchOptions, *, goal: Goal, seed: int) -> Shapes:
    import numpy as np
    from tqdm import tqdm

    from yolor_cfg.analysis.anchors import search_anchors

    total = wanted.generations * (2 if len(old) == wanted.number else 1)
    hidden = True if is_on("quiet") else None
    with tqdm(total=total, unit="mutation", delay=PROGRESS_DELAY_S, disable=hidden) as bar:
        return search_anchors(
            boxes, old, wanted, goal=goal, rng=np.random.default_rng(seed), progress=bar.update
        )


def _to_json(found: AnchorSearchResult) -> dict[str, Any]:
    before, after = (
        {**fit._asdict(), "anchors": anchors.tolist()}
        for fit, anchors in zip(found.fits, found.anchor_sets, strict=True)
    )
    image = found.graphs[0].image
    return {
        "size": [image.height, image.width],
        "boxes": len(found.boxes),
        "small": found.small_count,
        "before": before,
        "after": after,
        "heads": _head_entries(found),
        **group_entries(*_group_fits(found)),
        "better": found.is_better,
    }


def _group_fits(found: AnchorSearchResult) -> tuple[list[GroupFit], list[GroupFit]]:
    """How well both sets fit each class, and each size."""
    from yolor_cfg.analysis.class_recall import fit_classes, fit_sizes

    return fit_classes(found.labeled, found.anchor_sets), fit_sizes(found.labeled, found.anchor_sets)


def _head_entries(found: AnchorSearchResult) -> list[dict[str, Any]]:
    """What becomes of each head's anchors."""
    from yolor_cfg.analysis.anchor_edit import find_head_anchors

    return [
        {
            "section": old.node.index,
            "line": old.node.line,
            "stride": list(old.stride),
            "before": [list(place.size_in_pixels) for place in old.head_slots],
            "after": [list(place.size_in_pixels) for place in new.head_slots],
        }
        for old, new in zip(*map(find_head_anchors, found.graphs), strict=True)
    ]


def _print_tables(found: AnchorSearchResult) -> None:
    """The figures of all boxes, then those of classes and sizes; classes that are served badly are named."""
    classes, sizes = _group_fits(found)
    echo("\n".join([*_format_table(found), "", *group_lines(classes, sizes)]))
    report_warnings((), poor_notes(classes))


def _format_table(found: AnchorSearchResult) -> list[str]:
    """The figures before and after, then the anchors of each head, all in pixels."""
    figures = [
        (name, *(f"{number:.4f}" for number in pair))
        for name, *pair in zip(METRIC_NAMES, *found.fits, strict=True)
    ]
    rows = [
        (
            f"stride {_format_stride(head['stride'])}",
            *(" ".join(map(_format_pair, head[when])) for when in ANCHOR_SETS),
        )
        for head in sorted(_head_entries(found), key=lambda head: head["stride"])
    ]
    title = f"{count_of(len(found.boxes), 'box', spec=',')} in {found.size}"
    return format_columns([(title, *ANCHOR_SETS), *figures, *rows], words=range(3))


def _format_stride(pair: list[float]) -> str:
    """Across, down; one number where they are equal."""
    return _format_pair(pair[: len(set(pair))])


def _format_pair(pair: list[float]) -> str:
    """Width, height in pixels."""
    return ",".join(f"{number:.4g}" for number in pair)


def _save_cfg(found: AnchorSearchResult, path: str, *, force: bool) -> None:
    from yolor_cfg.errors import YolorError
    from yolor_cfg.files import replace_file

    old, new = (graph.document for graph in found.graphs)
    data = new.text.encode(old.encoding)
    replace_file(path, lambda file: file.write(data), fault=YolorError, force=force)
    print_stderr(f"{path}: written", "green")


def _report_no_gain(found: AnchorSearchResult, write: str | None) -> None:
    """That the set is not better, with the figures; where it was to be written, an error."""
    from yolor_cfg.errors import YolorError

    if not write:
        return print_stderr("the new anchors are not better", "yellow")
    before, after = (
        ", ".join(f"{name} {number:.6f}" for name, number in zip(METRIC_NAMES, fit, strict=True))
        for fit in found.fits
    )
    raise YolorError(
        "the new anchors are not better, so nothing is written",
        path=write,
        found=after,
        allowed=f"better than {before}",
        hint="more --generations, or another --seed",
    )
