"""Train a small network on few labelled images, alone and taught by a large one that is finished.

    python tools/joint_teaching.py [--ways alone,all,none,plain,z] [--seeds 0,1,2] [--unlabeled 432]

The small network is yolor_micro, the large one weights/yolor_nano_shapes.pt, of 4.4 times its parameters (its
layers are twice as wide); with --width 0.5 the small one's are half as wide as yolor_micro's. Images are
drawn; the first --images of each seed are labelled, and the large network teaches the --unlabeled ones after
them too. The ways: `alone`, the labelled images without the large network; `all`, all of them labelled,
without it; and those of --joint-align. An epoch of every way has as many images as there are, so that all
take the same number of steps. Each finished run adds a row with its AP to docs/experiments/joint.csv; runs
that have a row there are skipped, so a later call continues.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from implicit_table import FOLDER, RunTable, run_missing
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

LARGE = Path(__file__).resolve().parents[1] / "weights/yolor_nano_shapes"
KEYS = ("way", "seed", "images", "unlabeled", "epochs", "width")
TABLE = RunTable(FOLDER / "joint.csv", KEYS, ("AP", "AP50", "seconds"))
TAUGHT = ("none", "plain", "z")
WAYS = ("alone", "all", *TAUGHT)
SIDE, TESTED, BATCH = 192, 200, 8


def write_small(folder: Path, width: float) -> Path:
    """The cfg of the small network, its channels times `width`, with the size and the anchors of the large
    one."""
    large = load_graph(LARGE.with_suffix(".cfg")).heads[0].section
    text = new_cfg("yolor_micro", Changes(large.values["classes"], SIDE))
    anchors = large.lines["anchors"].value
    path = folder / f"small-{width:g}.cfg"
    folder.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"(?m)^anchors=.*$", f"anchors={anchors}", text)
    path.write_text(re.sub(r"(?m)^filters=(\d+)$", lambda found: _scale(found.group(), width), text))
    return path


def _scale(line: str, width: float) -> str:
    """A line with fewer filters; those of the predictions, an odd number, stay."""
    filters = int(line.partition("=")[2])
    return line if filters % 2 else f"filters={round(filters * width)}"


def write_lists(folder: Path, *, images: int, unlabeled: int) -> None:
    """Write what each way reads: `alone`, the labelled images as often as fills an epoch; `all`; `labeled`;
    and the list of those without labels."""
    names = [f"images/shape{number:06d}.jpg" for number in range(images + unlabeled)]
    repeated = list(itertools.islice(itertools.cycle(names[:images]), len(names)))
    lists = {"alone": repeated, "all": names, "labeled": names[:images], "unlabeled": names[images:]}
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        described = (folder / "shapes.data").read_text()
        (folder / f"{name}.data").write_text(described.replace("train.txt", f"{name}.txt"))


def plan_job(folder: Path, run: Mapping[str, Any]) -> Job:
    """The training of one way, on images that depend on the seed."""
    way, seed, images, unlabeled = (run[name] for name in KEYS[:4])
    data, tested = folder / f"train{images}+{unlabeled}-{seed}", folder / "test"
    drawn = ShapesOptions(images + unlabeled, (SIDE, SIDE), KINDS["coloured"], 0)
    draw_once(data, drawn, seed=300 + seed, tint=None)
    draw_once(tested, drawn._replace(image_count=TESTED, val_count=TESTED), seed=299, tint=None)
    write_lists(data, images=images, unlabeled=unlabeled)
    options = TrainOptions(
        str(write_small(folder, run["width"])),
        str(data / f"{'labeled' if way in TAUGHT else way}.data"),
        val_data=str(tested / "shapes.data"),
        epochs=run["epochs"],
        batch_size=BATCH,
        update_batch=BATCH,
        hyp="small",
        optimizer="adamw",
        workers=0,
        cache=1.0,
        seed=seed,
    )
    return prepare_job(_teach(options, way, data / "unlabeled.txt" if unlabeled else None))


def _teach(options: TrainOptions, way: str, images: Path | None) -> TrainOptions:
    """The options with the large network, if it teaches, also on these images."""
    if way not in TAUGHT:
        return options
    taught = options._replace(joint=f"{LARGE}.pt", joint_align=way)
    return taught._replace(joint_images=str(images)) if images else taught


def measure(folder: Path, run: Mapping[str, Any]) -> dict[str, float]:
    """The AP and AP50 that a run reaches."""
    torch.manual_seed(run["seed"])
    job = plan_job(folder, run)
    holdout, job = job.holdout, replace(job, holdout=job.holdout._replace(samples=()))
    state = build_state(job, say=lambda text: None)
    with watch_features(state.teacher, state.network):
        train(job, state, Silence())
    scores = evaluate(state.eval_network, holdout)
    return {"AP": round(scores.ap, 5), "AP50": round(scores.ap50, 5)}


@click.command()
@click.option("--ways", default=",".join(WAYS), show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--images", default=48, show_default=True, help="Labelled images.")
@click.option("--unlabeled", default=432, show_default=True, help="Images without labels.")
@click.option("--epochs", default=8, show_default=True)
@click.option("--width", default=1.0, show_default=True, help="Of the small network's channels.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("joint_teaching"), show_default=True)
@click.option("--minutes", type=click.FloatRange(0), default=1e6, help="Start no run after so many.")
def main(ways: str, seeds: str, folder: Path, minutes: float, **sizes: float) -> None:
    """Do the runs that have no row yet."""
    torch.set_num_threads(1)
    pairs = itertools.product(map(int, seeds.split(",")), ways.split(","))
    plan = [{"way": way, "seed": seed, **sizes} for seed, way in pairs]
    run_missing(TABLE, plan, lambda run: measure(folder, run), minutes=minutes)


if __name__ == "__main__":
    main()
