"""Train one network on two drawn data sets that each label half of the classes, in several ways, and write
the AP of each half on images that are labelled in full.

    python tools/several_data.py [--ways negative,full,ignore+spare] [--seeds 0,1,2] [--epochs 20]

`negative` takes what a data set does not label for background, `full` has all labels: the bounds. The others
are rules of train/losses/partial.py, CELLS+CLASSES. Each finished run appends a row to
docs/bench/several_data.csv; runs that have a row there are skipped, so a later call continues.
"""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
import torch

from yolor_cfg.data.shapes import KINDS, NAMES
from yolor_cfg.data.sources import open_data
from yolor_cfg.data.union import GivenData, unite
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.evaluate.run import evaluate
from yolor_cfg.train.loop import train
from yolor_cfg.train.losses.partial import UnlabeledRules
from yolor_cfg.train.run import build_state
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job, prepare_job

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs/bench/several_data.csv"
LAYERS = ((16, 2), (32, 2), (64, 2), (96, 1), (64, 1))
"""Filters and strides of the convolutions before the head."""
HALVES = NAMES[:3], NAMES[3:]
KEYS = ("looks", "way", "seed", "images", "epochs")
TINTS = (1.0, 0.9, 0.7), (0.7, 0.9, 1.0)
"""Factors of blue, green and red."""
WAYS = {
    "negative": None,
    "full": None,
    "ignore+spare": UnlabeledRules("ignore"),
    "ignore+mask": UnlabeledRules("ignore", classes="mask"),
    "ignore+teach": UnlabeledRules("ignore", classes="teach"),
    "weigh+spare": UnlabeledRules("weigh"),
    "weigh+teach": UnlabeledRules("weigh", classes="teach"),
    "none+spare": UnlabeledRules("none"),
    "ignore.01+spare": UnlabeledRules("ignore", 0.01),
}
"""The rules for unlabelled classes; None: the data set is taken to label all."""


class Experiment(NamedTuple):
    """What all runs have in common: whether both data sets look the `same` or are tinted in `two` colours,
    the images of each, their side in pixels, test images, half of either look, and epochs."""

    looks: str = "same"
    counts: tuple[int, int] = (240, 240)
    size: int = 96
    tested: int = 240
    epochs: int = 20


class Silence:
    """Watches a training and keeps nothing."""

    is_stop_requested = False

    def log_batch(self, state: Any, batch: Any, losses: Any) -> None:
        """Nothing."""

    def log_test_fault(self, state: Any, fault: Exception) -> None:
        """Nothing."""

    def log_epoch(self, state: Any, scores: Any, *, best: bool) -> None:
        """Nothing."""

    def save(self, state: Any) -> None:
        """Nothing."""


def network_text(size: int) -> str:
    """Some convolutions and one head of stride 8: a network that learns drawn shapes in minutes."""
    net = f"[net]\ndialect=yolor\nheight={size}\nwidth={size}\nchannels=3\nbatch=8\n"
    block = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride={}\npad=1\nactivation=silu\n"
    body = "".join(block.format(filters, stride) for filters, stride in LAYERS)
    last = f"[convolutional]\nfilters={3 * (5 + len(NAMES))}\nsize=1\nactivation=linear\n"
    anchors = "[yolo]\nmask=0,1,2\nnum=3\nanchors=10,10, 20,20, 36,36\nclasses="
    return f"{net}{body}{last}{anchors}{len(NAMES)}\n"


def draw_data(folder: Path, plan: Experiment) -> None:
    """Both data sets, with half of the labels and with all, and the test images."""
    size = (plan.size, plan.size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.cfg").write_text(network_text(plan.size))
    for number, (count, half) in enumerate(zip(plan.counts, HALVES, strict=True)):
        tint = TINTS[number] if plan.looks == "two" else None
        drawn = ShapesOptions(count, size, KINDS["coloured"], 0)
        draw_once(folder / f"half{number}", drawn._replace(annotated=half), seed=100 + number, tint=tint)
        draw_once(folder / f"full{number}", drawn, seed=100 + number, tint=tint)
        tested = drawn._replace(image_count=plan.tested // 2, val_count=plan.tested // 2)
        draw_once(folder / f"test{number}", tested, seed=200 + number, tint=tint)


def draw_once(folder: Path, wanted: ShapesOptions, *, seed: int, tint: Sequence[float] | None) -> None:
    """A data set, unless it is there; its channels times the tint."""
    if folder.exists():
        return
    write_shapes(folder, wanted, seed=seed)
    for path in sorted((folder / "images").iterdir()) if tint else ():
        bgr = cv2.imread(str(path))
        assert bgr is not None, path
        cv2.imwrite(str(path), (bgr * np.array(tint)).clip(0, 255).astype(np.uint8))


def plan_job(folder: Path, plan: Experiment, way: str, *, seed: int) -> Job:
    """The training of one way."""
    kind = "full" if way == "full" else "half"
    data = tuple(str(folder / f"{kind}{number}" / "shapes.data") for number in range(2))
    options = TrainOptions(
        str(folder / "small.cfg"),
        data,
        epochs=plan.epochs,
        batch_size=8,
        update_batch=8,
        img_size=plan.size,
        hyp="small",
        optimizer="adamw",
        workers=0,
        cache=1.0,
        seed=seed,
        no_val=True,
    )
    job = prepare_job(options)
    rules = WAYS[way]
    if rules is not None:
        return replace(job, rules=job.rules._replace(unlabeled=rules))
    every = tuple(range(len(NAMES)))
    parts = tuple(part._replace(known=every) for part in job.dataset.parts)
    return replace(job, dataset=job.dataset._replace(parts=parts))


def measure(folder: Path, plan: Experiment, way: str, *, seed: int) -> dict[str, Any]:
    """The row of one run."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    job = plan_job(folder, plan, way, seed=seed)
    state = build_state(job, say=lambda text: None)
    train(job, state, Silence())
    tests = [open_data(folder / f"test{number}/shapes.data", split="val") for number in range(2)]
    given = [GivenData(f"{number}.data") for number in range(2)]
    scores = evaluate(state.eval_network, unite(tests, given, {})._replace(parts=()))
    by_class = np.array(scores.coco.categories)[:, :2]  # AP, AP50
    halves = {
        f"{name}_{half}": round(float(by_class[rows, column].mean()), 4)
        for column, name in enumerate(("AP", "AP50"))
        for half, rows in (("first", slice(0, 3)), ("second", slice(3, 6)))
    }
    minutes = round((time.perf_counter() - start) / 60, 1)
    f1 = round(float(scores.classes.precision_recall_f1(0.25)[2].mean()), 4)
    whole = {"AP": round(scores.ap, 4), "AP50": round(scores.ap50, 4), "F1_at_0.25": f1}
    key = {"looks": plan.looks, "way": way, "seed": seed}
    images = {"images": "+".join(map(str, plan.counts)), "epochs": plan.epochs}
    return {**key, **images, **whole, **halves, "minutes": minutes}


def read_keys() -> set[tuple[str, ...]]:
    """The runs that have a row."""
    if not TABLE.exists():
        return set()
    with TABLE.open(newline="") as file:
        return {tuple(row[name] for name in KEYS) for row in csv.DictReader(file)}


def append_row(row: dict[str, Any]) -> None:
    """Add a row to the table."""
    is_new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def split_words(context: click.Context, param: click.Parameter, text: str) -> list[str]:
    """The words between commas."""
    return text.split(",")


@click.command()
@click.option("--ways", default=",".join(WAYS), callback=split_words, help="Ways to train.")
@click.option("--seeds", default="0,1,2", callback=split_words, help="Seeds.")
@click.option("--images", default="240,240", callback=split_words, help="Images of each data set.")
@click.option("--looks", default="same,two", callback=split_words, help="The same, or two tints.")
@click.option("--epochs", default=20, help="Epochs.")
@click.option("--folder", default=str(ROOT / "runs/several"), help="Where the images are drawn.")
def main(ways: Sequence[str], seeds: Sequence[str], **options: Any) -> None:
    """Run what has no row yet, and print each row."""
    first, second = map(int, options["images"])
    done = read_keys()
    for seed, looks, way in itertools.product(seeds, options["looks"], ways):
        plan = Experiment(looks, (first, second), epochs=options["epochs"])
        folder = Path(options["folder"]) / f"{looks}-{first}-{second}"
        draw_data(folder, plan)
        if (looks, way, seed, f"{first}+{second}", str(plan.epochs)) not in done:
            row = measure(folder, plan, way, seed=int(seed))
            append_row(row)
            click.echo("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
