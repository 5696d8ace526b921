"""Measure what `yolor detect --shard` takes for an image, and from it what a hundred million take.

    python tools/bench_scale.py CFG WEIGHTS FOLDER [--images 300] [--total 100000000] [-- OPTIONS OF detect]

FOLDER holds images (JPEG files as you have them); the list repeats them up to --images. A run over one image
tells the cost of starting, which is taken off. Seconds of the processor are those of all threads, so they
depend little on what else the machine does; those of the clock do.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import click

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HOUR, YEAR_HOURS, GIGA = 3600, 8766, 1e9


class RunCost(NamedTuple):
    """Seconds of the processor and of the clock, peak memory in MiB, bytes written."""

    processor: float
    clock: float
    memory: float
    written: int


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("cfg", type=click.Path(exists=True, path_type=Path))
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("options", nargs=-1)
@click.option("--images", default=300, show_default=True)
@click.option("--total", default=100_000_000, show_default=True)
def main(cfg: Path, weights: Path, folder: Path, options: tuple[str, ...], images: int, total: int) -> None:
    """Print the cost of an image and of all of them."""
    found = sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    listed = list(islice(cycle(found), images + 1))
    command = [sys.executable, "-m", "yolor_cfg", "detect", str(cfg), str(weights)]
    start, whole = (run_shard(command, listed[:count], options) for count in (1, images + 1))
    read = sum(path.stat().st_size for path in listed[1:]) / images
    print_table(start, whole, images=images, total=total, read=read)


def run_shard(command: Sequence[str], images: Sequence[Path], options: Sequence[str]) -> RunCost:
    """What one shard of one takes for these images."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "list.txt"
        place.write_text("\n".join(map(str, images)))
        usual = [*command, str(place), "--shard", "1/1", "-q", "--project", folder, "--name", "out"]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        subprocess.run([*usual, *options], check=True, env={**os.environ, "PYTHONPATH": paths})
        clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        written = sum(path.stat().st_size for path in (Path(folder) / "out").glob("part-*"))
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return RunCost(processor, clock, after.ru_maxrss / 1024, written)


def print_table(start: RunCost, whole: RunCost, *, images: int, total: int, read: float) -> None:
    """The figures of one image and of all."""
    processor = (whole.processor - start.processor) / images
    clock = (whole.clock - start.clock) / images
    written, hours = whole.written / images, total * processor / HOUR
    rows = [
        ("start", f"{start.processor:.1f} s of the processor, {start.clock:.1f} s"),
        ("an image", f"{processor * 1000:.1f} ms of the processor, {clock * 1000:.1f} ms"),
        ("peak memory of a process", f"{whole.memory:.0f} MiB"),
        ("an image on disk", f"{read / 1000:.0f} kB; its line {written / 1000:.2f} kB"),
        (f"{total:,} images", f"{hours:,.0f} hours of a core, {hours / YEAR_HOURS:.1f} years"),
        ("on 1000 cores", f"{hours / 1000:.1f} hours, reading {read / processor * 1000 / GIGA:.2f} GB/s"),
        ("to read and to write", f"{total * read / 1e12:.1f} TB and {total * written / 1e12:.2f} TB"),
    ]
    for name, text in rows:
        click.echo(f"{name:26}{text}")


if __name__ == "__main__":
    main()
