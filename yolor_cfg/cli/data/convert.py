"""`yolor data convert`: a data set in another format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.data.options import SPLITS, data_argument, fix_option
from yolor_cfg.cli.options import image_options, print_stderr, report_warnings
from yolor_cfg.errors import count_of, shell_word

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, Fix, SplitName
    from yolor_cfg.data.writing.losses import FormatName
    from yolor_cfg.data.writing.parts import WrittenPart, WrittenParts


TARGETS = ("darknet", "yolo", "coco", "voc")


@click.command()
@data_argument
@click.argument("out", type=click.Path())
@click.option(
    "--to",
    "target",
    type=click.Choice(TARGETS),
    help="darknet: lists, labels and a .data file; yolo: images/, labels/ and data.yaml, as Ultralytics and "
    "YOLOv5 read; coco: images/ and annotations/instances_SPLIT.json; voc: JPEGImages/, Annotations/, "
    "ImageSets/. Default: coco if OUT ends in .json, else darknet.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Split to write; may be repeated; default: all that there are, in a .json file train.",
)
@click.option("--link", "links", is_flag=True, help="Link to the images in place of copying them.")
@fix_option
@image_options
@click.option("--force", is_flag=True, help="Overwrite an existing OUT (.json).")
def convert(path: str, out: str, split: tuple[SplitName, ...], fix: Fix | None, **options: Any) -> None:
    """Write DATA in another format: for Darknet, YOLO YAML, COCO or Pascal VOC.

    OUT is a new folder with the images and all splits; if it ends in .json it is COCO's file of one split,
    and the images stay where they are. Boxes are read back exactly as they were, but for the whole pixels of
    Pascal VOC. What the format has no place for is counted and told: crowds, difficult objects, areas,
    attributes, ids, masks, keypoints; unreadable images and labels that --fix-labels drops too.
    """
    from yolor_cfg.data.writing.losses import find_losses

    as_json = out.lower().endswith(".json")
    target: FormatName = options["target"] or ("coco" if as_json else "darknet")
    if as_json and (len(split) > 1 or target != "coco"):
        what = "give --split once" if target == "coco" else f"give a folder for --to {target}"
        raise click.UsageError(f"a .json file holds one split in COCO's format: {what}")
    parts = _open_for_conversion(path, split or (("train",) if as_json else ()), fix)
    losses = find_losses(parts, target)
    written = _write(parts, out, target, links=options["links"], force=options["force"])
    report_warnings((), [loss.text for loss in losses if not (as_json and loss.kind == "files")])
    if as_json and not split:
        report_warnings((), _unwritten_splits(path, parts))
    images = sum(len(part.data.samples) for part in parts.values())
    print_stderr(f"{written}: {count_of(images, 'image', spec=',')}", "green")


def _write(parts: WrittenParts, out: str, target: FormatName, *, links: bool, force: bool) -> str:
    """Write the splits; returns the path to give as DATA."""
    from yolor_cfg.data.writing.coco import write_coco, write_coco_folder
    from yolor_cfg.data.writing.darknet import write_darknet
    from yolor_cfg.data.writing.voc import write_voc
    from yolor_cfg.data.writing.yolo import write_yolo

    if out.lower().endswith(".json"):
        part = next(iter(parts.values()))
        write_coco(part.data, out, part=part, force=force)
        return out
    writers = {"darknet": write_darknet, "yolo": write_yolo, "coco": write_coco_folder, "voc": write_voc}
    return str(writers[target](parts, out, links=links))


def _open_for_conversion(path: str, wanted: tuple[SplitName, ...], fix: Fix | None) -> WrittenParts:
    """The splits, with the classes of the first; their problems are reported."""
    from yolor_cfg.data.classes import match_classes
    from yolor_cfg.data.sources import find_listing, find_splits, read_listing
    from yolor_cfg.data.types import LabelChecks
    from yolor_cfg.data.writing.parts import read_part, refuse_no_boxes, renumber_part
    from yolor_cfg.evaluate.ground_truth import problem_lines

    found = {one: find_listing(path, one) for one in wanted} if wanted else find_splits(path)
    opened: dict[SplitName, WrittenPart] = {}
    for split, one in found.items():
        data = read_listing(one, checks=LabelChecks(fix))
        refuse_no_boxes([data])
        report_warnings((), [*problem_lines(data), *_left_out(split, data)])
        names = next((part.data.names for part in opened.values()), data.names)
        part = read_part(data, one.listing, fix)
        matched = match_classes(data, names, source="the other splits", by_number=False)
        opened[split] = renumber_part(part, matched)
    if not wanted and "val" not in opened:
        way = f"`yolor data split {shell_word(path)} --val 0.2` makes one"
        report_warnings((), [f"{path}: no val split is written: {way}"])
    return opened


def _unwritten_splits(path: str, opened: WrittenParts) -> list[str]:
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
