"""The record of a run's options, args.yaml: it holds every one of them, so that a gap is a damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolor_cfg.errors import DataError, describe
from yolor_cfg.lang.yaml_text import read_yaml
from yolor_cfg.train.settings import OptionFault, TrainOptions

ARGS = "args.yaml"
LATER = (
    *("train_only", "ignore_orientation", "max_pixels", "by_number", "val_data", "no_val", "task"),
    *("data_weights", "unlabeled", "loss_weights", "joint", "joint_weights", "joint_align", "joint_images"),
    *("joint_learns", "log"),
)
"""The options that runs of the first versions do not have."""
RESTORE = "restore the file: it holds every option of the run; or start a new run with --weights"


def load_options(folder: Path) -> TrainOptions:
    """The options that a run was started with; raises DataError if they are not all there."""
    path = folder / ARGS
    if not path.exists():
        hint = f"give the folder with {ARGS} and weights/last.pt"
        found = f"no {ARGS} in it" if folder.is_dir() else "no such folder"
        raise DataError("not the folder of a training run", path=str(folder), found=found, hint=hint)
    try:
        values = read_yaml(path, fault=DataError, what="the record of the run's options")
        _check_keys(values)
        return TrainOptions.from_dict(values)
    except OptionFault as fault:
        raise DataError(
            "not a value of this option",
            path=str(path),
            key=fault.key,
            found=fault.found,
            allowed=fault.allowed,
            hint=RESTORE,
        ) from None
    except DataError as fault:
        fault.path, fault.hint = str(path), fault.hint or RESTORE
        raise


def _check_keys(values: Any) -> None:
    """Raise DataError unless these are the options of a run, all of them."""
    if not isinstance(values, dict):
        raise DataError("not the options of a run", found=describe(values), allowed="key: value")
    missing = [name for name in TrainOptions._fields if name not in values and name not in LATER]
    unknown = [
        name if isinstance(name, str) else describe(name) for name in values.keys() - TrainOptions._fields
    ]
    parts = [("missing", missing), ("unknown", sorted(unknown))]
    found = "; ".join(f"{title}: {', '.join(names)}" for title, names in parts if names)
    if found:
        raise DataError("not the options of a run as they were saved", found=found)
