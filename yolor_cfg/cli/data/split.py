"""`yolor data split`: images to train on and images to validate on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from yolor_cfg.cli.data.options import data_argument, fix_option
from yolor_cfg.cli.options import NumberRange, image_options, print_stderr, report_warnings
from yolor_cfg.errors import count_of

if TYPE_CHECKING:
    from yolor_cfg.data.types import Dataset, Fix, SplitName


@click.command()
@data_argument
@click.option(
    "--val",
    type=NumberRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    metavar="0..1",
    help="Share of the images to validate on.",
)
@click.option(
    "--test",
    type=NumberRange(0, 1, max_open=True),
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

    Every class has its share in both, and images that are nearly the same stay together: copies, resized,
    cut or mirrored ones, frames of one scene. The same seed gives the same division. Nothing of DATA is moved
    or changed: the new folder has lists of its images, and the file to give as --data.
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
