"""`yolor data convert`: a data set in another format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.data.options import SPLITS, data_argument, fix_option
from yolor_cfg.cli.options import image_options, print_stderr, report_warnings
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, Fix, SplitName


@click.command()
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
    refuse_no_boxes(opened.values())
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
