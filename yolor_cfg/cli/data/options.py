"""What the commands of `yolor data` share: options, and data sets with all of their splits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.options import SizeParam, TextParam, is_on, print_stderr, report_warnings
from yolor_cfg.errors import DataError, count_of, shell_word

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, SplitName

DATA_FAULT_CODE = 3
SPLITS = ("train", "val", "test")
FIXES = ("clip", "drop")

data_argument = click.argument("path", metavar="DATA", type=click.Path())
fix_option = click.option(
    "--fix-labels", "fix", type=click.Choice(FIXES), help="Clip or drop invalid labels."
)
splits_option = click.option(
    "--split",
    "wanted",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Split to look at; may be repeated; default: all that there are.",
)
class_option = click.option(
    "--classes",
    "--class",
    "classes",
    multiple=True,
    metavar="NAME,...",
    help="Only boxes of these classes, by name or class id; may be repeated.",
)
INPUT_HELP = (
    "Measure boxes in pixels of an input of this size, N pixels square or height x width, in place of those "
    "of their images."
)
input_option = click.option(
    *("--img-size", "--img", "--imgsz", "size"), type=SizeParam(), metavar="N|HxW", help=INPUT_HELP
)
force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")


class OutputFile(TextParam):
    """A file name with one of some suffixes."""

    name = "file"

    def __init__(self, suffixes: Sequence[str]) -> None:
        self.suffixes = tuple(suffixes)

    def parse(self, text: str) -> Path:
        """The path."""
        path = Path(text)
        if path.suffix.lower() not in self.suffixes or text.endswith(("/", "\\")):
            raise ValueError(f"{text!r} must end in {', '.join(self.suffixes)}.")
        return path


def class_words(values: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The words of all values, which have commas between them; a value that is the name of a class is one
    word, with the commas that it has."""
    parts = ([value] if value in names else value.split(",") for value in values)
    return tuple(word.strip() for words in parts for word in words if word.strip())


def open_splits(path: str, wanted: Sequence[SplitName], classes: int | None = None) -> dict[str, Dataset]:
    """The splits by name, faulty labels left out; two with the same list of images are read once."""
    from yolor_cfg.data.sources import find_listing, find_splits, read_listing
    from yolor_cfg.data.types import LabelChecks

    found = {split: find_listing(path, split) for split in wanted} if wanted else find_splits(path)
    opened: dict[str, Dataset] = {}
    lists: dict[tuple[str, ...], Dataset] = {}
    for name, one in found.items():
        key = tuple(one.listing.images)
        if key not in lists:
            lists[key] = read_listing(one, classes=classes, checks=LabelChecks("drop"))
        opened[name] = lists[key]
    return opened


def open_matched(path: str, wanted: Sequence[SplitName]) -> dict[str, Dataset]:
    """Like `open_splits`, for boxes, with the classes of all splits as in the first; faults are counted and
    told."""
    from yolor_cfg.data.classes import match_classes
    from yolor_cfg.data.writing.parts import refuse_no_boxes

    opened = open_splits(path, wanted)
    refuse_no_boxes(opened.values(), "look at")
    names = next(iter(opened.values())).names
    faults = {str(one) for part in opened.values() for one in part.problems if one.kind != "note"}
    if faults:
        left = f"{count_of(len(faults), 'fault')} left out"
        report_warnings((), [f"{left}: `yolor data check {shell_word(path)}` shows what is wrong"])
    return {
        split: match_classes(part, names, source="the other splits", by_number=False)
        for split, part in opened.items()
    }


def tell_written(path: str | Path, what: str = "written") -> None:
    """Say that a file is there."""
    if not is_on("quiet"):
        print_stderr(f"{path}: {what}", "green")


def refuse_own_image(out: Path | None, images: Iterable[str]) -> None:
    """Raise DataError for a file that is one of the images of the data: not even --force overwrites it."""
    if out is None or not out.exists():
        return
    wanted = os.path.realpath(out)
    if any(os.path.realpath(image) == wanted for image in images):
        raise DataError("an image of the data set", path=str(out), hint="write to another file")
