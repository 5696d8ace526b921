"""`yolor data duplicates`: images that stand in a data set more than once, leaks between splits first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolor_cfg.cli.data.options import (
    DATA_FAULT_CODE,
    OutputFile,
    data_argument,
    force_option,
    refuse_own_image,
    splits_option,
    tell_written,
)
from yolor_cfg.cli.options import (
    FractionParam,
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
    from yolor_cfg.data.duplicates.findings import DuplicateGroup, Findings, PlacedImage
    from yolor_cfg.data.duplicates.links import LinkedImages
    from yolor_cfg.data.types import SplitName

SUFFIXES = (".html", ".jpg", ".jpeg", ".png")
MOST_SHOWN = 20
PROGRESS_DELAY_S = 1.0
OUTPUT_HELP = """\b
How images belong together:
  file       the same bytes
  pixels     the same pixels in another file
  augmented  copies that Roboflow made of one image, by their names
  near       nearly the same: resized, recompressed, brightened, with a little cut off
  mirrored   the same of a mirrored image

Exit code 3 if images of one split, or of DATA2, belong to images of another: scores on them say
nothing. Images that belong together inside one split are told, and are no error."""


@click.command(epilog=OUTPUT_HELP)
@data_argument
@click.option("--against", type=click.Path(), metavar="DATA2", help="Compare with the images of DATA2 too.")
@splits_option
@click.option(
    "--threshold",
    type=FractionParam(),
    default=0.9,
    show_default=True,
    metavar="0..1",
    help="Likeness from which on two images are nearly the same: the correlation of their details once one "
    "is moved onto the other.",
)
@click.option("--mirrored/--no-mirrored", "mirrors", default=True, help="Look for mirrored images, or not.")
@click.option(
    "--sheet",
    type=OutputFile(SUFFIXES),
    metavar="FILE",
    help="Draw the groups side by side (.html, .jpg, .png).",
)
@click.option(
    "--keep-one",
    "kept",
    type=click.Path(),
    metavar="LIST.txt",
    help="Write a list of the images of train (of the only split, if there is one) without those that belong "
    "to images of other splits or of DATA2, and with one of each group. No image is deleted.",
)
@image_options
@json_option
@force_option
def duplicates(
    path: str,
    against: str | None,
    wanted: tuple[SplitName, ...],
    threshold: float,
    mirrors: bool,
    sheet: Path | None,
    kept: str | None,
    as_json: bool,
    force: bool,
) -> None:
    """Find images of DATA that are the same or nearly so, above all such that stand in two splits."""
    from yolor_cfg.data.duplicates.findings import describe_links

    _check_outputs(sheet, kept, force=force)
    images = _list_images(path, against, wanted)
    for out in (sheet, kept):
        refuse_own_image(None if out is None else Path(out), (image.path for image in images))
    found = describe_links(images, _link([image.path for image in images], threshold, mirrors=mirrors))
    if sheet is not None:
        _save_sheet(found, path, sheet, force=force)
    if kept is not None:
        _save_list(found, kept, force=force)
    if as_json:
        print_json(found.to_json())
    else:
        _report(found)
    if found.leaks:
        raise click.exceptions.Exit(DATA_FAULT_CODE)


def _check_outputs(sheet: Path | None, kept: str | None, *, force: bool) -> None:
    """Refuse files that would not be written, before images are compared for minutes."""
    import os

    from yolor_cfg.errors import DataError, YolorError
    from yolor_cfg.files import check_target

    if sheet is not None and kept is not None and os.path.realpath(sheet) == os.path.realpath(kept):
        raise click.UsageError("--sheet and --keep-one name the same file")
    if sheet is not None:
        check_target(sheet, fault=YolorError, force=force)
    if kept is not None:
        check_target(kept, fault=DataError, force=force)


def _list_images(path: str, against: str | None, wanted: tuple[SplitName, ...]) -> list[PlacedImage]:
    """The images of all sets."""
    from yolor_cfg.data.duplicates.findings import place_images

    parts = _list_splits(path, wanted)
    if against is not None:
        parts |= {f"against {name}": paths for name, paths in _list_splits(against, ()).items()}
    return place_images(parts)


def _list_splits(path: str, wanted: tuple[SplitName, ...]) -> dict[str, Sequence[str]]:
    """The images of each split, whether they have labels or not."""
    from yolor_cfg.data.sources import find_listing, find_splits
    from yolor_cfg.errors import DataError

    found = {split: find_listing(path, split) for split in wanted} if wanted else find_splits(path)
    listed: dict[str, Sequence[str]] = {split: one.listing.images for split, one in found.items()}
    if not any(listed.values()):
        raise DataError("no images found", path=path)
    return listed


def _link(paths: list[str], threshold: float, *, mirrors: bool) -> LinkedImages:
    """The images compared; progress is shown if it takes long."""
    from tqdm import tqdm

    from yolor_cfg.data.duplicates.links import count_steps, link_images
    from yolor_cfg.data.duplicates.prints import read_prints

    hidden = True if is_on("quiet") else None
    with tqdm(total=len(paths), unit="image", delay=PROGRESS_DELAY_S, disable=hidden) as bar:
        prints = read_prints(paths, bar.update)
    shown = prints.faults if is_on("verbose") else prints.faults[:MOST_SHOWN]
    more = len(prints.faults) - len(shown)
    report_warnings((), [*shown, *([f"{more} more images cannot be read: -v"] if more else [])])
    steps = count_steps(len(paths), mirrors=mirrors)
    with tqdm(total=steps, unit="block", delay=PROGRESS_DELAY_S, disable=hidden) as bar:
        return link_images(paths, prints, threshold=threshold, mirrors=mirrors, progress=bar.update)


def _save_sheet(found: Findings, path: str, sheet: Path, *, force: bool) -> None:
    from yolor_cfg.report.dataset.pairs import pairs_sheet
    from yolor_cfg.report.dataset.sheet import write_sheet

    write_sheet(pairs_sheet(found, path), sheet, force=force)
    tell_written(sheet)


def _save_list(found: Findings, target: str, *, force: bool) -> None:
    """The kept images of train, else of the first set."""
    from yolor_cfg.data.duplicates.findings import keep_one
    from yolor_cfg.data.write_splits import list_text
    from yolor_cfg.errors import DataError
    from yolor_cfg.files import replace_file

    sets = list(dict.fromkeys(name for image in found.images for name in image.sets))
    chosen = "train" if "train" in sets else sets[0]
    paths = keep_one(found, chosen)
    if not paths:
        raise DataError(
            "no image would be left", path=target, found=f"every image of {chosen} is a duplicate"
        )
    data = list_text(paths, target)
    replace_file(target, lambda file: file.write(data), fault=DataError, force=force)
    total = sum(chosen in image.sets for image in found.images)
    tell_written(target, f"{len(paths):,} of {count_of(total, 'image', spec=',')} of {chosen}")


def _report(found: Findings) -> None:
    """The counts by kind, then the groups, leaks first."""
    from yolor_cfg.data.duplicates.links import LINK_KINDS

    rows = [["images", f"{len(found.images):,}"]]
    rows += [[words, f"{found.kinds[kind]:,}"] for kind, words in LINK_KINDS.items() if kind in found.kinds]
    rows += [["groups", f"{len(found.groups):,}"], ["groups in several splits", f"{len(found.leaks):,}"]]
    echo("\n".join(format_columns(rows, words={0})))
    shown = found.groups if is_on("verbose") else found.groups[:MOST_SHOWN]
    for group in shown:
        echo()
        echo("\n".join(_group_lines(found, group)))
    if len(shown) < len(found.groups):
        echo(f"\n... {len(found.groups) - len(shown)} more groups: -v shows all, --sheet draws them")
    if found.leaks:
        many = "group of images stands" if len(found.leaks) == 1 else "groups of images stand"
        print_stderr(f"{len(found.leaks)} {many} in several splits", "red")


def _group_lines(found: Findings, group: DuplicateGroup) -> list[str]:
    """The images of a group, each with its set and why it belongs to one before it."""
    reasons = {}
    for link in group.links:
        late = link.other if link.other not in reasons else link.one
        reasons[late] = link.kind if link.score == 1 else f"{link.kind} {link.score:.2f}"
    rows = [
        [", ".join(found.images[member].sets), found.images[member].path, reasons.get(member, "")]
        for member in group.members[: None if is_on("verbose") else 8]
    ]
    title = "leak:" if found.is_leak(group) else "same:"
    lines = [f"{title} {count_of(len(group.members), 'image')}"]
    lines += [f"  {line}" for line in format_columns(rows, words={0, 1, 2})]
    left = len(group.members) - len(rows)
    return [*lines, *([f"  ... {left} more"] if left else [])]
