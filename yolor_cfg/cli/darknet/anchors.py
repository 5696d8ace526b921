"""C Darknet's `detector calc_anchors`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yolor_cfg.cli.options import echo, report_warnings

if TYPE_CHECKING:
    from yolor_cfg.analysis.anchors import Shapes
    from yolor_cfg.data.types import Dataset

ANCHORS_FILE, COUNTERS_FILE = "anchors.txt", "counters_per_class.txt"
RUNS = 10
SMALL = 32
"""Up to this width C Darknet takes cells for the unit and writes decimals."""


class Wanted(NamedTuple):
    """The data set, the number of anchors, the height and width of the input in pixels."""

    data: str
    number: int
    size: tuple[int, int]
    force: bool


def calc_anchors(wanted: Wanted) -> None:
    """Print the anchors and write anchors.txt and counters_per_class.txt; of ten starts of k-means
    the best counts, the same in each run."""
    import numpy as np

    from yolor_cfg.analysis.anchors import Goal, SearchOptions, box_shapes, measure_fit, search_anchors
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.errors import DataError

    _check_free(wanted)
    dataset = open_data(wanted.data)
    report_warnings((), map(str, dataset.problems))
    boxes = box_shapes(dataset.samples, wanted.size, stretched=True)
    if not len(boxes):
        raise DataError("there are no boxes in the part for training", path=dataset.origin)
    options = SearchOptions(wanted.number, RUNS, generations=0)
    goal = Goal(uses_iou=True, recall=0)
    found = search_anchors(boxes, np.zeros((0, 2)), options, goal=goal, rng=np.random.default_rng(0))
    _report(wanted, dataset, found, share=measure_fit(boxes, found).mean_iou)


def _check_free(wanted: Wanted) -> None:
    """Raise YolorError before anything is computed if a file would be overwritten."""
    import os

    from yolor_cfg.errors import YolorError

    for path in (COUNTERS_FILE, ANCHORS_FILE):
        if os.path.lexists(path) and not wanted.force:
            raise YolorError("exists already", path=path, hint="use --force to overwrite it")


def _report(wanted: Wanted, dataset: Dataset, anchors: Shapes, *, share: float) -> None:
    """The lines of C Darknet, and its two files."""
    height, width = wanted.size
    counts = ", ".join(map(str, _class_counts(dataset)))
    counters = f"counters_per_class = {counts}"
    text = format_anchors(anchors, width)
    echo(f"\n num_of_clusters = {wanted.number}, width = {width}, height = {height} ")
    echo(f" read labels from {len(dataset.samples)} images \n\n{counters}\n\n avg IoU = {share * 100:.2f} % ")
    _save(COUNTERS_FILE, counters, force=wanted.force)
    echo("\nSaving anchors to the file: anchors.txt ")
    _save(ANCHORS_FILE, text, force=wanted.force)
    echo(f"anchors = {text}")


def format_anchors(anchors: Shapes, width: int) -> str:
    """`width,height, ...` in C Darknet's columns."""
    form = "{:3.0f},{:3.0f}" if width > SMALL else "{:2.4f},{:2.4f}"
    return ", ".join(form.format(*pair) for pair in anchors.tolist())


def _class_counts(dataset: Dataset) -> list[int]:
    import numpy as np

    classes = np.concatenate([np.zeros(0, np.int64), *(sample.classes for sample in dataset.samples)])
    counts: list[int] = np.bincount(classes, minlength=len(dataset.names)).tolist()
    return counts


def _save(path: str, text: str, *, force: bool) -> None:
    from yolor_cfg.errors import YolorError
    from yolor_cfg.files import replace_file

    replace_file(path, lambda file: file.write(text.encode()), fault=YolorError, force=force)
