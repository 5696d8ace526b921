"""The folder that a run was started in: its paths lead to its data from there."""

from __future__ import annotations

import json
import os
from contextlib import chdir
from pathlib import Path

from yolor_cfg.data.sources import find_listing
from yolor_cfg.data.types import SplitName
from yolor_cfg.errors import CfgError, DataError, YolorError
from yolor_cfg.files import read_bounded
from yolor_cfg.lang.syntax import Document, parse_bytes
from yolor_cfg.train.hyperparameters import unused_hyperparameters
from yolor_cfg.train.settings import TrainOptions

ENVIRONMENT = "env.json"
FOLDER, CFG = "folder", "cfg"
"""The entries of the environment that name the folder and the cfg."""
MODEL = "model.cfg"
TRIED = 100
"""So many images are looked for."""


def find_origin(folder: Path, options: TrainOptions) -> Path:
    """The folder to resume a run in: the current one if the data are found from there, else the one that the
    run was started in. Raises the error about the data if they are found from neither."""
    here, start = Path.cwd(), _starting_folder(folder)
    fault = None if start == here else _find_fault(options)
    if fault is None:
        return here
    if start is not None and start.is_dir():
        with chdir(start):
            if _find_fault(options) is None:
                return start
    place = f"in {start}" if start else "in another folder, perhaps: resume it there"
    hint = f"paths of a run are those of the folder where it was started, {place}"
    fault.hint = "; ".join(filter(None, [fault.hint, hint]))
    raise fault


def _starting_folder(folder: Path) -> Path | None:
    """The folder of the run's record; None if there is none."""
    return _read_record(folder, FOLDER)


def _read_record(folder: Path, entry: str) -> Path | None:
    try:
        return Path(json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))[entry])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def read_run_cfg(folder: Path, options: TrainOptions) -> Document:
    """The cfg of a run as one at the path that the run was started with: programs tell strides by it, and
    the files that the cfg names may be beside it. Where its folder is gone, beside the copy in the run."""
    start = _starting_folder(folder) or Path()
    cfg = _read_record(folder, CFG) or start / options.cfg
    place = cfg if cfg.parent.is_dir() else folder / cfg.name
    return parse_bytes(read_bounded(folder / MODEL, fault=CfgError, what="the cfg"), str(place))


def _find_fault(options: TrainOptions) -> YolorError | None:
    """Why the data and the hyperparameters are not found from the current folder; None if they are."""
    try:
        for one in options.data_sets:
            _try_images(one.path, "train")
        for path in options.joint_sets:
            _try_images(path, "train")
        for one in options.val_sets if options.val_data else ():
            _try_images(one.path, "val")
        unused_hyperparameters(options)
    except YolorError as fault:
        return fault
    return None


def _try_images(path: str, split: SplitName) -> None:
    """Raise DataError if the images of a data set, by the first of them, are not there."""
    images = find_listing(path, split, whole=split == "val").listing.images[:TRIED]
    if images and not any(map(os.path.exists, images)):
        raise DataError("images not found", path=path, found=images[0])
