"""`yolor data check`: what a data set holds, and every fault in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.data.options import DATA_FAULT_CODE, SPLITS, data_argument, open_splits
from yolor_cfg.cli.options import (
    echo,
    format_columns,
    image_options,
    is_on,
    json_option,
    print_json,
    print_stderr,
)
from yolor_cfg.errors import count_of, shell_word

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, SplitName

MAX_FAULTS = 20
MOST_LONE = 3
TEXT_FORMATS = frozenset({"darknet", "folder", "list", "yolo"})


@click.command()
@data_argument
@click.option("--split", type=click.Choice(SPLITS), help="The split to check; default: all that there are.")
@click.option(
    "--classes", type=click.IntRange(1), metavar="N", help="Number of classes of the network to train."
)
@image_options
@json_option
def check(path: str, split: SplitName | None, classes: int | None, as_json: bool) -> None:
    """Report what DATA contains and every error in it.

    All splits are read, and compared: images that stand in two of them, classes that are spelt in two ways.
    The exit code is 3 if there are errors.
    """
    from yolor_cfg.data.overlap import overlap_notes

    opened = open_splits(path, () if split is None else (split,), classes)
    problems = {str(one): one for part in opened.values() for one in part.problems}
    problems |= {str(one): one for one in overlap_notes(opened)}
    faults = [text for text, problem in problems.items() if problem.kind != "note"]
    notes = [text for text, problem in problems.items() if problem.kind == "note"]
    if split is None and "val" not in opened and "test" not in opened:
        notes.append(f"{path}: no val split: `yolor data split {shell_word(path)} --val 0.2` makes one")
    notes += _lone_notes(path, opened) if split is None else ()
    summaries = {name: summarize(part) for name, part in opened.items()}
    if as_json:
        first = next(iter(summaries.values()))
        print_json({**first, "splits": summaries, "faults": faults, "notes": notes})
    else:
        _report_summaries(summaries, faults=faults, notes=notes)
    if faults:
        raise click.exceptions.Exit(DATA_FAULT_CODE)


def _lone_notes(path: str, opened: Mapping[str, Dataset]) -> Iterator[str]:
    """Labels of images that were renamed or lost; of all splits, which may share a folder of labels."""
    from yolor_cfg.data.label_files import lone_labels
    from yolor_cfg.data.overlap import image_paths

    if all(data.format in TEXT_FORMATS for data in opened.values()):
        lone = list(lone_labels(place for data in opened.values() for place in image_paths(data.samples)))
        shown = ", ".join(lone[:MOST_LONE]) + (" ..." if len(lone) > MOST_LONE else "")
        if lone:
            has = "has" if len(lone) == 1 else "have"
            yield f"{path}: {count_of(len(lone), 'label file')} {has} no image: {shown}"


def summarize(opened: Dataset) -> dict[str, Any]:
    """Counts of images and boxes, boxes per class, the range of sizes; of images with classes alone counts of
    those."""
    import numpy as np

    from yolor_cfg.data.types import Samples

    columns = opened.samples
    assert isinstance(columns, Samples)
    labels = columns.labels
    classes = columns.columns.classes if labels is None else labels.classes
    by_class = np.bincount(classes, minlength=len(opened.names)).tolist()
    starts = columns.starts if labels is None else labels.starts
    word = "boxes" if labels is None else "labels"
    heights, widths = columns.sizes.T.tolist()
    return {
        "format": opened.format,
        "images": len(columns),
        f"without_{word}": int((np.diff(starts) == 0).sum()),
        word: sum(by_class),
        "crowds": int(columns.columns.crowd.sum()),
        "heights": [min(heights), max(heights)],
        "widths": [min(widths), max(widths)],
        "classes": dict(zip(_distinct_names(opened.names), by_class, strict=True)),
    }


def _distinct_names(names: Sequence[str]) -> list[str]:
    """The names, with the class id behind one that stands twice."""
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def _report_summaries(summaries: dict[str, dict[str, Any]], *, faults: list[str], notes: list[str]) -> None:
    for note in notes:
        print_stderr(f"note: {note}", "yellow")
    labels = {"without_boxes": "without boxes", "without_labels": "without labels"}
    parts = list(summaries.values())
    keys = [key for key in parts[0] if key != "classes"]
    rows = [["", *summaries]] if len(parts) > 1 else []
    rows += [[labels.get(key, key), *(_format_value(part[key]) for part in parts)] for key in keys]
    names = list(dict.fromkeys(name for part in parts for name in part["classes"]))
    counts = [[name, *(f"{part['classes'].get(name, 0):,}" for part in parts)] for name in names]
    for table in (rows, [], counts):
        echo("\n".join(format_columns(table, words={0})) if table else "")
    shown = len(faults) if is_on("verbose") else MAX_FAULTS
    for fault in faults[:shown]:
        print_stderr(fault, "red")
    if faults:
        print_stderr(
            count_of(len(faults), "fault") + ("; use -v to show all" if len(faults) > shown else ""), "red"
        )


def _format_value(value: object) -> str:
    """A range as low-high, a number with thousands separators."""
    if isinstance(value, list):
        return "-".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
