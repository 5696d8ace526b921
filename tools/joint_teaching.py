"""Train a small network on few labelled images, alone and taught by a large one that is finished.

    python tools/joint_teaching.py [--ways alone,none,plain,z] [--seeds 0,1,2] [--images 48] [--epochs 40]

The small network is yolor_micro, the large one weights/yolor_nano_shapes.pt, of four times its parameters;
images are drawn. The ways are those of --joint-align. Each finished run appends a row with its AP to
docs/experiments/joint.csv; runs that have a row there are skipped, so a later call continues.
"""

from __future__ import annotations

import csv
import itertools
import re
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from several_data import Silence, draw_once

from yolor_cfg.data.shapes import KINDS
from yolor_cfg.data.write_shapes import ShapesOptions
from yolor_cfg.evaluate.run import evaluate
from yolor_cfg.graph import load_graph
from yolor_cfg.networks.catalog import Changes, new_cfg
from yolor_cfg.train.joint import watch_features
from yolor_cfg.train.loop import train
from yolor_cfg.train.run import build_state
from yolor_cfg.train.settings import TrainOptions
from yolor_cfg.train.setup import Job, prepare_job

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs/experiments/joint.csv"
LARGE = ROOT / "weights/yolor_nano_shapes"
COLUMNS = ("way", "seed", "images", "epochs", "AP", "AP50", "seconds")
WAYS = ("alone", "none", "plain", "z")
SIDE, TESTED = 192, 200


def write_small(folder: Path) -> Path:
    """The cfg of the small network, with the size and the anchors of the large one."""
    large = load_graph(LARGE.with_suffix(".cfg")).heads[0].section
    text = new_cfg("yolor_micro", Changes(large.values["classes"], SIDE))
    anchors = large.lines["anchors"].value
    path = folder / "small.cfg"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"(?m)^anchors=.*$", f"anchors={anchors}", text))
    return path


def plan_job(folder: Path, way: str, *, seed: int, images: int, epochs: int) -> Job:
    """The training of one way, on images that depend on the seed."""
    data, tested = folder / f"train{images}-{seed}", folder / "test"
    drawn = ShapesOptions(images, (SIDE, SIDE), KINDS["coloured"], 0)
    draw_once(data, drawn, seed=300 + seed, tint=None)
    draw_once(tested, drawn._replace(image_count=TESTED, val_count=TESTED), seed=299, tint=None)
    options = TrainOptions(
        str(write_small(folder)),
        str(data / "shapes.data"),
        val_data=str(tested / "shapes.data"),
        epochs=epochs,
        batch_size=8,
        update_batch=8,
        hyp="small",
        optimizer="adamw",
        workers=0,
        cache=1.0,
        seed=seed,
        joint=None if way == "alone" else f"{LARGE}.pt",
        joint_align="none" if way == "alone" else way,
    )
    return prepare_job(options)


def run_way(folder: Path, way: str, *, seed: int, images: int, epochs: int) -> dict[str, object]:
    """The row of one run."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    job = plan_job(folder, way, seed=seed, images=images, epochs=epochs)
    holdout, job = job.holdout, replace(job, holdout=job.holdout._replace(samples=()))
    state = build_state(job, say=lambda text: None)
    with watch_features(state.teacher, state.network):
        train(job, state, Silence())
    scores = evaluate(state.eval_network, holdout)
    seconds = round(time.perf_counter() - began, 1)
    values = (way, seed, images, epochs, round(scores.ap, 5), round(scores.ap50, 5), seconds)
    return dict(zip(COLUMNS, values, strict=True))


def read_rows() -> list[dict[str, str]]:
    """The rows that are there."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append_row(row: dict[str, object]) -> None:
    """Add a row to the table."""
    is_new = not TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


@click.command()
@click.option("--ways", default=",".join(WAYS), show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--images", default=48, show_default=True, help="Labelled images.")
@click.option("--epochs", default=40, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("joint_teaching"), show_default=True)
def main(ways: str, seeds: str, images: int, epochs: int, folder: Path) -> None:
    """Run what has no row yet."""
    torch.set_num_threads(1)
    done = {tuple(row[name] for name in COLUMNS[:4]) for row in read_rows()}
    for seed, way in itertools.product(map(int, seeds.split(",")), ways.split(",")):
        if (way, str(seed), str(images), str(epochs)) in done:
            continue
        row = run_way(folder, way, seed=seed, images=images, epochs=epochs)
        append_row(row)
        click.echo("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
