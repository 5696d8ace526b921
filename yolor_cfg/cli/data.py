"""`yolor data`: check a data set before training on it, convert it, divide it, or draw a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.options import (
    SizeParam,
    TextParam,
    echo,
    format_columns,
    image_options,
    is_on,
    json_option,
    print_json,
    print_stderr,
    report_warnings,
)
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, Fix, SplitName

DATA_FAULT_CODE = 3
MAX_FAULTS = 20
SPLITS = ("train", "val", "test")
FIXES = ("clip", "drop")
SHAPE_KINDS = ("mixed", "coloured", "identities", "classes")

data_argument = click.argument("path", metavar="DATA", type=click.Path())
fix_option = click.option(
    "--fix-labels", "fix", type=click.Choice(FIXES), help="Clip or drop invalid labels."
)


class ShapeNamesParam(TextParam):
    """Classes of the drawn shapes, with commas between."""

    name = "names"

    def parse(self, text: str) -> tuple[str, ...]:
        """The names, in the order of the classes."""
        from yolor_cfg.data.shapes import NAMES

        words = [word.strip() for word in text.split(",")]
        strange = [word for word in words if word not in NAMES]
        if strange:
            raise ValueError(f"{strange[0]!r} is none of {', '.join(NAMES)}")
        return tuple(name for name in NAMES if name in words)


@click.group()
def data() -> None:
    """Check, convert and divide data sets, or draw one.

    Formats read: Darknet .data, YOLO YAML, COCO JSON, Pascal VOC and plain folders, also as Roboflow, CVAT,
    LabelImg and Label Studio lay them out.
    """


@data.command()
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

    opened = _open_splits(path, split, classes)
    problems = {str(one): one for part in opened.values() for one in part.problems}
    problems |= {str(one): one for one in overlap_notes(opened)}
    faults = [text for text, problem in problems.items() if problem.kind != "note"]
    notes = [text for text, problem in problems.items() if problem.kind == "note"]
    if split is None and "val" not in opened and "test" not in opened:
        notes.append(f"{path}: no val split: `yolor data split {path} --val 0.2` makes one")
    summaries = {name: summarize(part) for name, part in opened.items()}
    if as_json:
        first = next(iter(summaries.values()))
        print_json({**first, "splits": summaries, "faults": faults, "notes": notes})
    else:
        _report_summaries(summaries, faults=faults, notes=notes)
    if faults:
        raise click.exceptions.Exit(DATA_FAULT_CODE)


def _open_splits(path: str, split: SplitName | None, classes: int | None) -> dict[str, Dataset]:
    """The splits by name; two with the same list of images are read once."""
    from yolor_cfg.data.sources import find_listing, find_splits, read_listing
    from yolor_cfg.data.types import LabelChecks

    found = find_splits(path) if split is None else {split: find_listing(path, split)}
    opened: dict[str, Dataset] = {}
    lists: dict[tuple[str, ...], Dataset] = {}
    for name, one in found.items():
        key = tuple(one.listing.images)
        if key not in lists:
            lists[key] = read_listing(one, classes=classes, checks=LabelChecks("drop"))
        opened[name] = lists[key]
    return opened


@data.command()
@data_argument
@click.argument("out", type=click.Path())
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Split to write; may be repeated; default: all that there are, in a .json file train.",
)
@fix_option
@image_options
@click.option("--force", is_flag=True, help="Overwrite an existing OUT (.json).")
def convert(path: str, out: str, split: tuple[SplitName, ...], fix: Fix | None, force: bool) -> None:
    """Write DATA as a COCO .json file or a Darknet/YOLO folder.

    If OUT ends in .json, one split is written; otherwise OUT is a folder that holds each split. What is left
    out is told: unreadable images, labels that --fix-labels drops, marks that the format has no place for.
    """
    from yolor_cfg.data.convert import conversion_notes, refuse_no_boxes, write_coco, write_darknet

    as_coco = out.lower().endswith(".json")
    if as_coco and len(split) > 1:
        raise click.UsageError("a .json file holds one split: give --split once")
    opened = _open_for_conversion(path, split or (("train",) if as_coco else ()), fix)
    refuse_no_boxes(opened)
    if as_coco:
        write_coco(next(iter(opened.values())), out, force=force)
    else:
        out = str(write_darknet(opened, out))
    report_warnings((), conversion_notes(opened, as_coco=as_coco))
    if as_coco and not split:
        report_warnings((), _unwritten_splits(path, opened))
    images = sum(len(part.samples) for part in opened.values())
    print_stderr(f"{out}: {count_of(images, 'image', spec=',')}", "green")


def _open_for_conversion(
    path: str, wanted: tuple[SplitName, ...], fix: Fix | None
) -> dict[SplitName, Dataset]:
    """The splits, with the classes of the first; their problems are reported."""
    from yolor_cfg.data.classes import match_classes
    from yolor_cfg.data.sources import find_listing, find_splits, read_listing
    from yolor_cfg.data.types import LabelChecks
    from yolor_cfg.evaluate.ground_truth import problem_lines

    found = {one: find_listing(path, one) for one in wanted} if wanted else find_splits(path)
    opened: dict[SplitName, Dataset] = {}
    for split, one in found.items():
        part = read_listing(one, checks=LabelChecks(fix))
        report_warnings((), [*problem_lines(part), *_left_out(split, part)])
        names = next(iter(opened.values()), part).names
        opened[split] = match_classes(part, names, source="the other splits", by_number=False)
    if not wanted and "val" not in opened:
        report_warnings(
            (), [f"{path}: no val split is written: `yolor data split {path} --val 0.2` makes one"]
        )
    return opened


def _unwritten_splits(path: str, opened: Mapping[SplitName, Dataset]) -> list[str]:
    """A note for each split that a .json file, which holds one, leaves out."""
    from yolor_cfg.data.sources import find_splits

    left = [one for one in find_splits(path) if one not in opened]
    return [f"{path}: {one} is not written: --split {one} with another OUT writes it" for one in left]


def _left_out(split: str, part: Dataset) -> list[str]:
    """How many images are missing and how many labels were changed or dropped."""
    kinds = [problem.kind for problem in part.problems]
    counts = ((kinds.count("image"), "unreadable: left out"), (kinds.count("label"), "faulty: see above"))
    words = ("image", "label")
    return [
        f"{split}: {count_of(count, word)} {what}"
        for (count, what), word in zip(counts, words, strict=True)
        if count
    ]


@data.command()
@data_argument
@click.option(
    "--val",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    metavar="0..1",
    help="Share of the images to validate on.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="0..1",
    help="Share of the images to test on; default: none, or the test split that there is.",
)
@click.option("--out", type=click.Path(), metavar="DIR", help="New folder to write; default: DATA_split.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Random seed."
)
@click.option("--all", "merges", is_flag=True, help="Divide the images of all splits anew.")
@fix_option
@image_options
def split(path: str, out: str | None, merges: bool, fix: Fix | None, **options: Any) -> None:
    """Divide DATA into images to train on and images to validate on.

    Every class has its share in both, and images that are nearly the same stay together: copies, resized
    ones, frames of one scene. The same seed gives the same division. Nothing of DATA is moved or changed: the
    new folder has lists of its images, and the file to give as --data.
    """
    from yolor_cfg.data.write_splits import divide_dataset, write_splits

    if options["val"] + options["test"] >= 1:
        raise click.BadParameter("--val and --test leave nothing to train on", param_hint="--test")
    opened, named = _open_for_division(path, merges=merges, has_test=bool(options["test"]), fix=fix)
    train_share = 1 - options["val"] - options["test"]
    shares: dict[SplitName, float] = {"train": train_share, "val": options["val"], "test": options["test"]}
    divided = divide_dataset(
        opened.pop("train"), {key: share for key, share in shares.items() if share}, seed=options["seed"]
    )
    report_warnings((), divided.notes)
    parts = {**divided.parts, **opened}
    written = write_splits(parts, out or default_split_folder(path), named=named)
    counts = ", ".join(f"{key} {len(part.samples):,}" for key, part in parts.items())
    images = count_of(sum(len(part.samples) for part in parts.values()), "image", spec=",")
    print_stderr(f"{written}: {images} ({counts}); use it as --data", "green")


def _open_for_division(
    path: str, *, merges: bool, has_test: bool, fix: Fix | None
) -> tuple[dict[SplitName, Dataset], bool]:
    """The images to divide, as train, and a test split that stays; whether something names the classes."""
    from yolor_cfg.data.sources import find_splits, read_listing
    from yolor_cfg.data.types import LabelChecks
    from yolor_cfg.data.write_splits import join_datasets
    from yolor_cfg.errors import DataError
    from yolor_cfg.evaluate.ground_truth import problem_lines

    found = find_splits(path)
    if not merges and ("val" in found and len(found) > 1 or has_test and "test" in found and len(found) > 1):
        hint = "--all divides the images of all splits anew; or give the folder of one split"
        raise DataError("is divided already", path=path, found=", ".join(found), hint=hint)
    opened = {key: read_listing(one, checks=LabelChecks(fix)) for key, one in found.items()}
    for part in opened.values():
        report_warnings((), problem_lines(part))
    named = all(one.listing.names for one in found.values())
    if merges or len(opened) == 1:
        return {"train": join_datasets(list(opened.values()))}, named
    return opened, named


def default_split_folder(path: str) -> str:
    """The folder beside DATA: mine_split for mine/ and mine.data."""
    import os

    place = os.path.abspath(path)
    return (place if os.path.isdir(place) else os.path.splitext(place)[0]) + "_split"


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
    help="mixed: only the shape tells the class; coloured: each class has its own colours too; identities: "
    "30 objects with their own looks, with --identities; classes: one object an image, in folders by class, "
    "for classifiers.",
)
@click.option(
    "--held",
    type=click.IntRange(0),
    metavar="N",
    help="Hold out the last N images for validation; default: a fifth of them.",
)
@click.option(
    "--annotate",
    type=ShapeNamesParam(),
    metavar="NAME,...",
    help="Label only objects of these classes, and say so in the .data file; default: of all.",
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
    occlusion and small objects; with --kind classes there are ten, and no boxes. Nothing is downloaded.
    """
    from yolor_cfg.data.shapes import KINDS as objects
    from yolor_cfg.data.shapes import MIXED
    from yolor_cfg.data.write_shapes import ShapesOptions, write_classes, write_shapes

    count, held, size = options["count"], options["held"], options["size"]
    if held is not None and held > count:
        raise click.BadParameter(f"{held} is more than --count {count}", param_hint="--held")
    size = size if isinstance(size, tuple) else (size, size)
    kind = options["kind"]
    named = options["identities"] or kind == "identities"
    wanted = ShapesOptions(count, size, objects.get(kind, MIXED), held, named)
    if options["annotate"]:
        if kind not in objects:
            raise click.BadParameter("--kind classes has no boxes to leave out", param_hint="--annotate")
        wanted = wanted._replace(annotated=options["annotate"])
    write = write_shapes if kind in objects else write_classes
    description = write(out, wanted, seed=options["seed"])
    print_stderr(f"{description}: {count_of(count, 'image', spec=',')}", "green")


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
