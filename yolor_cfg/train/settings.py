"""The training options, as plain values that are saved in args.yaml."""

from __future__ import annotations

import importlib.util
import math
import types
import typing
from typing import Any, NamedTuple

from yolor_cfg.arguments import TRAIN_BOUNDS, parse_size
from yolor_cfg.data.types import Fix
from yolor_cfg.data.union import GivenData, parse_given
from yolor_cfg.errors import CfgError, MissingExtra, describe
from yolor_cfg.lang.dialect import DIALECTS
from yolor_cfg.parallel import this_process

BY_Z, NO_FEATURES = "z", "none"
"""How features are brought to those of a large network: by a map with implicit knowledge; not at all."""
TENSORBOARD = "tensorboard"
CHOICES: dict[str, tuple[str | None, ...]] = {
    "recipe": (None, "yolor", "darknet", "paper"),
    "optimizer": (None, "sgd", "adam", "adamw"),
    "train_only": (None, "implicit"),
    "precision": ("fp32", "bf16", "fp16"),
    "unlabeled": ("spare", "mask", "negative"),
    "fix_labels": (None, "clip", "drop"),
    "dialect": (None, *DIALECTS),
    "joint_align": (BY_Z, "plain", NO_FEATURES),
    "log": (None, TENSORBOARD),
}
LISTS_OF_PATHS = ("data", "val_data", "joint_images")


class TrainOptions(NamedTuple):
    """None stands for the value in the cfg, or for the default of its dialect.

    `batch_size` is the number of images per forward pass over all processes, `update_batch` that per update.
    `max_batches` counts updates of the weights at the nominal accumulation, as in Darknet. `freeze` is the
    number of first layers that are not trained; with `train_only` "implicit", of the others only those with
    implicit knowledge are. `cache` is the size of the cache of decoded images in gigabytes. `save_steps`
    saves the state every so many updates, `save_period` a checkpoint every so many epochs, `val_period` tests
    every so many epochs; 0 means only at the end. `data` may be several data sets, each perhaps as
    `TASK=PATH`; by `data_weights` they share the images of an epoch, without them by their sizes. `val_data`
    is tested instead of the val split of `data`, with `no_val` nothing is. `task` names a task that is added
    to the network of `weights`.
    `joint` is the cfg or checkpoint of a large network that teaches this one, `joint_weights` its weights,
    `joint_align` how its features do, `joint_images` images without labels that it teaches alone; if it
    `joint_learns`, it learns from the labels at the same time, with weights or from nothing.
    `unlabeled` says what is taught of classes that a data set does not label;
    `loss_weights` is `learned`, or factors as `labels=0.5,boxes=2`. `log` names a program that is told how
    the run goes, besides the files of its folder.
    """

    cfg: str
    data: str | tuple[str, ...]
    weights: str | None = None
    cutoff: int | None = None
    epochs: int | None = None
    max_batches: int | None = None
    batch_size: int | None = None
    update_batch: int | None = None
    img_size: int | tuple[int, int] | None = None
    hyp: str | None = None
    recipe: str | None = None
    optimizer: str | None = None
    freeze: int = 0
    train_only: str | None = None
    multi_scale: bool = False
    rect: bool = False
    cache: float = 0.0
    workers: int = 2
    precision: str = "fp32"
    fix_labels: Fix | None = None
    ema: bool | None = None
    sync_bn: bool = False
    seed: int = 0
    deterministic: bool = False
    patience: int = 0
    save_period: int = 0
    save_steps: int = 0
    val_period: int = 1
    device: str = "cpu"
    dialect: str | None = None
    strict: bool = False
    ignore_orientation: bool = False
    max_pixels: int | None = None
    by_number: bool = False
    val_data: str | tuple[str, ...] | None = None
    no_val: bool = False
    task: str | None = None
    data_weights: tuple[float, ...] | None = None
    unlabeled: str = "spare"
    loss_weights: str | None = None
    joint: str | None = None
    joint_weights: str | None = None
    joint_align: str = BY_Z
    joint_images: str | tuple[str, ...] | None = None
    joint_learns: bool = False
    log: str | None = None

    @property
    def data_sets(self) -> tuple[GivenData, ...]:
        """The data sets to train on."""
        return _parse_all(self.data)

    @property
    def val_sets(self) -> tuple[GivenData, ...]:
        """The data sets to validate on."""
        return _parse_all(self.val_data or self.data)

    @property
    def joint_sets(self) -> tuple[str, ...]:
        """The images that the large network alone teaches."""
        images = self.joint_images or ()
        return (images,) if isinstance(images, str) else images

    def to_dict(self) -> dict[str, Any]:
        """The options as YAML values."""
        values = self._asdict()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TrainOptions:
        """The inverse of `to_dict`; raises OptionFault at a value that its option cannot have."""
        pairs = ((name, tuple(v) if isinstance(v, list) else v) for name, v in values.items())
        same: dict[str, Any] = dict(pairs)
        options = TrainOptions(**same)
        for name, value in options._asdict().items():
            if not _is_valid(name, value):
                raise OptionFault(name, describe(values[name]), _describe_allowed(name))
        return options


def _parse_all(data: str | tuple[str, ...]) -> tuple[GivenData, ...]:
    return tuple(map(parse_given, (data,) if isinstance(data, str) else data))


def refuse_contradictions(options: TrainOptions) -> None:
    """Raise CfgError for options that do not go together, MissingExtra for one whose program is not here."""
    if options.precision == "fp16" and not options.device.startswith("cuda"):
        raise CfgError("fp16 is for CUDA", found=f"--device {options.device}", allowed="fp32, bf16")
    if options.rect and this_process().world_size > 1:
        raise CfgError(
            "rectangular batches are not all of one length, so one process must have them",
            found=f"--rect with {this_process().world_size} processes",
        )
    if options.epochs and options.max_batches:
        raise CfgError("give --epochs or --max-batches, not both")
    if options.val_data and options.no_val:
        raise CfgError("give --val-data or --no-val, not both")
    if options.patience and (options.no_val or not options.val_period):
        raise CfgError(
            "training stops early by what tests during it say",
            found=f"--patience {options.patience} with {'--no-val' if options.no_val else '--val-period 0'}",
            allowed="--patience with tests: --val-period 1 or more",
        )
    if options.joint_learns and options.task:
        raise CfgError(
            "a task is added to a network that is finished, so a large one does not learn with it",
            found=f"--joint-learns with --task {options.task}",
            allowed="a finished large network: --joint without --joint-learns",
        )
    if not options.joint:
        _refuse_idle_teaching(options)
    if options.log == TENSORBOARD and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra(TENSORBOARD)


def _refuse_idle_teaching(options: TrainOptions) -> None:
    """Raise CfgError for options of a large network where there is none."""
    given = {
        "--joint-images": (options.joint_sets or (None,))[0],
        "--joint-weights": options.joint_weights,
        "--joint-align": None if options.joint_align == BY_Z else options.joint_align,
        "--joint-learns": "" if options.joint_learns else None,
    }
    for option, value in given.items():
        if value is not None:
            raise CfgError(
                "there is no large network that teaches",
                found=f"{option} {value}".strip(),
                allowed="--joint LARGE besides",
            )


class OptionFault(ValueError):
    """The option, the value found, and those allowed."""

    def __init__(self, key: str, found: str, allowed: str) -> None:
        super().__init__(f"{key}: {found}")
        self.key, self.found, self.allowed = key, found, allowed


def _is_valid(name: str, value: Any) -> bool:
    """Whether the value has the kind that the command gives this option."""
    if name in CHOICES:
        return value in CHOICES[name]
    kinds = _option_types(name)
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        return False
    if name == "img_size":
        return value is None or _is_size(value)
    if isinstance(value, tuple):
        return _is_list_of(value, str if name in LISTS_OF_PATHS else float)
    least, most = TRAIN_BOUNDS.get(name, (0, 0))
    return not least < most or value is None or least <= value <= most


def _is_list_of(values: tuple[Any, ...], kind: type) -> bool:
    """Whether it has members, all of them texts, or numbers from 0 on of which one is more."""
    if kind is str:
        return bool(values) and all(isinstance(value, str) for value in values)
    numbers = [value for value in values if type(value) in (int, float) and 0 <= value < math.inf]
    return len(numbers) == len(values) > 0 and any(numbers)


def _is_size(value: Any) -> bool:
    try:
        return bool(parse_size(value) == value)
    except ValueError:
        return False


def _describe_allowed(name: str) -> str:
    """The values of an option, in words, as YAML writes them."""
    if name in CHOICES:
        return ", ".join("null" if word is None else word for word in CHOICES[name])
    kinds = _option_types(name)
    words = ["true", "false"] if bool in kinds else ["text"] if str in kinds else []
    if name == "img_size":
        words = ["a number of pixels", "[height, width]"]
    elif tuple in kinds:
        words = ["a text", "a list of texts"] if name in LISTS_OF_PATHS else ["a list of numbers"]
    elif name in TRAIN_BOUNDS:
        least, most = TRAIN_BOUNDS[name]
        words = [f"{'a' if float in kinds else 'a whole'} number from {least} to {most}"]
    return " or ".join([*words, *(["null"] if types.NoneType in kinds else [])])


def _option_types(name: str) -> tuple[type, ...]:
    return _plain_types(typing.get_type_hints(TrainOptions)[name])


def _plain_types(hint: Any) -> tuple[type, ...]:
    """The classes of a hint such as `int | tuple[int, int] | None`."""
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(typing.get_origin(part) or part for part in parts)
