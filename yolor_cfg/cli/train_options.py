"""The options of `yolor train`."""

from __future__ import annotations

import math
from typing import Any

import click

from yolor_cfg.arguments import TRAIN_BOUNDS
from yolor_cfg.cli.options import (
    NumberRange,
    TextParam,
    cutoff_option,
    device_option,
    dialect_option,
    folder_options,
    json_option,
    report_option,
    several_data_option,
    size_option,
    strict_option,
    train_reading_options,
)
from yolor_cfg.lang.keys import DECIMAL_PATTERN


def number_type(name: str) -> click.IntRange:
    """A number of a training run, within its bounds."""
    return click.IntRange(*TRAIN_BOUNDS[name])


class WeightsParam(TextParam):
    """Numbers with commas between, none below 0, of which one is more."""

    name = "weights"

    def parse(self, text: str) -> tuple[float, ...]:
        """The numbers."""
        words = [word.strip() for word in text.split(",")]
        numbers = [float(word) for word in words if DECIMAL_PATTERN.fullmatch(word)]
        fits = all(0 <= number < math.inf for number in numbers)
        if len(numbers) < len(words) or not fits or not any(numbers):
            raise ValueError(
                f"{text!r} is not numbers with commas between, none below 0 and one above, such as 1,1,2"
            )
        return tuple(numbers)


NEWEST_RUN = "newest"

DATA_OPTIONS = (
    several_data_option,
    click.option(
        "--unlabeled",
        type=click.Choice(["spare", "mask", "negative"]),
        default="spare",
        show_default=True,
        help="What is taught of classes that a data set does not label. spare: nothing where the network "
        "finds them itself; mask: nothing by labelled objects either; negative: that they are not there.",
    ),
    click.option(
        "--loss-weights",
        metavar="learned|NAME=N,...",
        help="Weights of the kinds of loss (boxes, labels, identities; TASK.boxes ... of a task): learned as "
        "uncertainties, or factors; default: those of the recipe.",
    ),
    click.option(
        "--data-weights",
        type=WeightsParam(),
        metavar="N,N,...",
        help="Shares of the data sets in an epoch, in the order of --data, then of --joint-images; "
        "default: by numbers of images.",
    ),
    click.option(
        "--weights",
        type=click.Path(),
        metavar="FILE",
        help="Start from these weights: layers that fit are taken over, classes are matched by name.",
    ),
    cutoff_option,
    click.option(
        "--resume",
        is_flag=False,
        flag_value=NEWEST_RUN,
        metavar="[RUN]",
        help="Resume the run in this folder (or with this last.pt), or the newest run, exactly as if it had "
        "not stopped.",
    ),
    *train_reading_options,
    dialect_option,
    strict_option,
)
DURATION_OPTIONS = (
    click.option(
        "--epochs",
        type=number_type("epochs"),
        metavar="N",
        help="Number of epochs; default: from the cfg's max_batches, else 300.",
    ),
    click.option(
        "--max-batches",
        type=number_type("max_batches"),
        metavar="N",
        help="Train for N weight updates, as Darknet counts them, instead of --epochs.",
    ),
    click.option(
        "--batch-size",
        "--batch",
        "batch_size",
        type=number_type("batch_size"),
        metavar="N",
        help="Mini-batch: images per forward pass over all processes; default: [net] batch / subdivisions.",
    ),
    click.option(
        "--update-batch",
        type=number_type("update_batch"),
        metavar="N",
        help="Images per weight update; default: 64 in YOLOR's recipe, [net] batch in Darknet's.",
    ),
    click.option(
        "--patience",
        type=number_type("patience"),
        default=0,
        metavar="N",
        help="Stop early, after a test, if AP has not improved for N epochs; 0: never.",
    ),
    click.option(
        "--val-period",
        type=number_type("val_period"),
        default=1,
        show_default=True,
        metavar="N",
        help="Validate every N epochs; 0: only at the end.",
    ),
    click.option(
        "--save-period",
        type=number_type("save_period"),
        default=0,
        metavar="N",
        help="Keep a separate checkpoint every N epochs; 0: never.",
    ),
    click.option(
        "--save-steps",
        type=number_type("save_steps"),
        default=0,
        metavar="N",
        help="Write last.pt every N updates as well as after each epoch; 0: never.",
    ),
)
TRAINING_OPTIONS = (
    size_option,
    click.option(
        "--recipe",
        type=click.Choice(["yolor", "darknet", "paper"]),
        help="Augmentation, schedule and batch size: as in YOLOR's code, as in Darknet (by [net]), "
        "or as in YOLOR's paper; default: that of the dialect.",
    ),
    click.option(
        "--hyp",
        metavar="NAME|FILE",
        help="Hyperparameters of YOLOR's recipe: scratch640, scratch1280, finetune1280, small (few "
        "images, few classes), task (implicit knowledge alone; the default with --task), or a .yaml file.",
    ),
    click.option(
        "--optimizer",
        type=click.Choice(["sgd", "adam", "adamw"]),
        help="Optimizer; default: the one in the cfg, else sgd.",
    ),
    click.option(
        "--freeze", type=number_type("freeze"), default=0, metavar="N", help="Freeze the first N layers."
    ),
    click.option(
        "--train-only",
        type=click.Choice(["implicit"]),
        help="Train only the implicit knowledge; all else, batch norm statistics included, stays unchanged.",
    ),
    click.option(
        "--joint",
        type=click.Path(),
        metavar="CFG|CHECKPOINT",
        help="A large network that teaches this one: its predictions and its features are a further target. "
        "It is finished, unless --joint-learns says otherwise.",
    ),
    click.option(
        "--joint-learns",
        is_flag=True,
        help="The large network learns too, from the same labels, at the same rates: from its weights or, "
        "given as a cfg alone, from nothing. It is saved as weights/best_large.pt and last_large.pt.",
    ),
    click.option(
        "--joint-images",
        type=click.Path(),
        multiple=True,
        metavar="FOLDER|LIST|DATA",
        help="Images without labels that the large network alone teaches: a folder, a .txt list, or a data "
        "set, whose labels are not read; give it again for further ones.",
    ),
    click.option("--joint-weights", type=click.Path(), metavar="FILE", help="The weights of --joint CFG."),
    click.option(
        "--joint-align",
        type=click.Choice(["z", "plain", "none"]),
        default="z",
        show_default=True,
        help="How features are brought to those of the large network: by a linear map with implicit "
        "knowledge around it, without, or not at all.",
    ),
    click.option(
        "--task",
        metavar="NAME",
        help="Add a task to the network of --weights: train its implicit knowledge alone, on classes of any "
        "names, and write weights/NAME.task.safetensors.",
    ),
    click.option("--multi-scale", is_flag=True, help="Vary the input size from batch to batch by up to 50%."),
    click.option(
        "--rect", is_flag=True, help="Rectangular batches of images of similar aspect ratio, without mosaic."
    ),
    click.option(
        "--ema/--no-ema",
        default=None,
        help="Validate and save an exponential moving average (EMA) of the weights; default: on, in "
        "Darknet's recipe only if the cfg sets ema_alpha.",
    ),
)
MACHINE_OPTIONS = (
    device_option,
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="auto",
        show_default=True,
        help="Numeric precision of the network; its weights, heads and losses are always float32. auto: bf16 "
        "where the device has it, else fp32, which is exact and slower; fp16 requires CUDA. A resumed run "
        "keeps its own.",
    ),
    click.option(
        "--workers",
        type=number_type("workers"),
        default=2,
        show_default=True,
        metavar="N",
        help="Number of data-loading threads.",
    ),
    click.option(
        "--cache",
        is_flag=False,
        flag_value=1000.0,
        default=0.0,
        type=NumberRange(*TRAIN_BOUNDS["cache"]),
        metavar="[GB]",
        help="Cache decoded images in memory: all of them, or up to GB gigabytes.",
    ),
    click.option("--sync-bn", is_flag=True, help="Synchronise batch norm across all processes."),
    click.option(
        "--seed",
        type=number_type("seed"),
        default=0,
        show_default=True,
        metavar="N",
        help="Random seed; two runs with the same seed are identical on a CPU.",
    ),
    click.option("--deterministic", is_flag=True, help="Make runs reproducible on a GPU too; slower."),
    click.option(
        "--log",
        type=click.Choice(["tensorboard"]),
        help="Write event files for TensorBoard too, into tensorboard/ in the folder of the run (extra "
        "tensorboard); results.csv and metrics.jsonl are written anyway.",
    ),
    *folder_options("runs/train"),
    report_option,
    click.option("--dry-run", is_flag=True, help="Save the first batches as images and exit."),
    json_option,
)
EXAMPLES = """\b
Examples:
  yolor train my.cfg --data my.data --hyp small --optimizer adamw \\
    --batch-size 8 --update-batch 8
  yolor train yolov4.cfg --data voc.data \\
    --weights yolov4.conv.137 --cutoff 137
  yolor train --resume runs/train/exp
  torchrun --standalone --nproc-per-node=2 -m yolor_cfg train my.cfg \\
    --data my.yaml --sync-bn"""


def add_train_options(function: Any) -> Any:
    """Decorate the command with all of them."""
    for option in reversed(DATA_OPTIONS + DURATION_OPTIONS + TRAINING_OPTIONS + MACHINE_OPTIONS):
        function = option(function)
    return function
