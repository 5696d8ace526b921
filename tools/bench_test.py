"""Time `yolor test` against another checkout: whole commands in turn, which give the same COCO numbers.

    python tools/bench_test.py --data DATA --against CHECKOUT [CFG WEIGHTS] [--rounds 3]

Without CFG and WEIGHTS the trained network of weights/ for blood cells is tested. Printed are the median
seconds of each, their ratio, and the milliseconds per image by stage. Exit code 1 where an AP differs in any
digit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
FILES = (f"{ROOT}/weights/yolor_bccd.cfg", f"{ROOT}/weights/yolor_bccd.pt")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, type=click.Path(exists=True))
@click.option("--data", required=True, type=click.Path(exists=True))
@click.option("--against", required=True, type=click.Path(exists=True))
@click.option("--rounds", default=3, show_default=True)
def main(files: tuple[str, ...], data: str, against: str, rounds: int) -> None:
    """Print both times and their ratio."""
    seconds: dict[str, list[float]] = {str(ROOT): [], against: []}
    found: dict[str, Any] = {}
    words = [*(files or FILES), "--data", str(Path(data).resolve()), "--json"]
    for _ in range(rounds):
        for checkout, times in seconds.items():
            start = time.perf_counter()
            found[checkout] = run_test(checkout, words)
            times.append(time.perf_counter() - start)
    for checkout, times in seconds.items():
        print(f"{statistics.median(times):8.2f} s  {checkout}  ms per image: {found[checkout]['speed_ms']}")
    ours, theirs = (statistics.median(times) for times in seconds.values())
    is_equal = found[str(ROOT)]["coco"] == found[against]["coco"]
    print(f"{theirs / ours:8.2f} x; COCO's numbers are {'equal' if is_equal else 'NOT equal'}")
    sys.exit(not is_equal)


def run_test(checkout: str, words: list[str]) -> dict[str, Any]:
    """What a test of a checkout prints as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "yolor_cfg", "test", *words, "--project", folder],
            check=True,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": checkout},
        )
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


if __name__ == "__main__":
    main()
