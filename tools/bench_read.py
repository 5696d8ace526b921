"""Measure how long `yolor info` takes on many cfgs in one process, against another checkout of this project.

    python tools/bench_read.py FOLDER --against CHECKOUT [--runs 7] [--limit 0.5]

FOLDER holds the cfgs; only those that both checkouts read are timed. The two sides run in turn, each in a
fresh process, and the ratio is the median over the pairs of their processor times. Exit code 1 when it is
above the limit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys, time
started = time.process_time()
from click.testing import CliRunner
from yolor_cfg.cli import main
runner = CliRunner()
read = [path for path in sys.argv[1:] if runner.invoke(main, ["info", path]).exit_code == 0]
print(time.process_time() - started, *read, sep="\\n")
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--runs", default=7, show_default=True, help="pairs of runs")
@click.option("--limit", default=0.5, show_default=True, help="largest ratio that is good")
def main(folder: Path, against: Path, runs: int, limit: float) -> None:
    """Measure, print the ratio, and exit with 1 if the limit is missed."""
    paths = sorted(map(str, folder.resolve().glob("*.cfg")))
    theirs_too = set(_read_all(against, paths)[1])
    common = [path for path in _read_all(ROOT, paths)[1] if path in theirs_too]
    pairs = [(_read_all(ROOT, common)[0], _read_all(against, common)[0]) for _ in range(runs)]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio, spread = statistics.median(ratios), f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    verdict = "ok" if ratio <= limit else "MISS"
    click.echo(
        f"{len(common)} cfgs: {ours:.2f} s against {theirs:.2f} s, ratio {ratio:.2f} ({spread})  {verdict}"
    )
    sys.exit(ratio > limit)


def _read_all(checkout: Path, paths: Sequence[str]) -> tuple[float, list[str]]:
    """The processor time of `info` on all paths with this checkout, start included, and those it reads."""
    command = [sys.executable, "-c", PROGRAM, *paths]
    done = subprocess.run(command, cwd=checkout.resolve(), capture_output=True, text=True, check=True)
    seconds, *read = done.stdout.splitlines()
    return float(seconds), read


if __name__ == "__main__":
    main()
