"""Measure how long COCO's metrics take with the fast engines, against pycocotools.

    python tools/bench_scoring.py [--images 5000] [--rounds 3] [--engine hotcoco] [--limit 30] [--out F.json]

Ground truth and detections are generated from a seed: 80 classes, about 7 boxes and 60 detections an image,
with crowds, equal scores, images without boxes, classes without boxes, more than 100 detections in some
images. Each round scores them with every engine in turn; the ratio is the median over the rounds. Exit code 1
when it is below the limit, or when one of the 12 numbers or a class's AP differs from pycocotools'.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from yolor_cfg.evaluate.coco import CocoScores, score_coco
from yolor_cfg.evaluate.ground_truth import Doubles, GroundTruth

REFERENCE = "pycocotools"
ROUNDING = 1e-12  # faster-coco-eval sums in another order
SIZE = (480, 640)  # height, width of all images
BOXES, DETECTIONS, CROWDED = 7.4, 60, 150  # a mean image; detections in the first image


def generate_truth(rng: np.random.Generator, images: int, classes: int) -> GroundTruth:
    """Boxes with areas below width x height, some exactly 32^2 or 96^2; the last class has none."""
    owners = np.repeat(np.arange(images), rng.poisson(BOXES, images) * (rng.random(images) > 0.1))
    count = len(owners)
    sides = np.exp(rng.normal(4, 1.1, (count, 2))).clip(2, 460).round(2)
    areas = sides.prod(axis=1) * rng.uniform(0.4, 1, count)
    areas[::17], areas[1::17] = 32**2, 96**2
    corners = rng.uniform(0, 1, (count, 2)) * (np.array(SIZE[::-1]) - sides)
    crowd = rng.random(count) < 0.03
    return GroundTruth(
        tuple(f"class {k}" for k in range(classes)),
        tuple(range(1, classes + 1)),
        tuple(range(1, images + 1)),
        tuple(f"{i}.jpg" for i in range(images)),
        np.tile(SIZE, (images, 1)),
        owners,
        np.hstack([corners, sides]),
        rng.integers(0, max(1, classes - 1), count),
        areas,
        crowd,
        np.zeros(count, dtype=bool),
    )


def generate_detections(rng: np.random.Generator, ground: GroundTruth) -> Doubles:
    """Rows [D, 7]: near the boxes, some of another class, and elsewhere; scores of three digits, so many are
    equal."""
    hit = np.repeat(np.arange(len(ground.classes)), rng.integers(0, 4, len(ground.classes)))
    boxes = ground.boxes_ltwh[hit] * np.exp(rng.normal(0, 0.08, (len(hit), 4)))
    labels, kinds = ground.classes[hit].copy(), len(ground.names)
    wrong = rng.random(len(hit)) < 0.1
    labels[wrong] = rng.integers(0, kinds, int(wrong.sum()))
    near = np.column_stack([ground.images[hit], boxes, rng.random(len(hit)).round(3), labels])
    rest = max(CROWDED, DETECTIONS * len(ground.image_ids) - len(hit))
    owners = rng.integers(0, len(ground.image_ids), rest)
    owners[:CROWDED], labels = 0, rng.integers(0, kinds, rest)
    labels[:CROWDED] = 0
    places = np.hstack([rng.uniform(-20, 500, (rest, 2)), np.exp(rng.normal(4, 1, (rest, 2)))])
    elsewhere = np.column_stack([owners, places, (rng.random(rest) ** 3).round(3), labels])
    return rng.permutation(np.vstack([near, elsewhere]))


def generate_case(seed: int, *, images: int, classes: int) -> tuple[GroundTruth, Doubles]:
    """Ground truth and detections of a seed."""
    rng = np.random.default_rng(seed)
    ground = generate_truth(rng, images, classes)
    return ground, generate_detections(rng, ground)


def time_round(case: tuple[GroundTruth, Doubles], engines: Sequence[str]) -> dict[str, Any]:
    """Seconds of each engine, and whether all its numbers are those of the reference."""
    seconds, scores = {}, {}
    for engine in engines:
        started = time.perf_counter()
        scores[engine] = score_coco(*case, engine=engine)
        seconds[engine] = time.perf_counter() - started
        click.echo(f"{engine}: {seconds[engine]:.2f} s", err=True)
    apart = {engine: largest_difference(scores[engine], scores[REFERENCE]) for engine in engines}
    return {"seconds": seconds, "apart": apart, "AP": scores[REFERENCE].numbers["AP"]}


def largest_difference(ours: CocoScores, theirs: CocoScores) -> float:
    """The largest difference in the 12 numbers and those of every class."""
    numbers = [abs(ours.numbers[name] - value) for name, value in theirs.numbers.items()]
    return max(*numbers, float(np.abs(ours.categories - theirs.categories).max(initial=0)))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--images", default=5000, show_default=True)
@click.option("--classes", default=80, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--engine", "engines", multiple=True, default=["hotcoco"], show_default=True)
@click.option("--limit", default=30.0, show_default=True, help="smallest ratio that is good")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="all figures as JSON")
def main(images: int, classes: int, seed: int, rounds: int, **options: Any) -> None:
    """Score the generated case with every engine in turn; print a line for each of them."""
    case = generate_case(seed, images=images, classes=classes)
    engines = [*options["engines"], REFERENCE]
    results = [time_round(case, engines) for _ in range(rounds)]
    size = {"images": images, "boxes": len(case[0].classes), "detections": len(case[1]), "seed": seed}
    if options["out"]:
        options["out"].write_text(json.dumps({**size, "rounds": results}, indent=1) + "\n")
    click.echo(", ".join(f"{value} {name}" for name, value in size.items()))
    verdicts = [report_engine(engine, results, options["limit"]) for engine in options["engines"]]
    sys.exit(not all(verdicts))


def report_engine(engine: str, results: Sequence[dict[str, Any]], limit: float) -> bool:
    """Print the ratio of an engine; whether it is good and the numbers are equal up to rounding."""
    pairs = [(one["seconds"][REFERENCE], one["seconds"][engine]) for one in results]
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio, apart = statistics.median(ratios), max(one["apart"][engine] for one in results)
    is_good: bool = ratio >= limit and apart <= ROUNDING
    verdict = "ok" if is_good else "MISS"
    numbers = f"numbers apart by {apart:.1g}" if apart else "all numbers equal to the last bit"
    spread = f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
    click.echo(
        f"{engine}: {ours:.2f} s, {REFERENCE}: {theirs:.2f} s, ratio {ratio:.1f} ({spread}), "
        f"{numbers}  {verdict}"
    )
    return is_good


if __name__ == "__main__":
    main()
