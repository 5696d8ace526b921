"""The splits of a data set: how their files and folders are called, and what to do where one is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import DataError, shell_word

SPLIT_WORDS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "train2017", "train2014", "trainval"),
    "val": ("val", "valid", "validation", "val2017", "val2014"),
    "test": ("test", "testing", "test2017", "test2014"),
}
STAND_INS: dict[SplitName, tuple[SplitName, ...]] = {"train": (), "val": ("test",), "test": ("val",)}
"""Which split is read where there is no such one, with a note."""
UNDIVIDED = "images that are not divided into splits"


class MissingSplit(DataError):
    """The data set has no such split; `is_undivided` if it has none at all."""

    is_undivided = False


def missing_split(
    split: SplitName, path: str, *, found: str = UNDIVIDED, allowed: Sequence[str] = ()
) -> MissingSplit:
    """The error for a data set without this split, with the ways out."""
    divide = f"`yolor data split {shell_word(path)} --val 0.2"
    ways = {
        "val": f"{divide}` divides the images; `yolor train --val-data D` validates on others, "
        "`--no-val` on none; `yolor test --split train` takes these",
        "test": f"{divide} --test 0.1` divides the images; `yolor test --split train` takes these",
        "train": "",
    }
    return MissingSplit(f"no {split} split", path=path, found=found, allowed=allowed, hint=ways[split])


def split_of_name(name: str) -> SplitName | None:
    """The split that a file's name tells: val of `instances_val2017.json`; None if it tells none or two."""
    words = re.split(r"[^a-z]+", os.path.splitext(os.path.basename(name))[0].lower())
    told = [split for split, known in SPLIT_WORDS.items() if not set(known).isdisjoint(words)]
    return told[0] if len(told) == 1 else None


def split_of_folder(folder: str) -> SplitName | None:
    """The split that a folder is called after, or images/ in it."""
    parts = os.path.abspath(folder).lower().split(os.sep)
    name = parts[-2] if parts[-1] in ("images", "jpegimages") and len(parts) > 1 else parts[-1]
    return next((split for split, words in SPLIT_WORDS.items() if name in words), None)


def refuse_undivided(split: SplitName, told: SplitName | None, path: str) -> None:
    """Raise MissingSplit unless images without splits may count as this one: as train, or as they are
    called."""
    if split not in ("train", told):
        fault = missing_split(split, path)
        fault.is_undivided = True
        raise fault
