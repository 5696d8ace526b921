"""Measure how long the command takes to start and a network to fill, against torch and numpy.

    python tools/bench_startup.py [--runs 7] [--cold yolov4-tiny.cfg]

Each time is that of a whole process or is taken inside a fresh one; the two sides of a row run in turn
(A B A B), and the ratio is the median over the pairs. Exit code 1 when a ratio is above its limit.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from yolor_cfg.networks.family import NETWORKS, cfg_text

ROOT = Path(__file__).resolve().parents[1]
LARGE = "yolov4_p7"  # 366 sections
HEAVY = "yolov4_p5"  # 283 MB of weights
PAGE_FLOATS = 1024  # one float of each page of 4096 bytes


class Comparison(NamedTuple):
    """One measurement: medians of both sides (with their unit) and the median ratio."""

    what: str
    ours: float
    theirs: float
    ratio: float
    limit: float
    unit: str

    @property
    def is_met(self) -> bool:
        """True if the ratio is within the limit."""
        return self.ratio <= self.limit


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", default=7, show_default=True, help="pairs of runs for each row")
@click.option("--cold", metavar="CFG", help="only the first detection, from an exported file of this network")
def main(runs: int, cold: str | None) -> None:
    """Measure, print a table, and exit with 1 if a limit is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if cold:
            rows = _measure_cold(folder, Path(cold).resolve(), runs)
        else:
            rows = [*_measure_startup(folder, runs), *_measure_filling(folder, runs)]
    click.echo(f"{'':58}{'ours':>9}{'against':>9}{'':5}{'ratio':>6}  limit")
    for row in rows:
        numbers = f"{row.ours:9.3f}{row.theirs:9.3f} {row.unit:4}{row.ratio:6.3f}  {row.limit:5.2f}"
        click.echo(f"{row.what:58}{numbers}  {'ok' if row.is_met else 'MISS'}")
    sys.exit(not all(row.is_met for row in rows))


def _measure_startup(folder: Path, runs: int) -> list[Comparison]:
    """Whole processes against `python -c 'import torch'`."""
    cfg = _write_cfg(folder, LARGE)
    torch = [sys.executable, "-c", "import torch"]
    return [
        _measure_pairs(
            what,
            (_process_timer([*_yolor_command(), *arguments]), _process_timer(torch)),
            limit=limit,
            runs=runs,
        )
        for what, arguments, limit in (
            ("yolor --help, against import torch", ["--help"], 0.15),
            ("yolor info, 366 sections, against import torch", ["-q", "info", str(cfg)], 0.25),
        )
    ]


def _measure_cold(folder: Path, cfg: Path, runs: int) -> list[Comparison]:
    """`yolor detect` of one image, drawn and written, from an exported file in each engine that reads it; the
    first, which is taken by default, is held to the limit."""
    torch = _process_timer([sys.executable, "-c", "import torch"])
    model, image = _export_random(folder, cfg)
    call = [*_yolor_command(), "-q", "detect", str(model), str(image), "--max-det", "10"]
    call += ["--project", str(folder / "runs"), "--engine"]
    return [
        _measure_pairs(
            f"first detection, {cfg.stem} in {engine}, against import torch",
            (_process_timer([*call, engine]), torch),
            limit=limit,
            runs=runs,
        )
        for engine, limit in (("onnxruntime", 0.35), ("openvino", math.inf))
    ]


def _export_random(folder: Path, cfg: Path) -> tuple[Path, Path]:
    """A file of the network with random weights, and an image of 640 x 480 pixels."""
    import numpy as np

    from yolor_cfg.runs import save_image
    from yolor_cfg.weights.checkpoint import save_checkpoint
    from yolor_cfg.weights.loading import open_network

    save_checkpoint(open_network(cfg).network, folder / "random.pt")
    export = [
        "-q",
        "export",
        str(folder / "random.pt"),
        "--no-check",
        "--project",
        str(folder),
        "--name",
        "cold",
    ]
    subprocess.run([*_yolor_command(), *export], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    image = folder / "image.jpg"
    save_image(image, np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8))
    return folder / "cold" / "model.onnx", image


def _measure_filling(folder: Path, runs: int) -> list[Comparison]:
    """A built network filled from a file in the page cache, against np.fromfile; each in a fresh process."""
    cfg = _write_cfg(folder, HEAVY)
    weights = folder / "heavy.weights"
    size = _random_weights(cfg, weights)
    rows = []
    for kind in ("untouched", "initialised"):
        fill, fromfile = ([code, str(cfg), str(weights), kind] for code in ("fill", "fromfile"))
        pairs = [(_run_child(fill), _run_child(fromfile)) for _ in range(runs)]
        ours, theirs = ([pair[side]["seconds"] for pair in pairs] for side in (0, 1))
        what = f"filling {size >> 20} MiB, {kind} memory"
        rows.append(_summarize(f"{what}, against np.fromfile", ours, theirs, limit=1.3))
        grown = [pair[0]["grown"] / 2**20 for pair in pairs]
        growth = _summarize(f"{what}, RSS against the file", grown, [size / 2**20] * runs, limit=1.1)
        rows.append(growth._replace(unit="MiB"))
    return rows


def _yolor_command() -> list[str]:
    script = Path(sys.executable).with_name("yolor")
    return [str(script)] if script.exists() else [sys.executable, "-m", "yolor_cfg"]


def _write_cfg(folder: Path, name: str) -> Path:
    path = folder / f"{name}.cfg"
    path.write_text(cfg_text(name, NETWORKS[name]))
    return path


def _process_timer(command: Sequence[str]) -> Callable[[], float]:
    """A function that runs the command once and returns its seconds."""

    def run() -> float:
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    return run


def _measure_pairs(what: str, sides: Sequence[Callable[[], float]], *, limit: float, runs: int) -> Comparison:
    pairs = [[side() for side in sides] for _ in range(runs + 1)][1:]  # the first runs read the disk
    return _summarize(what, [pair[0] for pair in pairs], [pair[1] for pair in pairs], limit=limit)


def _summarize(what: str, ours: Sequence[float], theirs: Sequence[float], *, limit: float) -> Comparison:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Comparison(what, statistics.median(ours), statistics.median(theirs), ratio, limit, "s")


def _random_weights(cfg: Path, path: Path) -> int:
    """Write small random numbers as the network's weights; returns the bytes."""
    import numpy as np

    from yolor_cfg.count import count_costs
    from yolor_cfg.graph import load_graph
    from yolor_cfg.weights.layout import WeightsHeader

    size = count_costs(load_graph(cfg)).weights_bytes
    header = WeightsHeader().to_bytes()
    numbers = np.random.default_rng(0).random((size - len(header)) // 4, np.float32)
    path.write_bytes(header + numbers.tobytes())
    return size


def _run_child(call: Sequence[str]) -> dict[str, float]:
    """What the function `call[0]` below prints for its arguments `call[1:]`, in a fresh process."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    code = f"import sys, bench_startup; bench_startup.{call[0]}(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *call[1:]],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def fill(cfg: str, weights: str, kind: str) -> None:
    """Fill the built network and touch every page; print seconds and by how many bytes the resident set rose.

    `untouched` memory is allocated but not yet written: the system must supply its pages during the fill.
    """
    import torch

    from yolor_cfg.graph import load_graph
    from yolor_cfg.model import Network
    from yolor_cfg.weights.loading import read_weights

    with torch.device("meta" if kind == "untouched" else "cpu"):
        network = Network(load_graph(cfg))
    if kind == "untouched":
        network.to_empty(device="cpu")
    before = _resident_bytes()
    start = time.perf_counter()
    read_weights(network, weights)
    touched = sum(float(tensor.view(-1)[::PAGE_FLOATS].sum()) for tensor in network.state_dict().values())
    _print_result(time.perf_counter() - start, before, touched)


def fromfile(cfg: str, weights: str, kind: str) -> None:
    """Read the same file with np.fromfile and touch every page."""
    import numpy as np

    before = _resident_bytes()
    start = time.perf_counter()
    numbers = np.fromfile(weights, np.float32)
    touched = float(numbers[::PAGE_FLOATS].sum())
    _print_result(time.perf_counter() - start, before, touched)


def _print_result(seconds: float, before: int, touched: float) -> None:
    print(json.dumps({"seconds": seconds, "grown": _peak_resident_bytes() - before, "touched": touched}))


def _resident_bytes() -> int:
    """Bytes resident now; resets the high-water mark (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak_resident_bytes() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


if __name__ == "__main__":
    main()
