"""The command lines that people bring from YOLOR and Darknet: taken with the same meaning, or answered with
the new form."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import click

from yolor_cfg.export.facts import is_exported

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".safetensors")
SIZE_OPTIONS = ("--img-size", "--img", "--imgsz")
SMALLEST_SIZE = 32
"""Pixels; a smaller number behind an image size is the number of a camera."""

VALUE_OR_NONE = ("tile", "cache")
"""Options that take a number or nothing; none of these numbers is negative."""
NEGATIVE = re.compile(r"-[0-9.].*", re.DOTALL)
SPLITS = ("train", "val", "test")
"""What YOLOR's `--task` may be; no task may be called so."""

NETWORK_ALONE = {
    "dialect": "--dialect",
    "strict": "--strict",
    "cutoff": "--cutoff",
    "no_rewrite": "--no-rewrite",
    "task": "--task",
}
"""Options on how a network is read and built."""
NOT_GIVEN: tuple[Any, ...] = (None, False, ())
OTHER_EXPORTS = (".pt2", ".html", ".ncnn.param", ".ncnn.bin")
"""Files that `yolor export` writes for other programs."""


class NetworkPaths(NamedTuple):
    """The cfg (None: that which the weights hold), the weights (None: not given), and the other arguments."""

    cfg: str | None
    weights: str | None
    others: tuple[str, ...] = ()

    @property
    def network(self) -> str | None:
        """The file that describes the network: the cfg, or a checkpoint, which holds its own."""
        return self.cfg or (self.weights if self.weights and _holds_cfg(self.weights) else None)


def sort_paths(paths: Sequence[str], *, cfg: str | None = None, weights: str | None = None) -> NetworkPaths:
    """Which of the arguments is the cfg and which the weights, where options do not say so: in either order,
    and a checkpoint needs no cfg."""
    rest = list(paths)
    for path in rest:
        if path.lower().endswith(OTHER_EXPORTS):
            raise click.UsageError(f"{path}: of the files of `yolor export` only .onnx and .xml run here")
    if rest and rest[0].lower().endswith(".data"):
        raise click.UsageError(
            f"{rest[0]} describes data: give it after the paths, as --names {rest[0]} or --data {rest[0]}"
        )
    if not cfg:
        cfg = _find_cfg(rest, weights)
        if cfg is not None:
            rest.remove(cfg)
    if not weights and rest:
        weights = rest.pop(0)
    return NetworkPaths(cfg, weights or None, tuple(rest))


def check_exported(files: NetworkPaths, options: Mapping[str, Any]) -> None:
    """Raise UsageError for what an exported file has no use for: a cfg, and how it is read."""
    if not files.weights or not is_exported(files.weights):
        return
    given = [
        word
        for name, word in NETWORK_ALONE.items()
        if name != "strict" and options.get(name) not in NOT_GIVEN
    ]
    if files.cfg or given:
        found = files.cfg or given[0]
        raise click.UsageError(
            f"{found}: {files.weights} is an exported file, and holds its network: leave this out"
        )


def _find_cfg(paths: Sequence[str], weights: str | None) -> str | None:
    stated = [path for path in paths[: 1 if weights else 2] if path.lower().endswith(".cfg")]
    if stated or not paths:
        return stated[0] if stated else None
    return None if _holds_cfg(weights or paths[0]) else paths[0]


def _holds_cfg(path: str) -> bool:
    if Path(path).suffix.lower() in CHECKPOINT_SUFFIXES or is_exported(path):
        return True
    from yolor_cfg.weights.prefix import is_checkpoint_file

    return is_checkpoint_file(path)


def network_options() -> tuple[Any, ...]:
    """--cfg and --weights, as in YOLOR, for what are arguments here."""
    return (
        click.option("--cfg", "cfg_file", metavar="FILE", type=click.Path(), help="The same as CFG."),
        click.option(
            "--weights", "weights_file", metavar="FILE", type=click.Path(), help="The same as WEIGHTS."
        ),
    )


class Habits(NamedTuple):
    """`changed`: words of other programs, alone or with a value, and what they are here; `answered`: words
    without a place here, and what to do instead. `joins_classes`: numbers behind --classes belong to it."""

    changed: Mapping[str, tuple[str, ...]] = {}
    answered: Mapping[str, str] = {}
    joins_classes: bool = False


class HabitCommand(click.Command):
    """A command that also takes the words of `Habits`."""

    def __init__(self, *args: Any, habits: Habits, **more: Any) -> None:
        super().__init__(*args, **more)
        self.habits = habits

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Translate the words, then parse them as click does."""
        _refuse_negative_values(self, ctx, args)
        return super().parse_args(ctx, self._translate(ctx, args))

    def _translate(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not self.habits.joins_classes:
            return translate(args, self.habits)
        joined = translate(args, self.habits)
        values, _, _ = self.make_parser(ctx).parse_args(list(joined))
        # What was not given has a marker of click's.
        given: dict[str, Any] = {
            name: value for name, value in values.items() if isinstance(value, (str, tuple, list))
        }
        paths, cfg, weights = given.get("paths", ()), given.get("cfg_file"), given.get("weights_file")
        has_source = given.get("sources") or sort_paths(paths, cfg=cfg, weights=weights).others
        # A number is a camera where nothing else is a source.
        return joined if has_source else translate(args, self.habits._replace(joins_classes=False))


def _refuse_negative_values(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Raise BadParameter for a negative number behind an option that takes a number or nothing: click would
    look for an option of that name."""
    lone = {word: one for one in command.params if one.name in VALUE_OR_NONE for word in one.opts}
    for word, following in pairwise([*takewhile("--".__ne__, args), ""]):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name in lone and NEGATIVE.fullmatch(value):
            lone[name].type.convert(value, lone[name], ctx)


def translate(args: Sequence[str], habits: Habits) -> list[str]:
    """The arguments in today's words; raises UsageError for an option that has no place here."""
    rest, done = deque(args), list[str]()
    while rest:
        word = rest.popleft()
        if word == "--":
            return [*done, word, *rest]
        _refuse_strange_option(word, rest, habits)
        done += _translate_word(word, rest, habits)
    return done


def _refuse_strange_option(word: str, rest: deque[str], habits: Habits) -> None:
    """Answer an option without a place here, or a value of one: `--task study`."""
    name, _, value = word.partition("=")
    pair = f"{name} {value or (rest[0] if rest else '')}"
    for known in (name, pair):
        if known in habits.answered:
            raise click.UsageError(f"{known}: {habits.answered[known]}")


def _translate_word(word: str, rest: deque[str], habits: Habits) -> list[str]:
    """The words that stand for this one; the values of an option are taken from the rest."""
    name, equals, value = word.partition("=")
    pair = f"{name} {value if equals else rest[0] if rest else ''}"
    if pair in habits.changed:
        if not equals:
            rest.popleft()
        return [*habits.changed[pair]]
    if name in habits.changed:
        return [*habits.changed[name], *([value] if equals else [])]
    takes_all = name in SIZE_OPTIONS or (name == "--classes" and habits.joins_classes)
    if not takes_all or not (equals or rest):
        return [word]
    first = value if equals else rest.popleft()
    if name in SIZE_OPTIONS:
        return [name, _take_sizes(name, first, rest)]
    return [name, ",".join([first, *_take_numbers(rest)])]


def _take_sizes(name: str, first: str, rest: deque[str]) -> str:
    """The size, which may stand twice, as YOLOR's for training and testing do."""
    sizes = [first, *_take_numbers(rest, least=SMALLEST_SIZE)] if first.isdecimal() else [first]
    if len(set(sizes)) > 1:
        raise click.UsageError(
            f"{name} {' '.join(sizes)}: a network has one size: {name} {sizes[0]} for a square, "
            f"{name} {sizes[0]}x{sizes[1]} for height x width; "
            "`yolor test` takes a size of its own"
        )
    return first


def _take_numbers(rest: deque[str], *, least: int = 0) -> list[str]:
    taken: list[str] = []
    while rest and rest[0].isdecimal() and len(rest[0]) < 6 and int(rest[0]) >= least:
        taken.append(rest.popleft())
    return taken


DARKNET_COMMANDS = {
    name: f"C Darknet's command lines are run by `yolor darknet {name} ...`"
    for name in ("detector", "classifier", "classify", "partial", "average", "statistics", "oneoff")
}
"""What C Darknet's commands are here."""
ONE_DEVICE = "the device is --device 0; several GPUs: torchrun --nproc-per-node N -m yolor_cfg train ..."
LETTERBOX = ("--preprocess", "letterbox")
NO_AUGMENT = "there is no test by several augmented copies of an image; leave it out"
NO_OVERWRITING = "results are never overwritten: a NAME that exists becomes NAME2, NAME3, ..."
NO_LOGGING = (
    "nothing is sent to other services; the figures are in the run's folder: results.csv, metrics.jsonl; "
    "--log tensorboard writes them for TensorBoard, with pictures of batches"
)
SINGLE_CLASS = (
    "a class less is a matter of the cfg and of the data: `yolor cfg set-classes CFG 1`, and a data set with "
    "one class"
)
DETECT_HABITS = Habits(
    {
        "--agnostic": ("--agnostic-nms",),
        "--view-img": ("--show",),
        "-dont_show": (),
        "-letter_box": LETTERBOX,
        "-i": ("--device",),
    },
    {
        "-out": "--save-darknet json=FILE writes Darknet's file; --save-json writes detections.jsonl into "
        "the folder of the results",
        "-out_filename": "--project FOLDER and --name NAME are where the results go",
        "-save_labels": "--save-txt writes labels into the folder of the results",
        "--augment": NO_AUGMENT,
        "--update": "weights are never changed by a detection; "
        "`yolor convert IN OUT` writes a checkpoint without the state of its training",
        "--exist-ok": NO_OVERWRITING,
    },
    joins_classes=True,
)
TEST_HABITS = Habits(
    {
        **{f"--task {split}": ("--split", split) for split in SPLITS},
        "--save-json": ("--save",),
        "-dont_show": (),
        "-letter_box": LETTERBOX,
        "-i": ("--device",),
    },
    {
        "--augment": NO_AUGMENT,
        "--single-cls": SINGLE_CLASS,
        "--save-txt": "predictions.json in the folder of the results has all boxes; "
        "`yolor detect CFG WEIGHTS SOURCE --save-txt` writes labels",
        "--save-conf": "predictions.json in the folder of the results has all scores; "
        "`yolor detect CFG WEIGHTS SOURCE --save-conf` writes them into labels",
        "--task study": "one size a run: `yolor test CFG WEIGHTS --data D --img-size N` for each N",
        "--task speed": "every test prints its speed",
        "--exist-ok": NO_OVERWRITING,
    },
)
TRAIN_HABITS = Habits(
    {
        "--adam": ("--optimizer", "adam"),
        "--notest": ("--val-period", "0"),
        "--noautoanchor": (),  # anchors are never changed by training
        "--cache-images": ("--cache=1000",),
        "-dont_show": (),
        "-map": (),  # every epoch ends with a test
        "-clear": (),  # a run begins at iteration 0 unless it is resumed
        "-i": ("--device",),
    },
    {
        "-gpus": ONE_DEVICE,
        "--nosave": "weights/last.pt is written after each epoch, so that --resume can go on; no other "
        "checkpoint is kept without --save-period",
        "--evolve": "hyperparameters are not searched for; `--hyp FILE.yaml` takes yours",
        "--bucket": NO_LOGGING,
        "--log-imgs": NO_LOGGING,
        "--image-weights": "images are not drawn by the AP of their classes; list the rare ones twice",
        "--single-cls": SINGLE_CLASS,
        "--local_rank": "start with torchrun, which needs no such option: "
        "torchrun --nproc-per-node N -m yolor_cfg train ...",
        "--exist-ok": NO_OVERWRITING,
    },
)
