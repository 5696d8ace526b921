"""How fast `yolor detect` goes through a folder of JPEG files, against another version.

    python tools/bench_pipeline.py [--folder F] [--images 1000] [--against CHECKOUT] [--json FILE]

Each kind of run has a process of its own; they take turns. A run is the whole command without the start of
Python: opening the network, reading, drawing, writing. `bare` is the engine alone. Without a folder, images
of 640 x 480 are drawn. Weights are random and the threshold is such that an image has some six objects.
`busy` runs have one foreign process per processor that does nothing but count, and fewer images.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OBJECTS = 6  # in an image
TRIED = 8  # images by which the threshold is chosen
BARE_INPUTS = 16
OBJECTNESS_BIAS = -4.0


class SharedSetup(NamedTuple):
    """What all runs get."""

    folder: Path
    images: list[str]
    cfg: str
    weights: str
    conf: float
    scratch: Path


class RunKind(NamedTuple):
    """A name, the checkout, options of the command (None: the bare engine), whether the machine is busy."""

    name: str
    checkout: Path
    options: tuple[str, ...] | None
    precision: str = "fp32"
    is_busy: bool = False


class RunProcess:
    """The process of a kind of run."""

    def __init__(self, one: RunKind, setup: SharedSetup) -> None:
        path = os.pathsep.join([str(one.checkout), str(ROOT / "tools")])
        self.one, self._setup = one, setup
        self.rates, self.peak_kib = list[float](), 0.0
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools/bench_pipeline_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )

    def measure(self, count: int) -> float:
        """Images per second over the first `count` images."""
        answer = self._ask(self._request(count))
        self.peak_kib = answer["peak_kib"]
        shutil.rmtree(self._setup.scratch / "runs", ignore_errors=True)
        return count / float(answer["seconds"])

    def _request(self, count: int) -> dict[str, Any]:
        setup, images = self._setup, self._setup.images[:count]
        if self.one.options is None:
            bare = {"cfg": setup.cfg, "weights": setup.weights, "precision": self.one.precision}
            return {"bare": {**bare, "images": images[:BARE_INPUTS], "count": count}}
        source = setup.scratch / "list.txt"
        source.write_text("\n".join(images))
        place = ["--project", str(setup.scratch / "runs"), "--conf", str(setup.conf)]
        return {"arguments": [setup.cfg, setup.weights, str(source), *place, *self.one.options]}

    def _ask(self, request: dict[str, Any]) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"{self.one.name}: the process stopped")
        found: dict[str, float] = json.loads(line)
        return found

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def busy_machine(is_busy: bool) -> Iterator[None]:
    """Inside, a process for each processor counts, if wanted."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)] if is_busy else []
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def draw_images(folder: Path, count: int) -> None:
    """JPEG files of 640 x 480 with shapes on a smooth ground."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            x, y, size = (int(value) for value in rng.integers((0, 0, 10), (640, 480, 90)))
            cv2.circle(image, (x, y), size, rng.integers(0, 256, 3).tolist(), -1)
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), image)


def write_network(scratch: Path) -> tuple[str, str]:
    """yolov4-tiny with seeded weights, whose boxes differ in objectness."""
    import torch

    from yolor_cfg.graph import load_graph
    from yolor_cfg.model import Network
    from yolor_cfg.weights.darknet import write_weights

    cfg, weights = ROOT.parent / "shared/corpus/cfg/AlexeyAB__darknet__yolov4-tiny.cfg", scratch / "t.weights"
    network, rng = Network(load_graph(cfg)), torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("Conv2d.weight"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=rng)
        elif name.endswith("Conv2d.bias"):
            tensor.reshape(3, -1)[:, 4] = OBJECTNESS_BIAS
    write_weights(network, weights)
    return str(cfg), str(weights)


def choose_threshold(cfg: str, weights: str, images: list[str]) -> float:
    """The score that so many objects an image reach."""
    from yolor_cfg.detect.pipeline import Detector

    found = Detector(cfg, weights, conf=0.01)(images[:TRIED])
    scores = sorted((float(score) for one in found for score in one.scores), reverse=True)
    return round(scores[min(len(scores), OBJECTS * len(found)) - 1], 4)


def list_kinds(against: str | None) -> list[RunKind]:
    """All runs that are compared."""
    saved, text = (), ("--nosave", "--json")
    ours = [
        RunKind("drawn", ROOT, saved),
        RunKind("drawn, bf16", ROOT, (*saved, "--precision", "auto"), "auto"),
        RunKind("drawn, one after the other", ROOT, (*saved, "--workers", "0")),
        RunKind("text", ROOT, text),
        RunKind("text, bf16", ROOT, (*text, "--precision", "auto"), "auto"),
        RunKind("bare", ROOT, None),
        RunKind("bare, bf16", ROOT, None, "auto"),
        RunKind("busy, text", ROOT, text, is_busy=True),
    ]
    ours += [
        RunKind(f"drawn, {number} workers", ROOT, (*saved, "--workers", str(number))) for number in (1, 3)
    ]
    if against is None:
        return ours
    old = Path(against).resolve()
    earlier = [RunKind("earlier, drawn", old, saved), RunKind("earlier, text", old, text)]
    return [*ours, *earlier, RunKind("earlier, busy, text", old, text, is_busy=True)]


RATIOS = (
    ("drawn", "earlier, drawn", 3.3),
    ("drawn, bf16", "earlier, drawn", 3.3),
    ("text", "bare", 0.9),
    ("text, bf16", "bare, bf16", 0.9),
    ("busy, text", "earlier, busy, text", 5.0),
    ("busy, text", "text", 1 / 2.5),
)
"""What is compared with what, and the aim."""


def print_table(rates: dict[str, list[float]], peaks: dict[str, float]) -> None:
    """Medians with quartiles, then the ratios, round by round."""
    print(f"{'run':30} images/s  (quartiles)       MiB")
    for name, found in rates.items():
        low, median, high = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
        print(f"{name:30} {median:8.1f}  ({low:.1f} to {high:.1f})  {peaks[name] / 1024:8.0f}")
    for one, other, aim in RATIOS:
        if rates.get(one) and rates.get(other):
            ratio = statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))
            print(f"{one} / {other}: {ratio:.2f} (aim {aim:.2f})")


def run_rounds(workers: list[RunProcess], *, rounds: int, count: int, busy_count: int) -> None:
    """Warm up each, then measure in turns."""
    for worker in workers:
        worker.measure(min(count, 2 * BARE_INPUTS))
    for number in range(rounds):
        for worker in workers if number % 2 == 0 else reversed(workers):
            with busy_machine(worker.one.is_busy):
                worker.rates.append(worker.measure(busy_count if worker.one.is_busy else count))
            print(f"{worker.one.name}: {worker.rates[-1]:.1f} images/s", file=sys.stderr, flush=True)


@click.command(help=__doc__)
@click.option("--folder", type=click.Path(exists=True), help="Of JPEG files; by default they are drawn.")
@click.option(
    "--images", "count", default=1000, show_default=True, help="How many; a small folder is repeated."
)
@click.option("--busy-images", default=40, show_default=True, help="How many while the machine is busy.")
@click.option("--against", type=click.Path(exists=True), help="A checkout of an earlier version.")
@click.option("--only", multiple=True, help="Names of runs; by default all.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--json", "record", type=click.Path(), help="Write all rates there.")
def main(folder: str | None, count: int, against: str | None, **options: Any) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder) if folder else Path(scratch, "images")
        if folder is None:
            place.mkdir()
            draw_images(place, count)
        images = sorted(str(path) for path in place.resolve().glob("*.jpg"))
        images = (images * (count // max(1, len(images)) + 1))[:count]
        cfg, weights = write_network(Path(scratch))
        setup = SharedSetup(
            place, images, cfg, weights, choose_threshold(cfg, weights, images), Path(scratch)
        )
        wanted = [one for one in list_kinds(against) if not options["only"] or one.name in options["only"]]
        workers = [RunProcess(one, setup) for one in wanted]
        run_rounds(workers, rounds=options["rounds"], count=count, busy_count=options["busy_images"])
        for worker in workers:
            worker.stop()
    rates = {worker.one.name: worker.rates for worker in workers}
    peaks = {worker.one.name: worker.peak_kib for worker in workers}
    print_table(rates, peaks)
    if options["record"]:
        facts = {"images": count, "conf": setup.conf, "rates": rates, "peak_kib": peaks}
        Path(options["record"]).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
