"""`yolor anchors`: anchors that fit the boxes of a data set, written into a copy of the cfg."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yolor_cfg.cli.implicit import PICTURES
from yolor_cfg.cli.options import (
    cfg_argument,
    columns,
    dialect_option,
    is_on,
    json_option,
    print_json,
    say,
    size_option,
    tell,
)

if TYPE_CHECKING:
    from yolor_cfg.analysis.anchors import Fit, Goal, Search, Shapes
    from yolor_cfg.data.types import Fix
    from yolor_cfg.graph import Graph

PATIENCE_S = 1.0
"""Seconds before the progress bar appears."""
FIGURES = ("best possible recall", "fitness", "mean IoU")
SETS = ("before", "after")
MEANING = """\b
What is printed, before and after:
  best possible recall  the share of boxes that some anchor fits: the sides of both within a
                        factor of 4, as YOLOR's training asks
  fitness               the mean over all boxes of the smaller ratio of sides to the best
                        anchor; 0 where none fits
  mean IoU              of each box with its most similar anchor, centres together

In the yolor dialect a better set has more fitness and no less recall; in the darknet dialect,
where a box always learns from its most similar anchor, it has a higher mean IoU.

\b
The keys of --json:
  size            height, width of the input that the boxes were scaled to
  boxes, small    how many count, and how many do not: a side below 2 pixels
  before, after   recall, fitness, mean_iou, and anchors: width, height in input pixels
  heads           section, line, stride (across, down), before and after: its anchors
  better          whether `after` is better
  written         the new cfg, or null"""


class Found(NamedTuple):
    """The cfg before and after, the boxes that count, and what was found of them."""

    graphs: tuple[Graph, Graph]
    boxes: Shapes
    small: int
    sets: tuple[Shapes, Shapes]
    fits: tuple[Fit, Fit]
    better: bool

    @property
    def size(self) -> str:
        """Height x width of the input."""
        image = self.graphs[0].image
        return f"{image.height}x{image.width}"


@click.command(epilog=MEANING)
@cfg_argument
@click.option(
    "--data",
    required=True,
    type=click.Path(),
    metavar="FILE|FOLDER",
    help="The data set, whose part for training counts.",
)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    metavar="N",
    help="How many anchors for all heads together; default: as many as they have.",
)
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How many times k-means starts anew; the best one counts.",
)
@click.option(
    "--generations",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="How many mutations follow.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all random numbers.")
@click.option("--write", type=click.Path(), metavar="OUT.cfg", help="Write CFG with the new anchors here.")
@click.option("--plot", type=click.Path(), metavar="FILE.png", help="Draw boxes and anchors.")
@click.option("--fix-labels", "fix", type=click.Choice(["clip", "drop"]), help="Mend faulty labels.")
@size_option
@dialect_option
@json_option
@click.option("--force", is_flag=True, help="Overwrite OUT.cfg and FILE.png.")
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
    """Find anchors for the boxes in DATA, by k-means and evolution, and put them into a copy of CFG.

    Small anchors go to fine heads. Nothing is written when the new set is not better.
    """
    from yolor_cfg.analysis.anchor_edit import anchored_heads, share_of, used_places
    from yolor_cfg.analysis.anchors import Search
    from yolor_cfg.graph import Reading, load

    if plot and Path(plot).suffix not in PICTURES:
        raise click.UsageError(f"--plot must end in {', '.join(PICTURES)}")
    graph = load(cfg, Reading(dialect, size))
    heads = anchored_heads(graph)
    own = len(used_places(heads))
    if count not in (None, own):
        share_of(heads, count or own)
    tell(graph.warnings, graph.notes)
    boxes, small = _boxes(graph, data, fix)
    found = _found(graph, boxes, small, wanted=Search(count or own, runs, generations), seed=seed)
    if plot:
        _save_picture(found, plot, force=force)
    if write and found.better:
        _save_cfg(found, write, force=force)
        notes = [] if size is None else [f"train with --img-size {found.size}: the anchors are made for it"]
        tell((), notes)
    if as_json:
        print_json({**_document(found), "written": write if found.better else None})
    else:
        click.echo("\n".join(_table(found)))
    if not found.better:
        _say_so(found, write)


def _boxes(graph: Graph, data: str, fix: Fix | None) -> tuple[Shapes, int]:
    """The shapes in the input that count, and how many do not."""
    from yolor_cfg.analysis.anchors import LEAST_SIDE, MOST_SEARCHED, box_shapes
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
        notes.append(f"{small:,} boxes do not count: a side is below {LEAST_SIDE:g} pixels in the input")
    if counts.sum() > MOST_SEARCHED:
        notes.append(f"the search looks at {MOST_SEARCHED:,} of {counts.sum():,} boxes, the table at all")
    tell((), notes)
    if not counts.any():
        raise DataError(
            "there are no boxes in the part for training",
            path=dataset.origin,
            found=f"{len(dataset.samples)} pictures, {small} boxes that are too small",
        )
    return shapes[counts], small


def _found(graph: Graph, boxes: Shapes, small: int, *, wanted: Search, seed: int) -> Found:
    """The search, its result as the new cfg rounds it, and both sets measured on all boxes."""
    from yolor_cfg.analysis.anchor_edit import with_anchors
    from yolor_cfg.analysis.anchors import Goal, fit_of
    from yolor_cfg.graph import Reading, build
    from yolor_cfg.lang.syntax import parse

    old = _set(graph)
    before = fit_of(boxes, old)
    goal = Goal(by_iou=not graph.dialect.is_yolor, recall=before.recall)
    best = _searched(boxes, old, wanted, goal=goal, seed=seed)
    text = with_anchors(graph, [(float(w), float(h)) for w, h in best])
    reading = Reading(graph.dialect.name, (graph.image.height, graph.image.width))
    changed = build(parse(text, graph.path), reading)
    new = _set(changed)
    better = goal.rank(boxes, new) > goal.rank(boxes, old)
    return Found((graph, changed), boxes, small, (old, new), (before, fit_of(boxes, new)), better)


def _set(graph: Graph) -> Shapes:
    """Width and height in pixels of the anchors that heads use."""
    import numpy as np

    from yolor_cfg.analysis.anchor_edit import anchored_heads, used_places

    return np.array([place.pixels for place in used_places(anchored_heads(graph))], np.float64)


def _searched(boxes: Shapes, old: Shapes, wanted: Search, *, goal: Goal, seed: int) -> Shapes:
    import numpy as np
    from tqdm import tqdm

    from yolor_cfg.analysis.anchors import search

    total = wanted.generations * (2 if len(old) == wanted.number else 1)
    hidden = True if is_on("quiet") else None
    with tqdm(total=total, unit="mutation", delay=PATIENCE_S, disable=hidden) as bar:
        return search(boxes, old, wanted, goal=goal, rng=np.random.default_rng(seed), progress=bar.update)


def _document(found: Found) -> dict[str, Any]:
    before, after = (
        {**fit._asdict(), "anchors": anchors.tolist()}
        for fit, anchors in zip(found.fits, found.sets, strict=True)
    )
    image = found.graphs[0].image
    return {
        "size": [image.height, image.width],
        "boxes": len(found.boxes),
        "small": found.small,
        "before": before,
        "after": after,
        "heads": _heads(found),
        "better": found.better,
    }


def _heads(found: Found) -> list[dict[str, Any]]:
    """What becomes of each head's anchors."""
    from yolor_cfg.analysis.anchor_edit import anchored_heads

    return [
        {
            "section": old.node.index,
            "line": old.node.line,
            "stride": list(old.stride),
            "before": [list(place.pixels) for place in old.places],
            "after": [list(place.pixels) for place in new.places],
        }
        for old, new in zip(*map(anchored_heads, found.graphs), strict=True)
    ]


def _table(found: Found) -> list[str]:
    """The figures before and after, then the anchors of each head, all in pixels."""
    figures = [
        (name, *(f"{number:.4f}" for number in pair))
        for name, *pair in zip(FIGURES, *found.fits, strict=True)
    ]
    rows = [
        (f"stride {_of_stride(head['stride'])}", *(" ".join(map(_shown, head[when])) for when in SETS))
        for head in sorted(_heads(found), key=lambda head: head["stride"])
    ]
    title = f"{len(found.boxes):,} boxes in {found.size}"
    return columns([(title, *SETS), *figures, *rows], words=range(3))


def _of_stride(pair: list[float]) -> str:
    """Across, down; one number where they are equal."""
    return _shown(pair[: len(set(pair))])


def _shown(pair: list[float]) -> str:
    """Width, height in pixels."""
    return ",".join(f"{number:.4g}" for number in pair)


def _save_picture(found: Found, path: str, *, force: bool) -> None:
    import cv2

    from yolor_cfg.analysis.anchor_plot import shapes_picture
    from yolor_cfg.errors import YolorError
    from yolor_cfg.files import replace_whole

    drawn = shapes_picture(found.boxes, *found.sets)
    _, data = cv2.imencode(Path(path).suffix, drawn[..., ::-1])
    replace_whole(path, lambda file: file.write(data.tobytes()), fault=YolorError, force=force)


def _save_cfg(found: Found, path: str, *, force: bool) -> None:
    from yolor_cfg.errors import YolorError
    from yolor_cfg.files import replace_whole

    old, new = (graph.document for graph in found.graphs)
    data = new.text.encode(old.encoding)
    replace_whole(path, lambda file: file.write(data), fault=YolorError, force=force)
    say(f"{path}: written", "green")


def _say_so(found: Found, write: str | None) -> None:
    """That the set is not better, with the figures; where it was to be written, an error."""
    from yolor_cfg.errors import YolorError

    if not write:
        return say("the new anchors are not better", "yellow")
    before, after = (
        ", ".join(f"{name} {number:.6f}" for name, number in zip(FIGURES, fit, strict=True))
        for fit in found.fits
    )
    raise YolorError(
        "the new anchors are not better, so nothing is written",
        path=write,
        found=after,
        allowed=f"better than {before}",
        hint="more --generations, or another --seed",
    )
