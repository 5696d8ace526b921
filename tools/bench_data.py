"""Measure how long it takes to read and check the labels of a large data set, and how much memory.

    python tools/bench_data.py [--count 100000] [--against CHECKOUT [--runs 3]]

The data set is generated in a temporary folder: text labels with COCO's usual number of boxes, and images
of a few bytes that look whole to the reader of sizes. It is opened twice in fresh processes, the second
time with the cached sizes. Exit code 1 when the first takes 60 s or more, or either 500 MB or more. With
another checkout of this project both read it in turn, and 1 also means that ours took longer or more memory.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES = 60, 500
CLASSES = 80
BOXES = 7
# Start of image, application segment, frame header with height and width to be filled in, end of image.
HEAD = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08"
TAIL = b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--count", default=100_000, show_default=True, help="number of images")
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", default=3, show_default=True, help="pairs of runs with --against")
@click.option("--measure", type=click.Path(exists=True), hidden=True)
def main(count: int, against: Path | None, runs: int, measure: str | None) -> None:
    """Print seconds and peak memory of both scans as JSON, and the ratios to another checkout."""
    if measure:
        click.echo(json.dumps(scan(measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        description = generate(Path(folder), count)
        result = {"count": count, "generated_s": round(time.perf_counter() - started, 1)}
        first, second = (run_scan(ROOT, description) for _ in range(2))
        click.echo(json.dumps({**result, "first": first, "remembered": second}))
        ratios = compare(description, against, runs) if against else {}
    for what, values in ratios.items():
        click.echo(f"{what}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    fits = first["seconds"] < SECONDS and max(first["megabytes"], second["megabytes"]) < MEGABYTES
    sys.exit(not fits or any(statistics.median(values) > 1 for values in ratios.values()))


def compare(description: Path, against: Path, runs: int) -> dict[str, list[float]]:
    """Ours over theirs by measure: processor time and memory of both scans; each side has its own cache."""
    ratios: dict[str, list[float]] = {}
    for _ in range(runs):
        sides: list[list[dict[str, float]]] = []
        for checkout in (ROOT, against):
            own = description.with_name(f"side{len(sides)}.data")
            own.write_bytes(description.read_bytes())
            description.with_name(f".{own.name}.sizes.npz").unlink(missing_ok=True)
            sides.append([run_scan(checkout, own) for _ in range(2)])
        for scan_name, ours, theirs in zip(("first", "remembered"), *sides, strict=True):
            for measure in ("cpu_seconds", "megabytes"):
                ratios.setdefault(f"{scan_name} {measure}", []).append(ours[measure] / theirs[measure])
    return ratios


def generate(folder: Path, count: int) -> Path:
    """The .data file of `count` images."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir()
    counts = rng.poisson(BOXES, count)
    for number, boxes in enumerate(counts.tolist()):
        height, width = rng.integers(200, 640, 2).tolist()
        size = struct.pack(">HH", height, width)
        (folder / "images" / f"{number:012d}.jpg").write_bytes(HEAD + size + TAIL)
        (folder / "labels" / f"{number:012d}.txt").write_text(label_text(rng, boxes))
    (folder / "train.txt").write_text("".join(f"images/{number:012d}.jpg\n" for number in range(count)))
    (folder / "many.names").write_text("".join(f"class{number}\n" for number in range(CLASSES)))
    description = folder / "many.data"
    description.write_text(f"classes={CLASSES}\ntrain=train.txt\nvalid=train.txt\nnames=many.names\n")
    return description


def label_text(rng: np.random.Generator, boxes: int) -> str:
    size = rng.uniform(0.01, 0.5, (boxes, 2))
    centre = rng.uniform(size / 2, 1 - size / 2)
    rows = np.concatenate([centre, size], axis=1).tolist()
    classes = rng.integers(0, CLASSES, boxes).tolist()
    return "".join(
        f"{label} " + " ".join(f"{value:.6f}" for value in row) + "\n"
        for label, row in zip(classes, rows, strict=True)
    )


def run_scan(checkout: Path, description: Path) -> dict[str, float]:
    """What a fresh process measures: its memory is that of the scan and its imports."""
    command = [sys.executable, __file__, "--measure", str(description)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    measured: dict[str, float] = json.loads(subprocess.check_output(command, text=True, env=environment))
    return measured


def scan(description: str) -> dict[str, float]:
    """Seconds and peak resident memory (MB) of opening the data set, and what it contained."""
    from yolor_cfg.data.sources import open_data

    started, used = time.perf_counter(), time.process_time()
    data = open_data(description)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
    # Linux counts the peak in KiB.
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    boxes = sum(len(sample.classes) for sample in data.samples)
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "megabytes": round(megabytes),
        "images": len(data.samples),
        "boxes": boxes,
    }


if __name__ == "__main__":
    main()
